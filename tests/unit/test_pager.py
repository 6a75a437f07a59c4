"""Where a page of a list stands, and what its neighbours are."""

from errorkernel.web.console.pager import PAGES_MAX, Pager, first_row


def test_a_page_in_the_middle_has_two_neighbours_and_keeps_the_search() -> None:
    pager = Pager.numbered({"q": "node:ship1"}, 2, 50, 120)
    assert (pager.first, pager.last, pager.total, pager.page, pager.pages) == (51, 100, 120, 2, 3)
    assert pager.newer == "?q=node%3Aship1&page=1"
    assert pager.older == "?q=node%3Aship1&page=3"


def test_the_last_page_and_the_only_page_have_no_next_one() -> None:
    assert Pager.numbered({}, 3, 50, 120).older == ""
    only = Pager.numbered({}, 1, 50, 50)
    assert (only.newer, only.older, only.last, only.pages) == ("", "", 50, 1)
    assert Pager.numbered({}, 1, 50, 0).pages == 1


def test_rows_that_were_not_counted_may_follow_the_last_counted_one() -> None:
    pager = Pager.numbered({}, 200, 50, 10_000, has_uncounted=True)
    assert pager.is_capped
    assert pager.older == "?page=201"


def test_a_page_that_is_too_far_is_the_last_that_may_be_asked_for() -> None:
    assert first_row(10**12, 50) == first_row(PAGES_MAX, 50)
    assert Pager.numbered({}, 10**12, 50, 10).page == PAGES_MAX


def test_a_list_by_position_leads_back_to_its_newest_rows() -> None:
    assert Pager.by_position({"actor": "alice"}, None, 7) == Pager(older="?actor=alice&before=7")
    assert Pager.by_position({"actor": "alice"}, 7, None) == Pager(newer="?actor=alice")
