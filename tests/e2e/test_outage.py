"""Links that are away: what a node reports meanwhile is stored once, in order; what it had no room for is told."""

import os
from pathlib import Path

import pytest

from tests.support import away, outage
from tests.support.waiting import wait_for

BY_CABLE = pytest.param(
    True, id="link cut", marks=pytest.mark.skipif(not outage.Cable.possible, reason="needs root and ip, for a network")
)


@pytest.mark.slow
@pytest.mark.parametrize("by_cable", [BY_CABLE, pytest.param(False, id="product stopped")])
def test_a_node_that_is_killed_while_its_link_is_away_loses_nothing(by_cable: bool, tmp_path: Path) -> None:
    # Long enough for a link that is cut without a word to be given up; a product that is stopped says so at once.
    outage.play(tmp_path, events=3000, outage_s=15 if by_cable else 5, by_cable=by_cable)


@pytest.mark.slow
def test_what_was_decided_while_a_node_was_away_is_obeyed_or_its_message_can_be_sent_again(tmp_path: Path) -> None:
    minutes = float(os.environ.get("STEWARD_TEST_OUTAGE_MINUTES", "0"))
    took_s = away.play(tmp_path, outage_s=minutes * 60)
    if minutes:  # by hand, where nothing else takes the machine's time
        assert took_s < 1


@pytest.mark.slow
def test_a_journal_at_its_limit_tells_exactly_what_it_dropped(tmp_path: Path) -> None:
    room, last = 300, 1200
    with outage.at_sea(tmp_path, by_cable=False) as (product, far, _):
        token = product.token()
        product.stop()
        far.sail(0, last, "ask", str(room))
        far.says("up")
        far.says("reported")
        product.start()
        question = wait_for(lambda: next(iter(outage.open_questions(product, token)), None))
        assert question["text"] == "may I go on?"
        # All that the journal still had has arrived, and its node has said so since.
        node = wait_for(lambda: _node(product, token, backlog=0))
        found = outage.stored(product, token)
        texts = {kind: [one["text"] for one in found if one["type"] == kind] for kind in ("info", "error", "action")}
        assert len(texts["error"]) == len(set(texts["error"])) == last // 5
        assert len(texts["action"]) == 1
        assert 0 < len(texts["info"]) < room
        assert node["dropped"] == last - last // 5 - len(texts["info"])
        far.kill()


def _node(product: outage.Product, token: str, *, backlog: int) -> dict | None:
    node = product.call("/api/v1/nodes", token)[1]["items"][0]
    return node if node["backlog"] == backlog and node["dropped"] else None
