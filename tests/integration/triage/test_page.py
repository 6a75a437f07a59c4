"""The triage page as the server renders it: what each row says, and that its forms work without script."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from errorkernel.domain.values import Outcome, OutcomeState
from errorkernel.models import BulkDecision, Incident, Problem
from errorkernel.store.incidents import decisions
from errorkernel.web.console.triage import GROUPS_SHOWN
from tests.support.page_data import HOSTILE, answer, ask, person

pytestmark = pytest.mark.django_db

STACK = 'Traceback:\n  File "/app/worker.py", line 113, in step\n  File "/app/storage.py", line 88, in write\n'


@pytest.fixture
def alice() -> Client:
    return person("alice", "operator")


def block(process: str, text: str = "no space left", *, minutes: int = 5, **fields: object) -> Incident:
    now = datetime.now(UTC) - timedelta(minutes=minutes)
    return ask(text, process=process, now=now, **{"kind": "OSError", "stack": STACK, **fields})


def block_many(count: int) -> int:
    """The problem on which so many processes are blocked."""
    return {block(f"ingest-{number}").problem_id for number in range(count)}.pop()


def rows(client: Client, address: str = "/", **given: str) -> dict[str, str]:
    """Title → HTML of the rows, in their order."""
    html = client.get(address, given).content.decode()
    area = html.split('<ol class="groups"')[1].split('<section class="stream-part"')[0]
    found = area.split('<li class="group')[1:]
    return {text(row.split("</h2>")[0].split("<bdi>")[1]): row for row in found}


def text(row: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", row).split())


def decide(client: Client, problem: int, **fields: object) -> None:
    response = client.post(f"/problems/{problem}/decision/", {"next": "/", **fields})
    assert (response.status_code, response["Location"]) == (302, "/")


def test_rows_are_causes_by_impact_with_their_evidence(alice: Client) -> None:
    for number in range(6):
        block(f"ingest-{number:02}", node=f"ship{number % 2}", tags={"release": "1.4.2"})
    answer(block("ingest-99", minutes=90), now=datetime.now(UTC) - timedelta(minutes=80), outcome=OutcomeState.APPLIED)
    block("alone", "another cause", minutes=8, kind="Other")
    page = alice.get("/").content.decode()
    assert "7 processes blocked by 2 problems" in text(page)
    first, second = rows(alice).values()
    shown = text(first)
    for part in (
        "◆ 6 pending", "OSError: no space left", "ingest-* on ship0 3 · ship1 3",
        "worker.py:113 step → storage.py:88 write",
        "REQCopySrc central → ship1 #8841", "Continue 1 (came back 0)", "Release 1.4.2", "Canary first", "All 6",
        "Decides ingest-00 on ship0 and observes it for 60 s. If it succeeds, the other 5 follow",
    ):  # fmt: skip
        assert part in shown, part
    assert "Canary first" not in text(second)
    assert "alone on ship1" in text(second)
    assert "page=2" not in page
    assert "None" not in page


def test_hostile_texts_are_text_and_long_names_are_cut(alice: Client) -> None:
    block(HOSTILE[:200], HOSTILE, kind=HOSTILE[:100])
    page = alice.get("/", {"open": str(Problem.objects.get().pk)}).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_a_decision_works_without_script_and_the_row_shows_its_progress(alice: Client) -> None:
    problem = block_many(4)
    decide(alice, problem, action="continue", scope="canary")
    bulk = BulkDecision.objects.get()
    assert (bulk.state, bulk.count, bulk.then_rest) == ("canary", 4, True)
    (row,) = rows(alice).values()
    assert "in-hand" in row
    for part in ("Canary: Continue by alice", "the other 3 follow by themselves", "Keep 3 pending"):
        assert part in text(row), part
    alice.post(f"/bulk-decisions/{bulk.pk}/reject/")
    (row,) = rows(alice).values()
    assert "○ Continue by alice was ended; the rest stays pending." in text(row)
    assert "Kill and restart" in text(row)


def test_a_failed_canary_is_said_where_the_others_are_decided(alice: Client) -> None:
    problem = block_many(3)
    decide(alice, problem, action="kill", reason="stuck", scope="canary")
    canary = BulkDecision.objects.get().canary
    assert canary
    decisions.mark_delivered([canary.pk], now=datetime.now(UTC))
    fail(canary)
    (row,) = rows(alice).values()
    assert "is-failed" in row
    assert "The others stay pending." in text(row)
    assert "All 2" in text(row)


def test_chosen_processes_alone_are_decided(alice: Client) -> None:
    asked = [block(f"ingest-{number}", node=f"ship{number % 2}") for number in range(4)]
    decide(
        alice, asked[0].problem_id, action="continue", scope="chosen", incident=[str(asked[1].pk)], node="", release=""
    )
    assert list(BulkDecision.objects.get().items.values_list("incident", flat=True)) == [asked[1].pk]
    decide(alice, asked[0].problem_id, action="continue", scope="chosen", node="ship0")
    assert [bulk.count for bulk in BulkDecision.objects.order_by("id")] == [1, 2]


def test_many_kills_wait_for_an_approval(alice: Client) -> None:
    problem = block_many(25)
    assert "Kill and Stop need an approval (more than 20)." in text(next(iter(rows(alice).values())))
    decide(alice, problem, action="kill", reason="the pool is exhausted", scope="all")
    (row,) = rows(person("bob", "operator")).values()
    assert "alice proposes Kill and restart for 25 processes: “ the pool is exhausted ”" in text(row)
    assert f'href="/bulk-decisions/{BulkDecision.objects.get().pk}/"' in row
    assert not Incident.objects.exclude(state="open").exists()


def test_a_take_is_shown_to_everybody(alice: Client) -> None:
    problem = block("ingest").problem_id
    alice.post(f"/problems/{problem}/take/", {"next": "/"})
    (mine,), (others,) = rows(alice).values(), rows(person("bob", "operator")).values()
    assert "wants-you" not in mine
    assert "taken by alice" in text(mine)
    assert "Give back" in text(mine)
    assert "Take over" in text(others)


def test_who_may_not_decide_sees_evidence_and_no_buttons() -> None:
    block("ingest")
    (row,) = rows(person("vera", "viewer")).values()
    assert "<button" not in row
    assert "not decide them" in text(row)


def test_processes_are_shown_on_demand_and_the_groups_alone_for_scripts(alice: Client) -> None:
    problem = block_many(4)
    alone = alice.get("/triage/groups/", {"open": f"{problem}.3"}, headers={"X-Steward-Card": "1"}).content.decode()
    assert "<html" not in alone
    assert alice.get("/triage/groups/")["Location"] == "/"
    assert alone.count("data-member=") == 3
    assert "3 of 4" in text(alone)
    assert rows(alice, open=f"{problem}")
    for wrong in ("x", "1.x", "1;2", "9" * 40):
        assert alice.get("/", {"open": wrong}).status_code == 400, wrong


def test_a_filter_narrows_the_rows(alice: Client) -> None:
    block("ingest", node="ship1")
    block("render", "another", node="ship2", kind="Other")
    assert list(rows(alice, q="node:ship2")) == ["Other: another"]
    assert rows(alice, q="node:none") == {}
    wrong = alice.get("/", {"q": "nod:ship2"})
    assert wrong.status_code == 400
    assert "Did you mean" in wrong.content.decode()


def test_the_page_is_bounded_and_links_to_the_rest(alice: Client) -> None:
    for number in range(GROUPS_SHOWN + 2):
        block("ingest", "x" * (number + 1), kind=f"Kind{'x' * number}")
    page = alice.get("/").content.decode()
    assert page.count("data-group=") == GROUPS_SHOWN
    assert "2 more problems with pending incidents" in text(page)


def test_an_empty_page_has_one_line(alice: Client) -> None:
    page = alice.get("/").content.decode()
    assert "No pending incidents" in page
    assert "data-group=" not in page


def fail(canary: Incident) -> None:
    """Its node reports that the decision failed."""
    decision = canary.decision  # type: ignore[attr-defined]
    outcome = Outcome(incident=canary.pk, state=OutcomeState.FAILED, decision_id=decision.pk)
    decisions.record_outcome(canary.node.name, outcome, now=datetime.now(UTC))
