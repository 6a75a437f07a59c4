"""Quarantined processes, and the map."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from errorkernel.domain.access_denials import Denial
from errorkernel.domain.values import Event, EventType, Heartbeat, Level, ProcessReport
from errorkernel.models import Decision, Node, Problem, Process
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store import nodes as fleet
from errorkernel.store.accounts import access_denials
from errorkernel.store.platform.actor import Actor
from errorkernel.web.node_api import contacts
from errorkernel.web.node_api.tokens import NodeTokens
from tests.support.fleet_data import NOW, hello, lives, report, take_in
from tests.support.heartbeats import record_hellos

# Quarantine


def quarantined(*names: str) -> Event:
    """The question about these, as a supervisor's node asks it."""
    tags = {"quarantined": names[0]} | {f"quarantined {n}": name for n, name in enumerate(names[1:], 2)}
    given = {"type": EventType.ACTION, "kind": "Quarantined", "text": f"{names[0]} is quarantined", "tags": tags}
    return report(process="copiers", **given)


@pytest.mark.django_db
def test_who_is_quarantined_is_told_with_its_incident_and_cleared_by_who_may_decide(viewer: Client) -> None:
    User.objects.create_user("olga").groups.add(Group.objects.get(name="operator"))
    operator = Client()
    operator.force_login(User.objects.get(username="olga"))
    take_in(report(incarnation=4))
    states = [ProcessReport(name, "quarantined", 4, since=NOW) for name in ("copy", "a, b")]
    states.append(ProcessReport("index", "running", 1, since=NOW))
    record_hellos([("ship1", Heartbeat(version="1", at=NOW, processes=tuple(states)))], now=NOW)
    assert lives() == [(1, "", 0), (4, "crashed", 0), (4, "crashed", 1)]
    asked = quarantined("copy", "a, b")
    take_in(asked)
    copy, sibling, other = (Process.objects.get(name=name) for name in ("copy", "a, b", "index"))
    pages = ["/nodes/ship1/", *(f"/nodes/ship1/{one.pk}/" for one in (copy, sibling))]
    for page in pages:
        seen, shown = (one.get(page).content.decode() for one in (viewer, operator))
        for html in (seen, shown):
            assert "■ quarantined" in html
            assert f"/incidents/{asked.id}/" in html
        assert "Start again" in shown
        assert "Start again" not in seen
    assert "■ quarantined" not in operator.get(f"/nodes/ship1/{other.pk}/").content.decode()
    clear = {"action": "continue", "request_id": "1", "next": pages[1]}
    assert viewer.post(f"/incidents/{asked.id}/decision/", clear).status_code == 403
    cleared = operator.post(f"/incidents/{asked.id}/decision/", clear, follow=True)
    assert cleared.redirect_chain == [(pages[1], 302)]
    html = cleared.content.decode()
    assert "■ quarantined" in html
    assert "Start again" not in html
    assert Decision.objects.get().action == "continue"
    record_hellos([("ship1", hello(incarnation=5))], now=datetime.now(UTC))
    html = " ".join(operator.get(pages[1]).content.decode().split())
    assert "■ quarantined" not in html
    told = html.split("<h2>Restarts</h2>")[1].split("</tr>")
    began_by = f'/incidents/{asked.id}/">decided <b>continue</b> by</a> <bdi>olga'
    assert [began_by in row for row in told[1:3]] == [True, False], "of the life that began by it"


# The map


@pytest.mark.django_db
def test_the_map_opens_node_by_node_and_process_by_process(viewer: Client) -> None:
    take_in(report(), report(), report(kind="F", level=Level.CRITICAL), report(process="index"))
    take_in(report(process="index"), node="ship2")
    record_hellos([("quiet", Heartbeat(version="1", at=NOW))], now=NOW)
    copy = Process.objects.get(name="copy")

    def shown(address: str) -> str:
        return viewer.get(address).content.decode()

    closed = shown("/map/")
    assert "3 error states" in closed
    assert "1 error state," in closed
    assert closed.count('aria-expanded="false"') == 2  # one that has met nothing has nothing to open
    assert "copy" not in closed
    node = shown("/map/?node=ship1")
    assert f"/nodes/ship1/{copy.pk}/" in node
    assert 'class="level-critical"' in node
    process = shown(f"/map/?node=ship1&process={copy.pk}")
    for problem in Problem.objects.filter(error_states__process=copy):
        assert f"/problems/{problem.pk}/" in process
    assert process.count('aria-expanded="true"') == 2
    assert {one.node_id for one in copy.error_states.all()} == {copy.node_id}
    for wrong, status in (("node=none", 404), ("node=ship2&process=1", 404), ("process=x", 400), ("node=%00", 400)):
        assert viewer.get(f"/map/?{wrong}").status_code == status, wrong
    assert Client().get("/map/").status_code == 302


@pytest.mark.django_db
def test_a_node_that_the_broker_does_not_know_yet_is_no_denial() -> None:
    # `steward node add` and `renew` try the new key until the broker accepts it.
    fleet.add_node("ship1", Actor.system(NOW))
    key = Node.objects.get(name="ship1").public_key
    new, stranger = Denial("connect", claimed=f"key:{key}"), Denial("connect", claimed="key:U")
    assert access_denials.record({new: 3, stranger: 2, Denial("publish", "x", "ship1"): 1}, now=NOW) == {
        "connect": 2,
        "publish": 1,
    }


@pytest.mark.django_db(transaction=True)
async def test_a_request_with_a_nodes_token_is_a_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contacts, "DELAY_S", 0.0)
    threads = DatabaseThreads("test")
    made = await threads.run(fleet.add_node, "ship1", Actor.system(NOW))
    known = NodeTokens(threads)
    assert await known.node(made.token) == "ship1"
    assert known.contacts.stored is not None
    await known.contacts.stored
    assert await threads.run(Node.objects.filter(name="ship1", http_at__isnull=False).exists)
    known.contacts.note("ship1")
    assert known.contacts.stored.done(), "one write per node and half minute"
    threads.close()
