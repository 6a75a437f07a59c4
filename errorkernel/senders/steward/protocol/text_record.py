"""The text record of a Steward or ctrl node: time, node and text.

``Fri Jan 21 06:15:26 2022, node: ship1, relayFromNode: hub, error: …``: the time is by the node's clock and has no time
zone. A text of another form is kept unchanged.
"""

import re
from datetime import UTC, datetime

import msgspec

_MONTHS = {name: number for number, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}  # noqa: SIM905
_HEAD = re.compile(r"\w{3} (\w{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4}), node: ")
_NODE_MAX_CHARS = 200
_RELAY = "relayFromNode: "


class Record(msgspec.Struct, frozen=True):
    """``local_time``: by the node's clock, without time zone."""

    text: str
    node: str = ""
    relay_node: str = ""
    local_time: datetime | None = None


def parse(data: str) -> Record:
    """The parts of a record; a record of another form has only a text."""
    found = _HEAD.match(data)
    if not found:
        return Record(data.rstrip("\n"))
    month, day, hour, minute, second, year = found.groups()
    try:
        # Not strptime, which uses the names of days and months of the machine's language.
        local = datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second))
    except (KeyError, ValueError):
        return Record(data.rstrip("\n"))
    node, rest = _up_to_comma(data, found.end())
    if node is None:
        return Record(data.rstrip("\n"))
    relay: str | None = None
    if data.startswith(_RELAY, rest):
        relay, after = _up_to_comma(data, rest + len(_RELAY))
        rest = after if relay is not None else rest
    return Record(data[rest:].removesuffix("\n"), node, relay or "", local)


def line(at: datetime, node: str, relay_node: str, text: str) -> str:
    """A record in the form of nodes, without its end; ``at`` is written in UTC."""
    relay = f"{_RELAY}{relay_node}, " if relay_node else ""
    # Not strftime, which uses the machine's language.
    return f"{at.astimezone(UTC).ctime()}, node: {node}, {relay}{text}"


def _up_to_comma(data: str, at: int) -> tuple[str | None, int]:
    end = data.find(", ", at, at + _NODE_MAX_CHARS)
    return (None, at) if end < 0 else (data[at:end], end + 2)
