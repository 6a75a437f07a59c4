"""What the text of a Steward or ctrl node says: kind, level, cause, process, message in progress.

None of these is sent but as words, so all of it is reading, and what is a guess is marked as one. A text that is a
known template is grouped by the template and the values in it that are the cause; any other by its words once what
differs between occurrences is masked. Which node sent it is no part of the group.
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
"""In front of a text that the node sends without it as well."""
_WRAPPERS_MAX = 4
PART_CHARS = 200

_DUMP = re.compile(r"&?\{\{\} .*\}", re.DOTALL)
_QUOTED = re.compile(r'"[^"]{0,500}"')
_ARGUMENTS = re.compile(r"methodArgs: \[[^\]]*\]")
_WORD = re.compile(r"\w[\w.-]*\w|\w")
_LABEL = re.compile(r"\bmethodREQ([A-Z])")
_NODE_LIST = re.compile(r"\[([^\[\]]*)\]")


class Echo(msgspec.Struct, frozen=True):
    """Texts with one ``key`` and different ``role`` are made by one failure."""

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
        """It names no method although the method is its cause; another text of the same failure does."""
        return self.kind == NO_METHOD and not self.fingerprint[-1]


def understand(text: str, *, node: str, req: bool, nodes: frozenset[str] = frozenset()) -> Understood:
    """Read a text of ``node``. ``req``: its methods are spelled with REQ. ``nodes``: names to mask where they stand."""
    # Not at its end: a template may end in a blank with nothing behind it.
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
    """By the first word. A text without one is taken for an error, of which somebody should know, but no grave one."""
    if text.startswith("error:"):
        return "error", EventType.ERROR, Level.ERROR
    if text.startswith("info:"):
        return "info", EventType.INFO, Level.INFO
    return "", EventType.ERROR, Level.WARNING


def _process(template: Template, values: dict[str, str], text: str, req: bool) -> Guess | None:
    if template.kind == "node not reached":
        # Sent by the publisher to that node, which is a process in Steward alone; no subscriber is to blame.
        return None
    if template.kind == NO_METHOD:
        # The method that does not exist is no process; the one that was to send a reply is in the printed message.
        printed = go_dump.parse(text)
        return Guess(spelled(canonical(printed.method), req), certain=True) if printed and printed.method else None
    if named := process_in(values) if "process" in values or template.echo == "unsubscribed before" else "":
        return Guess(spelled(named, req), certain=True)
    return guess(text, req)


def _message(values: dict[str, str], node: str, req: bool) -> Message | None:
    """The message that a process was working on, as far as the text tells: method and arguments."""
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
    """The arguments in a text that prints them, or the whole message with them."""
    message = go_dump.parse(printed)
    return (message.data if message else printed.removeprefix("[").removesuffix("]")).partition("\n")[0]


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "replace"), digest_size=12).hexdigest()


def mask(text: str, node: str, nodes: frozenset[str]) -> str:
    """A text with everything masked that differs between two occurrences, both projects' spellings made one."""
    text = text[: masks.WINDOW_CHARS]
    text = _QUOTED.sub("<quoted>", _ARGUMENTS.sub("methodArgs: <args>", _DUMP.sub("<message>", text)))
    text = _LABEL.sub(r"method\1", _WORD.sub(lambda found: _word(found[0], node, nodes), text))
    text = _NODE_LIST.sub(lambda found: f"[{' '.join(sorted(found[1].split()))}]", text)
    return masks.mask(text)


def _word(word: str, node: str, nodes: frozenset[str]) -> str:
    """A node's name goes, and a subject leaves its method: both differ from node to node."""
    if word == node or word in nodes:
        return "<node>"
    for token in word.split("."):
        if token.startswith("REQ") and token[3:4].isupper():
            return canonical(token)
    to_node, dot, method = word.removesuffix(".reply").rpartition(".")
    return canonical(method) if dot and (to_node == node or to_node in nodes) else word


def _masked_parts(text: str, node: str, nodes: frozenset[str]) -> tuple[str, ...]:
    """In parts of a fingerprint's size, so that none of it is cut off on any way."""
    masked = mask(text, node, nodes)
    return (SOURCE, "", *(masked[at : at + PART_CHARS] for at in range(0, len(masked), PART_CHARS)))
