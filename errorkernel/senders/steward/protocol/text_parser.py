"""Extracts kind, level, cause, process and message in progress from the text of a Steward/ctrl node.

These are sent only as text, so guesses are marked. A text that matches a template is grouped by the template and the
values that are its cause, any other text by its words with variable parts masked. The sending node is no part of the
group.
"""

import hashlib
import re

import msgspec

from errorkernel.domain.fingerprint import grouping, masks
from errorkernel.domain.values import EventType, Level, Message
from errorkernel.senders.steward.protocol import go_dump
from errorkernel.senders.steward.protocol.methods import Guess, canonical, guess, spelled
from errorkernel.senders.steward.protocol.text_templates import NO_METHOD, Template, find, method_of_subject, process_in

SOURCE = grouping.RECOGNISED
WRAPPER = "error: subscriberHandler: handler method failed: "
"""A prefix that some versions omit."""
_WRAPPERS_MAX = 4
PART_CHARS = 200

_DUMP = re.compile(r"&?\{\{\} .*\}", re.DOTALL)
_QUOTED = re.compile(r'"[^"]{0,500}"')
_ARGUMENTS = re.compile(r"methodArgs: \[[^\]]*\]")
_WORD = re.compile(r"\w[\w.-]*\w|\w")
_LABEL = re.compile(r"\bmethodREQ([A-Z])")
_NODE_LIST = re.compile(r"\[([^\[\]]*)\]")


class Echo(msgspec.Struct, frozen=True):
    """Texts with the same ``key`` and different ``role`` belong to one failure."""

    key: str
    role: str


class Understood(msgspec.Struct, frozen=True):
    """``process`` is a canonical guess or None. ``about`` is the node that a text is about if not the sender's."""

    type: EventType
    level: Level
    kind: str
    fingerprint: tuple[str, ...]
    prefix: str
    process: Guess | None = None
    message: Message | None = None
    about: str = ""
    echoes: tuple[Echo, ...] = ()

    @property
    def lacks_cause(self) -> bool:
        """It omits the method that is its cause; another text of the same failure contains it."""
        return self.kind == NO_METHOD and not self.fingerprint[-1]


def understand(text: str, *, node: str, req: bool, nodes: frozenset[str] = frozenset()) -> Understood:
    """Read a text of ``node``. ``req``: its methods are spelled with REQ. ``nodes``: names to mask."""
    # Not at its end: a template may end with a blank.
    text = text.lstrip()
    inner, wrapped = text, 0
    while inner.startswith(WRAPPER) and wrapped < _WRAPPERS_MAX:
        inner, wrapped = inner[len(WRAPPER) :].lstrip(), wrapped + 1
    found = find(inner)
    prefix, kind_of_event, level = _prefix(inner)
    if found is None:
        return Understood(
            type=kind_of_event,
            level=level,
            kind="",
            fingerprint=_masked_parts(inner, node, nodes),
            prefix=prefix,
            process=guess(inner, req),
            message=go_dump.parse(inner),
            echoes=_echoes(inner, wrapped > 0, None),
        )
    template, values = found
    return Understood(
        type=template.type or kind_of_event,
        level=template.level or level,
        kind=template.kind,
        fingerprint=(SOURCE, template.kind, *(part(values) for part in template.parts)),
        prefix=prefix,
        process=_process(template, values, inner, req),
        message=go_dump.parse(inner) or _message(values, node, req),
        about=values.get("to_node", "")[:PART_CHARS],
        echoes=_echoes(inner, wrapped > 0, found),
    )


def _prefix(text: str) -> tuple[str, EventType, Level]:
    """By the first word. A text without it is an error."""
    if text.startswith("error:"):
        return "error", EventType.ERROR, Level.ERROR
    if text.startswith("info:"):
        return "info", EventType.INFO, Level.INFO
    return "", EventType.ERROR, Level.WARNING


def _process(template: Template, values: dict[str, str], text: str, req: bool) -> Guess | None:
    if template.kind == "node not reached":
        # Sent by the publisher to that node, which is a process only in Steward; it is not the failure of a subscriber.
        return None
    if template.kind == NO_METHOD:
        # The missing method is no process; the printed message contains the one that was to send a reply.
        printed = go_dump.parse(text)
        return Guess(spelled(canonical(printed.method), req), certain=True) if printed and printed.method else None
    if named := process_in(values) if "process" in values or template.echo == "unsubscribed before" else "":
        return Guess(spelled(named, req), certain=True)
    return guess(text, req)


def _message(values: dict[str, str], node: str, req: bool) -> Message | None:
    """The message in progress, as far as the text contains it: method and arguments."""
    if "args" not in values or "process" in values:
        return None
    arguments = values["args"].removeprefix("[").removesuffix("]")
    if "subject" in values:
        method = method_of_subject(values["subject"])
        return Message(
            method=spelled(method, req),
            from_node=values.get("from_node", "")[:PART_CHARS],
            to_node=values.get("to_node", "")[:PART_CHARS],
            data=arguments,
        )
    found = guess(f"method{values['method']}", req) if "method" in values else None
    return Message(method=found.method if found else "", to_node=node, data=arguments)


def _echoes(text: str, wrapped: bool, found: tuple[Template, dict[str, str]] | None) -> tuple[Echo, ...]:
    whole = Echo(_digest("text", text), "wrapped" if wrapped else "plain")
    if found is None or not found[0].echo:
        return (whole,)
    template, values = found
    if template.kind == "process stopped":
        return (whole, Echo(_digest("stop", process_in(values)), template.echo))
    if template.kind == NO_METHOD:
        return (whole, Echo(_digest(NO_METHOD), template.echo))
    return (whole, Echo(_digest("failure", values["method"], _arguments(values["args"])), template.echo))


def _arguments(printed: str) -> str:
    """The arguments in a text that contains them or the whole message."""
    message = go_dump.parse(printed)
    return (message.data if message else printed.removeprefix("[").removesuffix("]")).partition("\n")[0]


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "replace"), digest_size=12).hexdigest()


def mask(text: str, node: str, nodes: frozenset[str]) -> str:
    """A text with variable parts masked, and the spellings of both projects unified."""
    text = text[: masks.WINDOW_CHARS]
    text = _QUOTED.sub("<quoted>", _ARGUMENTS.sub("methodArgs: <args>", _DUMP.sub("<message>", text)))
    text = _LABEL.sub(r"method\1", _WORD.sub(lambda found: _word(found[0], node, nodes), text))
    text = _NODE_LIST.sub(lambda found: f"[{' '.join(sorted(found[1].split()))}]", text)
    return masks.mask(text)


def _word(word: str, node: str, nodes: frozenset[str]) -> str:
    """Node names are removed and subjects are reduced to their method, because both differ between nodes."""
    if word == node or word in nodes:
        return "<node>"
    for token in word.split("."):
        if token.startswith("REQ") and token[3:4].isupper():
            return canonical(token)
    to_node, dot, method = word.removesuffix(".reply").rpartition(".")
    return canonical(method) if dot and (to_node == node or to_node in nodes) else word


def _masked_parts(text: str, node: str, nodes: frozenset[str]) -> tuple[str, ...]:
    """Split into parts of a fingerprint's size, so that nothing is cut."""
    masked = mask(text, node, nodes)
    return (SOURCE, "", *(masked[at : at + PART_CHARS] for at in range(0, len(masked), PART_CHARS)))
