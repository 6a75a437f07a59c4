"""The processes of a node on its page: grouped by name, folded unless one of them wants a person, a page at a time."""

import re

import pytest
from django.test import Client

from errorkernel.models import Node, Process
from errorkernel.web.console.node_processes import GROUPS_A_PAGE, ROWS_A_PAGE, ROWS_OF_GROUP
from tests.support.page_data import NOW, ask, event, person, store

pytestmark = pytest.mark.django_db


@pytest.fixture
def vera() -> Client:
    return person("vera", "viewer")


def add(*names: str, **fields: str) -> None:
    node = Node.objects.get(name="ship1")
    Process.objects.bulk_create(
        Process(node=node, name=name, first_seen=NOW, last_seen=NOW, **fields) for name in names
    )


def shown(client: Client, parameters: str = "") -> str:
    page = client.get(f"/nodes/ship1/{parameters}")
    assert page.status_code == 200
    return page.content.decode().split('id="processes"')[1].split("</section>")[0]


def rows(part: str) -> list[str]:
    return re.findall(r'<td class="cut lead first"><a [^>]*><bdi>([^<]*)', part)


def test_hundreds_of_processes_are_a_line_for_each_kind_of_name(vera: Client) -> None:
    store(event(process="ingest-1"))
    add(*(f"ingest-{number}" for number in range(2, 331)), *(f"copy-{number}" for number in range(40)))
    part = shown(vera)
    assert rows(part) == []
    assert part.count('class="group-row"') == 2
    assert "330 processes" in part
    assert "40 processes" in part


def test_a_group_with_a_pending_or_quarantined_process_is_open_and_first(vera: Client) -> None:
    store(event(process="ingest-1"))
    add(*(f"ingest-{number}" for number in range(2, 100)), *(f"copy-{number}" for number in range(40)))
    add("zeta-1", "zeta-2", state="quarantined")
    ask(process="ingest-77")
    part = shown(vera)
    found = rows(part)
    assert found[0] == "ingest-77"
    assert len(found) == ROWS_OF_GROUP + 2
    assert f"… {99 - ROWS_OF_GROUP} more" in part
    assert part.index("ingest-*") < part.index("zeta-*") < part.index("copy-*")


def test_a_group_is_shown_whole_a_page_at_a_time(vera: Client) -> None:
    store(event(process="ingest-1"))
    add(*(f"ingest-{number}" for number in range(2, 151)), "backup")
    first, second = shown(vera, "?group=ingest-*"), shown(vera, "?group=ingest-*&page=2")
    assert len(rows(first)) == ROWS_A_PAGE
    assert len(rows(second)) == 150 - ROWS_A_PAGE
    assert not set(rows(first)) & set(rows(second))
    assert 'href="?group=ingest-%2A&amp;page=2"' in first
    assert rows(shown(vera, "?group=*")) == ["backup"]
    assert "No process has such a name any more." in shown(vera, "?group=nothing-*")


def test_many_kinds_of_names_are_shown_a_page_at_a_time(vera: Client) -> None:
    store(event(process="alone"))
    letters = [chr(97 + number // 26) + chr(97 + number % 26) for number in range(GROUPS_A_PAGE + 5)]
    add(*(f"{name}-{number}" for name in letters for number in range(2)))
    assert shown(vera).count('class="group-row"') == GROUPS_A_PAGE
    assert shown(vera, "?page=2").count('class="group-row"') == 6  # the others come last


def test_a_name_with_an_ampersand_keeps_its_link(vera: Client) -> None:
    store(event(process="a&b 1/#"), event(process="a&b 2/#"))
    part = shown(vera)
    link = re.search(r'href="\?(group=[^"]*?)#processes"', part)
    assert link
    assert len(rows(shown(vera, "?" + link[1]))) == 2
