"""The overview: what was counted while it came in, and the pictures that are made of it."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from errorkernel.domain import charts
from errorkernel.domain.rollups import SUBJECT_MASK, Series, bucket_in_key, bucket_of, key, minute_of, moment_of
from errorkernel.domain.service_level import percentile
from errorkernel.domain.values import Action, EventType, Level, OutcomeState
from errorkernel.models import Decision, ErrorEvent, EventRollup, HourRollup, MinuteRollup, Node, Problem, Process
from errorkernel.store import kernel_heartbeats, problems, rollups
from errorkernel.store.platform.actor import Actor
from errorkernel.store.status import decision_history
from errorkernel.templatetags.charts import percent
from errorkernel.web.console import event_list, overview
from tests.support.page_data import HOSTILE, answer, ask, event, person, store

NOW = datetime(2026, 11, 24, 10, 0, 30, tzinfo=UTC)


@pytest.fixture
def viewer(db):
    return person("vera", "viewer")


# Keys and counts


@pytest.mark.parametrize("series", Series)
def test_a_key_holds_step_and_subject_and_grows_with_time(series):
    step = bucket_of(series, NOW)
    made = key(series, step, 4711)
    assert (bucket_in_key(made), made & SUBJECT_MASK) == (step, 4711)
    assert key(series, step) < made < key(series, step + 1) < key(max(Series), 2**24 - 1, SUBJECT_MASK) < 2**63
    assert moment_of(minute_of(NOW)) == NOW.replace(second=0)


@pytest.mark.django_db
def test_hours_are_their_minutes_added_up_and_answer_for_them():
    ask(now=NOW)
    kernel_heartbeats.record("a", started_at=NOW, lag=0, now=NOW)
    for minutes in (1, 40, 59, 61, 130, 400):
        store(event(str(minutes)), now=NOW + timedelta(minutes=minutes))
    kernel_heartbeats.record("b", started_at=NOW, lag=0, now=NOW + timedelta(minutes=150))
    first, last = minute_of(NOW) // 60 * 60, minute_of(NOW) // 60 * 60 + 12 * 60 - 1
    by_minute = rollups.by_time(first, last, 1)
    by_two_hours = rollups.by_time(first, last, 120)
    for step in range(6):
        inside = [sums for minute, sums in by_minute.items() if minute // 120 == step]
        assert by_two_hours.get(step, [0] * 6) == pytest.approx(
            [sum(one) for one in zip(*inside, strict=True)] or [0] * 6
        )
    assert sum(sums[-1] for sums in by_two_hours.values()) == pytest.approx(150 * 60)
    assert HourRollup.objects.count() == 4


@pytest.mark.django_db
def test_events_are_counted_by_minute_and_per_process_and_problem_by_hour_and_day():
    store(event("a"), event("a", level=Level.CRITICAL), now=NOW)
    store(event("b", process="tail-log", type=EventType.INFO, level=Level.INFO), node="ship2", now=NOW)
    store(event("a"), now=NOW + timedelta(minutes=1))
    store(event("a"), now=NOW + timedelta(hours=14))
    minutes = MinuteRollup.objects.order_by("minute").values_list("info", "error", "critical")
    assert list(minutes) == [(1, 1, 1), (0, 1, 0), (0, 1, 0)]
    first = minute_of(NOW)
    found = rollups.by_time(first, first + 14 * 60, 60)
    assert {step: sums[1:] for step, sums in found.items()} == {0: [1, 0, 2, 1, 0], 14: [0, 0, 1, 0, 0]}
    assert rollups.by_time(first, first, 1) == {0: [0, 1, 0, 1, 1, 0]}
    process = Process.objects.get(name="copy-files").pk
    hour, day = bucket_of(Series.PROCESS_HOURS, NOW), bucket_of(Series.PROCESS_DAYS, NOW)
    ship1, ship2 = (Node.objects.get(name=name).pk for name in ("ship1", "ship2"))
    assert rollups.noisiest_nodes(Series.PROCESS_HOURS, hour, hour, 5) == [(ship1, 3, 3), (ship2, 1, 0)]
    assert rollups.noisiest_nodes(Series.PROCESS_HOURS, hour, hour, 1) == [(ship1, 3, 3)]
    assert rollups.noisiest_nodes(Series.PROCESS_DAYS, day, day + 1, 5) == [(ship1, 4, 4), (ship2, 1, 0)]
    assert rollups.events_by_step(Series.PROCESS_DAYS, [process], day, day + 1) == {process: {day: 3, day + 1: 1}}
    assert rollups.failures_by_step(Series.PROCESS_HOURS, [process], hour, hour + 14) == {
        process: {hour: 3, hour + 14: 1}
    }
    a, b = (Problem.objects.get(title=title).pk for title in "ab")
    assert rollups.failures_by_step(Series.PROBLEM_HOURS, [a, b], hour, hour) == {a: {hour: 3}}
    assert rollups.largest_problems(Series.PROBLEM_HOURS, hour, hour, 5) == [(a, 3)], "an info is no problem"
    assert rollups.largest_problems(Series.PROBLEM_HOURS, hour, hour, 5, with_infos=True) == [(a, 3), (b, 1)]
    assert rollups.most_failures(Series.PROBLEM_DAYS, day, day + 1, 5) == [(a, 4)]


@pytest.mark.django_db
def test_the_events_of_merged_problems_count_to_their_whole():
    store(event("often"), event("often"), event("often"), now=NOW)
    store(event("whole"), event("whole"), now=NOW)
    store(event("part"), event("part"), now=NOW + timedelta(hours=1))
    often, whole, part = (Problem.objects.get(title=title).pk for title in ("often", "whole", "part"))
    hour = bucket_of(Series.PROBLEM_HOURS, NOW)
    problems.merge(part, whole, "the same disk", actor=Actor("user:alice", NOW))
    assert rollups.largest_problems(Series.PROBLEM_HOURS, hour, hour + 1, 5) == [(whole, 4), (often, 3)]
    assert rollups.largest_problems(Series.PROBLEM_HOURS, hour, hour + 1, 1) == [(whole, 4)]
    assert rollups.largest_problems(Series.PROBLEM_HOURS, hour, hour, 5) == [(often, 3), (whole, 2)]
    problems.split(part, "another disk", actor=Actor("user:alice", NOW))
    assert rollups.largest_problems(Series.PROBLEM_HOURS, hour, hour + 1, 5) == [(often, 3), (whole, 2), (part, 2)]


@pytest.mark.django_db
def test_an_event_that_comes_twice_is_counted_once():
    twice = event("a")
    store(twice, twice, now=NOW)
    store(twice, event("b"), now=NOW + timedelta(minutes=5))
    counted = sum(sum(one) for one in MinuteRollup.objects.values_list(*rollups.LEVELS))
    assert counted == ErrorEvent.objects.count() == 2


@pytest.mark.django_db
def test_time_that_processes_stand_still_is_counted_once_however_many_kernels_there_are():
    ask(now=NOW)
    ask(process="other", now=NOW)
    for seconds, worker in ((0, "a"), (1, "b"), (2, "a"), (3, "b")):
        kernel_heartbeats.record(worker, started_at=NOW, lag=0, now=NOW + timedelta(seconds=seconds))
    assert sum(MinuteRollup.objects.values_list("blocked_s", flat=True)) == pytest.approx(6)


@pytest.mark.django_db
def test_time_in_which_no_kernel_ran_is_spread_over_its_minutes():
    ask(now=NOW)
    kernel_heartbeats.record("a", started_at=NOW, lag=0, now=NOW)
    kernel_heartbeats.record("b", started_at=NOW, lag=0, now=NOW + timedelta(hours=2))
    blocked = list(MinuteRollup.objects.filter(blocked_s__gt=0).values_list("blocked_s", flat=True))
    assert len(blocked) == 121
    assert sum(blocked) == pytest.approx(7200)


@pytest.mark.django_db
def test_counts_that_no_picture_shows_any_more_are_forgotten():
    store(event(), now=NOW)
    assert EventRollup.objects.count() == len(Series)
    assert rollups.prune(now=NOW + timedelta(days=7)) == 0
    rollups.prune(now=NOW + timedelta(days=9))
    assert sorted(pk >> 60 for pk in EventRollup.objects.values_list("pk", flat=True)) == [2, 4, 5, 6]
    rollups.prune(now=NOW + timedelta(days=39))
    assert (EventRollup.objects.count(), MinuteRollup.objects.count(), HourRollup.objects.count()) == (0, 0, 0)


# Answers


@pytest.mark.django_db
def test_a_decision_has_not_helped_when_the_same_is_asked_again_within_an_hour():
    times = (0, 30, 100, 101)
    for minutes in times:
        at = NOW + timedelta(minutes=minutes)
        action = Action.KILL if minutes == 100 else Action.CONTINUE
        answer(ask(now=at), action, now=at + timedelta(seconds=20), outcome=OutcomeState.APPLIED)
    answer(ask(process="other", now=NOW), Action.CONTINUE, now=NOW, outcome=OutcomeState.STALE)
    found, total = decision_history.newest(NOW - timedelta(days=1), NOW + timedelta(hours=3))
    assert total == len(found) == 5
    kept = {one.action: (one.given, one.done, one.came_back, one.too_late) for one in decision_history.outcomes(found)}
    assert kept == {"continue": (4, 3, 1, 1), "kill": (1, 1, 1, 0)}


def test_a_percentile_is_a_value_that_was_seen():
    assert percentile([], 0.5) is None
    assert [percentile(sorted(values), 0.5) for values in ([7], [1, 2], [1, 2, 3], [1, 2, 3, 4])] == [7, 1, 2, 2]
    assert percentile(list(range(1, 101)), 0.95) == 95


# Pictures


@pytest.mark.parametrize(
    ("largest", "axis"), [(0, (1, 1)), (1, (1, 0.2)), (9, (10, 2)), (10, (10, 2)), (101, (150, 50)), (0.3, (0.3, 0.1))]
)
def test_an_axis_has_round_steps_and_ends_above_the_largest_value(largest, axis):
    assert charts.scale(largest) == pytest.approx(axis)


def test_columns_stand_on_each_other_and_fill_the_height():
    chart = charts.columns([[1, 3], [0, 0], [2, 0]], ["low", "high"], ["a", "b", "c"], ["then", "now"])
    low, high = chart.columns[0].bars
    assert float(low.y) == pytest.approx(float(high.y) + float(high.height))
    assert float(low.y) + float(low.height) == pytest.approx(float(chart.floor))
    assert not chart.columns[1].bars
    assert [line.anchor for line in chart.times] == ["start", "end"]
    assert all(re.fullmatch(r"[\d.]+%?", text) for text in (low.x, low.y, low.width, low.height, chart.height))


@pytest.mark.parametrize(("value", "heat"), [(0, 0), (1, 1), (2, 1), (10, 2), (1000, 4), (9999, 5), (10_000, 5)])
def test_heat_grows_by_magnitudes(value, heat):
    assert charts.heat(value, 10_000) == heat


# The page


@pytest.mark.parametrize("name", ["1h", "24h", "7d", "30d"])
def test_the_overview_shows_every_range_on_an_empty_database(viewer, name):
    html = viewer.get(reverse("overview"), {"range": name}).content.decode()
    assert f'href="?range={name}" aria-current="page"' in html
    assert "No decision in this time range." in html


def test_a_range_that_there_is_not_is_refused(viewer):
    assert viewer.get(reverse("overview"), {"range": "2y"}).status_code == 400


def test_the_overview_says_in_tables_what_its_pictures_show(viewer):
    now = datetime.now(UTC)
    store(*[event("a") for _ in range(1200)], now=now)
    store(event("b", type=EventType.INFO, level=Level.INFO), node="ship2", now=now)
    at = now - timedelta(seconds=60)
    answer(ask("x", process="p1", now=at), Action.KILL, now=at + timedelta(seconds=30), outcome=OutcomeState.APPLIED)
    ask("y", process="p2", now=now)
    html = viewer.get(reverse("overview")).content.decode()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.replace("&nbsp;", " ")))
    assert "■ error 1,202 (&gt; 99 %)" in text
    assert "ship1 1,202 1,202 (100 %)" in text
    assert "ship2 1 0 (0 %)" in text
    assert "Incidents 2 nothing to compare with" in text
    assert "95 % decided within 30 s" in text
    assert "Users 1 30 s 30 s" in text
    assert "Goal: 95 % of incidents decided within 5 m. 100.0 % in the last 30 days (1 of 1). 0 of 0 allowed" in text
    assert "Kill and restart 1 1 (100 %) 0 (0 %) 0" in text
    assert "level%3Aerror&amp;since=" in html
    assert not re.search(r"<[^>]+\s(style|on\w+)=", html)


@pytest.mark.django_db
def test_the_overview_says_where_it_counts_only_the_newest_decisions(viewer, monkeypatch):
    now = timezone.now()
    for number in range(5):
        answer(ask(now=now, process=f"copy-{number}"), action=Action.KILL, now=now)
    decisions_counted = "the newest 3 of 5 decisions"
    monkeypatch.setattr(decision_history, "READ_AT_MOST", 3)
    page = viewer.get(reverse("overview")).content.decode()
    assert decisions_counted in page.partition('id="p-outcome"')[2].partition("</section>")[0]
    monkeypatch.undo()
    page = viewer.get(reverse("overview")).content.decode()
    assert "5 decisions" in page.partition('id="p-outcome"')[2].partition("</section>")[0]
    assert "the newest" not in page


def test_one_of_many_is_not_said_to_be_none_nor_nearly_all_to_be_all():
    assert [percent(count, 748) for count in (0, 1, 4, 374, 747, 748)] == ["0", "< 1", "1", "50", "> 99", "100"]


def test_violet_is_for_those_who_wait_and_for_nothing_else(viewer):
    assert "pending-link" not in viewer.get(reverse("overview")).content.decode().split("<main")[1]
    ask("x", now=datetime.now(UTC))
    assert "pending-link" in viewer.get(reverse("overview")).content.decode().split("<main")[1]


def test_hostile_names_are_text_on_the_overview(viewer):
    now = datetime.now(UTC)
    store(event(HOSTILE.replace("\x00", ""), kind="<b>kind</b>"), now=now)
    html = viewer.get(reverse("overview")).content.decode()
    assert "<script>alert" not in html
    assert "<b>kind" not in html
    assert "\u202e" not in html


def test_the_overview_takes_the_same_number_of_queries_however_much_there_is(viewer, django_assert_max_num_queries):
    now = datetime.now(UTC)
    for number in range(30):
        store(event(f"problem {chr(97 + number)}", process=f"p{number}"), node=f"ship{number}", now=now)
        answer(ask(process=f"q{number}", node=f"ship{number}", now=now), outcome=OutcomeState.APPLIED, now=now)
    assert Node.objects.count() == 30
    viewer.get(reverse("overview"))
    with django_assert_max_num_queries(24):
        viewer.get(reverse("overview"))


# Beside the week before


def figures(viewer, **given):
    return {one.label: one for one in viewer.get(reverse("overview"), given).context["figures"]}


def test_four_numbers_are_compared_with_the_week_before(viewer):
    now = timezone.now()
    for number, (days, waited_s) in enumerate(((9, 100), (9, 200), (8, 300), (1, 40))):
        at = now - timedelta(days=days)
        opened = ask(f"x{number}", process=f"p{number}", now=at)
        answer(opened, now=at + timedelta(seconds=waited_s), outcome=OutcomeState.APPLIED)
    back = now - timedelta(days=9) + timedelta(seconds=130)
    answer(ask("x0", process="p0", now=back), now=back, outcome=OutcomeState.APPLIED)
    found = figures(viewer)
    opened, decided, blocked, came_back = found.values()
    assert (opened.text, opened.before, opened.change, opened.is_better) == ("1", "4", "3", True)
    assert (decided.text, decided.before, decided.is_better) == ("40 s", "5 m 0 s", True)
    assert blocked.before == "0 s"
    assert (came_back.text, came_back.of, came_back.before, came_back.change) == (
        "0.0 %",
        "0 of 1",
        "25.0 %",
        "25.0 points",
    )
    assert [one.before for one in figures(viewer, range="1h").values()][1] == ""


def test_the_objective_counts_what_is_late_and_still_pending(viewer, settings):
    now = timezone.now()
    for number, waited_s in enumerate((10, 20, 30, 400)):
        at = now - timedelta(days=2)
        answer(ask(process=f"p{number}", now=at), now=at + timedelta(seconds=waited_s), outcome=OutcomeState.APPLIED)
    ask(process="late", now=now - timedelta(minutes=6))
    ask(process="young", now=now - timedelta(minutes=4))
    level = viewer.get(reverse("overview")).context["level"]
    assert (level.counted, level.missed, level.allowed) == (5, 2, 0)
    assert level.burn == pytest.approx(8)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", viewer.get(reverse("overview")).content.decode()))
    assert "60.0 % in the last 30 days (3 of 5)" in text
    assert "burn rate 8.0×" in text
    assert "last hour 20.0×" in text


def test_decisions_that_did_not_help_name_their_actors_and_the_rule_to_review(viewer):
    now = timezone.now() - timedelta(hours=3)
    for number in range(4):
        at = now + timedelta(minutes=number)
        answer(ask("disk full", process="p", now=at), now=at, outcome=OutcomeState.APPLIED)
    Decision.objects.update(actor="rule:12")
    answer(ask("disk full", process="q", now=now), Action.KILL, now=now, outcome=OutcomeState.APPLIED)
    found = viewer.get(reverse("overview"))
    (group,) = found.context["helpless"]
    assert (group.action, group.decided, group.came_back, group.by) == ("continue", 4, 3, "rule 12: 4")
    assert "Review rule 12" in found.content.decode()


@pytest.mark.parametrize(("hour", "begins", "ends"), [(9, 20, 8), (23, 20, 8), (3, 20, 3)])
def test_the_night_is_the_present_one_or_the_last(hour, begins, ends):
    began, ended = overview._last_night(NOW.replace(hour=hour, minute=0, second=0))
    assert (began.day, began.hour, ended.day, ended.hour) == (NOW.day - 1, begins, NOW.day, ends)


def test_what_was_decided_at_night_is_grouped_and_leads_to_the_audit_trail(viewer):
    began, _ended = overview._last_night(timezone.now())
    for number in range(3):
        answer(ask("disk full", process=f"p{number}", now=began), Action.KILL, now=began)
    Decision.objects.update(actor="rule:7")
    answer(ask("disk full", process="day", now=began), now=began - timedelta(seconds=1))
    context = viewer.get(reverse("overview")).context
    assert [(group.action, group.decided, group.by) for group in context["night_groups"]] == [("kill", 3, "rule 7: 3")]
    root = person("root", "administrator")
    assert f"action=decide&amp;since={began:%Y-%m-%dT%H:%M}" in root.get(reverse("overview")).content.decode()


# What is far back


def test_a_search_looks_at_so_many_events_at_a_time_and_goes_on_where_it_stopped(viewer, monkeypatch):
    monkeypatch.setattr(event_list, "SCAN_EVENTS", 20)
    store(event("rare", level=Level.CRITICAL), *[event(f"often {n}") for n in range(50)], now=NOW)
    address, found = "/events/?level=critical", []
    for _ in range(3):
        html = viewer.get(address).content.decode()
        found.append("rare" in html)
        older = re.search(r'href="([^"]+)"\s+rel="next"', html)
        address = "/events/" + older[1].replace("&amp;", "&") if older else ""
    assert found == [False, False, True]
    assert not address


def test_a_search_within_a_node_or_problem_counts_its_own_events_only(viewer, monkeypatch):
    monkeypatch.setattr(event_list, "SCAN_EVENTS", 20)
    store(event("rare", level=Level.CRITICAL), now=NOW)
    store(*[event(f"often {n}") for n in range(50)], node="ship2", now=NOW)
    assert "rare" in viewer.get("/events/?level=critical&node=ship1").content.decode()
    assert "rare" in viewer.get("/events/?level=critical&node=ship1&process=copy-files").content.decode()
    assert (
        "rare" in viewer.get(f"/events/?level=critical&problem={Problem.objects.get(title='rare').pk}").content.decode()
    )


def test_the_busiest_column_is_never_below_the_average(viewer):
    """Also right after the upgrade, when a column of 15 minutes has counted two."""
    now = timezone.now()
    store(*[event("a") for _ in range(30)], now=now - timedelta(minutes=1))
    store(*[event("b") for _ in range(10)], now=now)
    for name in ("1h", "24h", "7d", "30d"):
        levels = viewer.get(reverse("overview"), {"range": name}).context["levels"]
        assert all(one.mean <= one.peak for one in levels), name
        assert max(one.mean for one in levels) > 0
