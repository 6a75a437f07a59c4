"""The node's own log says how much is unsent, in few lines."""

import logging

from errorkernel.node.delivery import backlog_log
from errorkernel.node.delivery.backlog_log import BacklogLog, Size
from errorkernel.node.run.main import _Deduplicate


def lines(log: BacklogLog, sizes: list[int], *, connected: bool, began: float, every_s: float = 10) -> list[str]:
    found = [
        log.next_line(Size(rows, rows * 1000), connected=connected, now=began + number * every_s)
        for number, rows in enumerate(sizes)
    ]
    return [line for line in found if line]


def test_a_broker_that_is_away_for_days_costs_few_lines() -> None:
    found = lines(BacklogLog(), [1234] * (2 * 8640), connected=False, began=0)
    assert found[0] == "The broker has been away for 60 s. Backlog: 1,234 messages, 1.2 MB."
    assert found[1] == "The broker has been away for 3 min. Backlog: 1,234 messages, 1.2 MB."
    assert found[-1].startswith("The broker has been away for 4")
    assert len(found) < 60


def test_a_short_absence_or_an_empty_backlog_says_nothing() -> None:
    log = BacklogLog()
    assert lines(log, [5] * 5, connected=False, began=0) == []
    assert lines(log, [5, 0, 0], connected=True, began=50) == []
    assert lines(log, [0] * 100, connected=False, began=100) == []


def test_a_long_backlog_is_followed_until_it_is_sent() -> None:
    log = BacklogLog()
    sizes = [90_000 - 1000 * number for number in range(90)] + [0, 0]
    found = lines(log, sizes, connected=True, began=0)
    assert found[0] == "Sending the backlog: 90,000 messages, 90.0 MB."
    assert found[1] == "Sending the backlog: 84,000 messages, 84.0 MB. About 14 min left."
    assert found[-1] == "The backlog is sent."
    assert len(found) == 2 + 15 - 1
    assert lines(log, [3, 0, 3, 0], connected=True, began=5000) == []


def test_what_was_said_of_an_absence_has_an_end() -> None:
    log = BacklogLog()
    assert len(lines(log, [7] * 8, connected=False, began=0)) == 1
    assert lines(log, [7, 0], connected=True, began=80) == ["The backlog is sent."]


def test_a_backlog_that_grows_faster_than_it_is_sent_has_no_time_left() -> None:
    found = lines(BacklogLog(), [5000 + number for number in range(8)], connected=True, began=0)
    assert found == [
        "Sending the backlog: 5,000 messages, 5.0 MB.",
        "Sending the backlog: 5,006 messages, 5.0 MB.",
    ]


def test_steward_run_shows_the_size_again_and_other_lines_once() -> None:
    once = _Deduplicate()

    def record(**extra: bool) -> logging.LogRecord:
        return logging.makeLogRecord({"msg": "x", **extra})

    assert once.filter(record())
    assert not once.filter(record())
    assert once.filter(record(**backlog_log.REPEATS))
