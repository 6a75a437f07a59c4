"""Pages about the product itself, and the picture of who fails when."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse

from errorkernel.domain.values import Level
from errorkernel.platform import conf
from errorkernel.store.ingest import rejected_events
from errorkernel.templatetags.rejections import refusal
from errorkernel.web.console import heat_map
from tests.support.page_data import HOSTILE, event, person, store
from tests.support.paths import ROOT

pytestmark = pytest.mark.django_db


def refuse(number, reason="not json", data=b"\xff{<script>alert(1)</script>"):
    now = datetime.now(UTC)
    rejected_events.refuse(
        source=f"s{number}", subject="ek.evt.<b>x</b>", node="ship1", reason=reason, detail=HOSTILE, data=data, now=now
    )


def test_refused_input_is_shown_as_text_and_bytes_with_a_count_by_reason():
    refuse(1)
    refuse(2)
    refuse(3, "too large", b"x" * 5000)
    html = person("vera", "viewer").get(reverse("quarantine")).content.decode()
    assert "\\xff{&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "0000  ff 7b 3c 73" in html
    assert "<script>alert" not in html
    assert "<b>x" not in html
    assert html.index("not json") < html.index("too large")
    assert "3,976 more bytes are not shown." in html
    only = person("victor", "viewer").get(reverse("quarantine"), {"reason": "too large"}).content.decode()
    assert only.count("<details>") == 1


def test_every_reason_to_refuse_has_words():
    code = "".join(
        path.read_text()
        for package in ("protocol", "kernel", "web", "senders")
        for path in (ROOT / "errorkernel" / package).rglob("*.py")
    )
    reasons = set(
        re.findall(r'(?:ProtocolError\(|BodyError\(\s*\d+,|refus(?:al|e)\(\w+, (?:\w+, )?)\s*"([a-z_]+)"', code)
    )
    assert {"not_json", "cannot_be_stored", "too_many_nodes", "encoding"} <= reasons
    # What a node refuses of ours, and what nobody is there to be told.
    reasons -= {"unknown_command", "refused", "aborted"}
    assert {one for one in reasons if refusal(one) == one} == set()
    refuse(1, "not_json")
    html = " ".join(person("vera", "viewer").get(reverse("quarantine")).content.decode().split())
    assert 'invalid JSON</a> <code class="dim"><bdi>not_json' in html


def test_refused_input_comes_a_page_at_a_time():
    for number in range(55):
        refuse(number)
    viewer = person("vera", "viewer")
    first = viewer.get(reverse("quarantine"))
    assert first.content.decode().count("<details>") == 50
    second = viewer.get(reverse("quarantine"), {"before": first.context["pager"].older.partition("=")[2]})
    assert second.content.decode().count("<details>") == 5


def test_settings_are_for_administrators_and_hide_what_is_secret(monkeypatch):
    assert person("olga", "operator").get(reverse("settings")).status_code == 403
    monkeypatch.setenv("STEWARD_RETENTION_DAYS", "90")
    html = person("anna", "administrator").get(reverse("settings")).content.decode()
    for variable, _value, meaning in conf.describe(conf.get()):
        assert variable in html
        assert meaning.split("'")[0].split(";")[0][:20] in html
    assert html.count("<b>environment</b>") >= 1


def test_the_heat_map_shows_who_failed_when_the_worst_first():
    now = datetime.now(UTC)
    store(event("a", process="calm"), now=now - timedelta(hours=3))
    store(*[event("a", process="<i>wild</i>") for _ in range(40)], now=now)
    store(event("a", process="old"), now=now - timedelta(hours=30))
    store(event("a", process="fine", level=Level.INFO), now=now)
    found = heat_map.of_fleet(now)
    assert [(row.process.name, row.failures) for row in found.rows] == [("<i>wild</i>", 40), ("calm", 1)]
    assert [cell.failures for cell in found.rows[0].cells] == [0] * 23 + [40]
    assert found.rows[0].cells[-1].heat == 5
    assert found.rows[1].cells[-4].heat == 1
    viewer = person("vera", "viewer")
    for address in (reverse("nodes"), reverse("node", args=["ship1"])):
        html = viewer.get(address).content.decode()
        assert "&lt;i&gt;wild&lt;/i&gt;" in html
        assert 'class="heat-5"' in html
