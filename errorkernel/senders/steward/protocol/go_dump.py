"""Finds messages that a node has printed into a text, as Go prints a struct: ``{{} ship2 [] 0 [] REQHttpGet [http://x]
…}``.

It has no names and no quotes, and blanks between and inside fields. The text between unambiguous parts (numbers, true
and false, lists of numbers) is used. A dump that does not match is ignored.
"""

import re

from errorkernel.domain.values import Message

DUMP_MAX_CHARS = 65_536
_ENDS_TRIED = 32
"""Arguments may contain brackets: this many of them are tried as the end of the list."""

_WORD = r"\S{0,200}"
_HEAD = re.compile(
    rf"\{{\{{\}} (?P<to>{_WORD}) \[[^\]]*\] (?:{_WORD} )?(?P<id>-?\d+) \[(?P<data>[\d ]*)\] (?P<method>{_WORD}) \["
)
# The signature is a list of numbers in layouts that have one; the match ends with FromNode and a timeout.
_TAIL = re.compile(rf"\](?: \[[\d ]*\])? {_WORD} \[[^\]]*\] (?:true|false) (?P<sender>{_WORD}) -?\d+ -?\d+ ")


def parse(text: str) -> Message | None:
    """The first message printed in ``text``, or None. Its data are the arguments, below them the payload."""
    start = text.find("{{} ")
    if start < 0:
        return None
    dump = text[start : start + DUMP_MAX_CHARS]
    head = _HEAD.match(dump)
    if not head:
        return None
    end = head.end() - 1
    for _ in range(_ENDS_TRIED):
        end = dump.find("]", end + 1)
        if end < 0:
            return None
        if tail := _TAIL.match(dump, end):
            break
    else:
        return None
    return Message(
        id=head["id"] if head["id"] != "0" else "",
        method=head["method"],
        from_node=tail["sender"],
        to_node=head["to"],
        data="\n".join(part for part in (dump[head.end() : end], _bytes(head["data"])) if part),
    )


def _bytes(numbers: str) -> str:
    values = [int(number) for number in numbers.split() if len(number) < 4]
    return bytes(value for value in values if value < 256).decode("utf-8", "replace")
