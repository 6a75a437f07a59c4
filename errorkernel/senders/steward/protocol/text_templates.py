"""Templates of the texts of Steward/ctrl nodes: their kind, and the values that distinguish causes.

The nodes send the kind of an error only in the words of the text. A template is such a text with names in place of
values. Its words are searched one after another, each at its first occurrence, so that matching takes one pass for any
text: values are free text, and a regular expression with a dozen wildcards could run for minutes.

If the prefix (``error:``, ``info:``) is missing or differs from the node's log level, the template has the right level.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from errorkernel.domain.fingerprint import masks
from errorkernel.domain.values import EventType, Level
from errorkernel.senders.steward.protocol.methods import canonical
from errorkernel.senders.steward.protocol.subjects import TOKENS

Values = Mapping[str, str]
Part = Callable[[Values], str]

_NAME = re.compile(r"\{(\w+)\}")
_WORDS = {"method", "what", "step"}
"""Values that are a single word; a text with a longer value does not match."""
_WORD = re.compile(r"[\w./-]{1,80}\Z")
_ENDED = re.compile(r"exit status \d{1,3}|signal: [\w ]{1,40}")
_HOST = re.compile(r"\w{1,20}://([^/\s\"'\]?#]{1,200})")
_IN_BRACES = re.compile(r"\{\S{1,200} (?:(?:Event|Command)\w+ )?(\w+)(?: 0x\w+)?\}")
NO_METHOD = "no such method"
"""Kind of the texts about a method that the node does not know."""
_SEARCHED_CHARS = 1000
"""A value is free text; only its beginning is searched."""
PART_MAX_CHARS = 200


@dataclass(frozen=True, slots=True)
class Template:
    """``parts`` distinguish causes of the same template; ``type`` and ``level`` override the prefix.

    ``echo``: the role of this text among those of one failure: texts with the same method and arguments but different
    roles belong together. ``only``: an additional condition.
    """

    kind: str
    text: str
    parts: tuple[Part, ...] = ()
    type: EventType | None = None
    level: Level | None = None
    echo: str = ""
    only: Callable[[Values], bool] | None = None
    literals: tuple[str, ...] = field(init=False)
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        pieces = _NAME.split(self.text)
        object.__setattr__(self, "literals", tuple(pieces[::2]))
        object.__setattr__(self, "names", tuple(pieces[1::2]))

    def match(self, text: str) -> dict[str, str] | None:
        """The values in ``text``, or None if it does not match."""
        if not text.startswith(self.literals[0]):
            return None
        at = len(self.literals[0])
        values: dict[str, str] = {}
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            end = text.find(literal, at) if literal else len(text)
            if end < 0:
                return None
            values[name] = text[at:end]
            if name in _WORDS and not _WORD.match(values[name]):
                return None
            at = end + len(literal)
        return values if at == len(text) and (self.only is None or self.only(values)) else None


def _method(values: Values) -> str:
    return canonical(values["method"])


def _as_is(name: str) -> Part:
    return lambda values: values[name][:PART_MAX_CHARS]


def _named(values: Values) -> str:
    # In some versions Go's format error precedes the name.
    return canonical(values["name"].removeprefix("%!v(MISSING)"))[:PART_MAX_CHARS]


def _after_named(values: Values) -> str:
    """In some versions Go's format error replaces the name, which follows at the end."""
    name = _named(values)
    return name or canonical(values["rest"].strip())[:PART_MAX_CHARS]


def _masked(name: str) -> Part:
    return lambda values: masks.mask(values[name])[:PART_MAX_CHARS]


def _ending(values: Values) -> str:
    """How a command ended: its status is the cause, other numbers are not."""
    cause = values["cause"]
    return cause if _ENDED.fullmatch(cause) else masks.mask(cause)[:PART_MAX_CHARS]


def _target(values: Values) -> str:
    """The target in the arguments: the host of an address, else the program."""
    method, arguments = canonical(values.get("method", "")), values.get("args", "")[:_SEARCHED_CHARS]
    if found := _HOST.search(values.get("cause", "")[:_SEARCHED_CHARS]) or _HOST.search(arguments):
        return found[1]
    return first_of(arguments) if method.startswith("cli") else ""


def first_of(arguments: str) -> str:
    """The first item of a printed list, up to its first blank, because lists are printed without quotes."""
    return arguments.removeprefix("[").split(" ", 1)[0].removesuffix("]")[:PART_MAX_CHARS]


def _of_subject(values: Values) -> str:
    return method_of_subject(values["subject"])


def method_of_subject(subject: str) -> str:
    """The method in ``ship2.REQCliCommand.EventACK`` or ``ship2.cliCommand``; node names may contain dots."""
    tokens = [token for token in subject.split(".") if token not in (*TOKENS, "reply")]
    return canonical(tokens[-1])[:PART_MAX_CHARS] if tokens else ""


def process_in(values: Values) -> str:
    """The method of the process in a text: in ``{ship1 EventACK REQHttpGet 0xc000…}`` or in arguments."""
    if found := _IN_BRACES.search(values.get("process", "")[:_SEARCHED_CHARS]):
        return canonical(found[1])[:PART_MAX_CHARS]
    return canonical(first_of(values.get("args", ""))) if "process" not in values else ""


_INFO, _ERROR = EventType.INFO, EventType.ERROR

# In the order of matching: the more specific of two templates is first.
TEMPLATES: tuple[Template, ...] = (
    Template(
        "node not reached",
        "info: toNode: {to_node}, fromNode: {from_node}, subject: {subject}, "
        "methodArgs: {args}: max retries reached{rest}",
        (_as_is("to_node"), _of_subject),
    ),
    Template(
        "timed out",
        "error: method{method}: cmd.Run failed : signal: killed, methodArgs: {args}, error_output: {output}",
        (_method, _target),
        echo="killed",
    ),
    Template(
        "command failed",
        "error: method{method}: cmd.Run failed : {cause}, methodArgs: {args}, error_output: {output}",
        (_method, _ending, _target),
    ),
    Template(
        "command failed",
        "error: method{method}: cmd.{step} failed : {cause}, methodArgs: {args}",
        (_method, _as_is("step"), _ending, _target),
    ),
    Template(
        # The node sends these with level info.
        "timed out",
        "error: method{method}: method timed out: {args}",
        (_method,),
        type=_INFO,
        level=Level.INFO,
        only=lambda values: _method(values).startswith("acl"),
    ),
    Template("timed out", "error: method{method}: method timed out: {args}", (_method, _target), echo="timed out"),
    Template("arguments missing", "error: method{method}: got <1 number methodArgs", (_method,)),
    Template(
        "canceled at its timeout",
        "info: method{method}: method timeout reached, canceled: methodArgs: {args}, {cause}",
        (_method, _target),
    ),
    Template(
        "canceled at its timeout",
        "info: method{method}: method timeout reached, canceling: methodArgs: {args}",
        (_method, _target),
    ),
    Template("canceled at its timeout", "info: method timeout reached {method}, canceling: {args}", (_method,)),
    Template(
        "http request failed",
        "error: method{method}: client.Do failed: {cause}, bailing out: {args}",
        (_method, _target),
        echo="failed",
    ),
    Template(
        "http status",
        "error: method{method}: not 200, were {status}, bailing out: {args}",
        (_method, _as_is("status"), _target),
        echo="status",
    ),
    Template(
        "http answer not read",
        "error: method{method}: io.ReadAll failed : {cause}, methodArgs: {args}",
        (_method, _target),
    ),
    Template(
        "bad schedule",
        "error: method{method}: schedule {what} value is not a valid int number{cause}, bailing out: {args}",
        (_method, _as_is("what")),
    ),
    Template("file not followed", "error: method{method}: tailFile: {cause}", (_method, _masked("cause"))),
    Template(NO_METHOD, "error: subscriberHandler: no such method type: {name}", (_named,)),
    # Steward reports one message twice: by the first of these, and by the second without a name.
    Template(
        NO_METHOD,
        "error: newSubjectAndMessage{calls}no such request type defined: {name}, message{dump}",
        (_named,),
        echo="named",
    ),
    Template(
        NO_METHOD, "error: newSubjectAndMessage{calls}no such request type defined: {name}", (_named,), echo="named"
    ),
    Template(
        NO_METHOD,
        "error: subscriberHandler: newSubjectAndMessage{calls}no such request type defined: {name}, message{dump}",
        (_named,),
        echo="named",
    ),
    Template(
        NO_METHOD,
        "error: routeMessagesToProcess: the method do not exist, message dropped: {name}",
        (_named,),
        echo="unnamed",
        only=lambda values: not values["name"],
    ),
    Template(
        NO_METHOD,
        "error: routeMessagesToProcess: the method do not exist, message dropped: {name}",
        (_named,),
        echo="named",
    ),
    Template("refused", "error: subscriberHandler: {cause} verified not-OK, doing nothing"),
    Template("refused", "error: subscriberHandler: {cause}doHandler=false{rest}"),
    Template(
        "not decoded",
        "error: {what} decoding failed, subject: {subject}, header: {headers}, error: {cause}",
        (_as_is("what"), _masked("cause")),
    ),
    Template("not decoded", "error: {what} decoding failed: {cause}", (_as_is("what"), _masked("cause"))),
    Template("process not started", "error: spawnWorker: start procFunc failed: {cause}", (_masked("cause"),)),
    Template(
        "not unsubscribed",
        "error: spawnWorker: got <-ctx.Done, but unable to unsubscribe natsSubscription failed: {cause}",
    ),
    Template("no such event", "error: fillBuffer: the event type do not exist{rest}"),
    Template("queue not kept", "error: dbUpdate samValue failed: {cause}"),
    Template("queue not kept", "error:fillBuffer: json marshaling: {cause}"),
    Template("malformed input", "error: malformed json received on socket: {cause}"),
    Template("no destination", "error: no toNode or toNodes where specified in the message, dropping message: {dump}"),
    Template("malformed input", "error: newSubjectAndMessage : {cause}, message: {dump}", (_masked("cause"),)),
    Template("message read", "info: message read from socket on {node}: {dump}"),
    Template("message read", "info: readFolder: message read from readFolder on {node}: {dump}", level=Level.WARNING),
    Template("folder not read", "error: readFolder: failed to open readFile from readFolder: {cause}"),
    Template(
        "process started", "info: OpProcessStart: started id: {id}, subject: {process}: node: {node}", (process_in,)
    ),
    Template(
        "process stopped",
        "info: OpProcessStop: process stopped id: {id}, method: {process} on: {node}",
        (process_in,),
        echo="stopped",
    ),
    Template(
        "no such process",
        "error: OpProcessStop: did not find process to stop: {process} on {node}",
        (process_in,),
    ),
    Template(NO_METHOD, "error: OpProcessStart: no such request type defined: {name}", (_named,)),
    Template(
        NO_METHOD,
        "error: OpProcessStop: no such request type defined: {name}, check that the methodArgs are correct: {rest}",
        (_after_named,),
    ),
    # The latest Steward reports each reply written to a file as an error, although there is none.
    Template("reply written", "<nil>", type=_INFO, level=Level.DEBUG),
    Template(
        # Sent with every stop, although the process was stopped.
        "process stopped",
        "error: method{method} failed to stop nats.Subscription: nats: invalid subscription, methodArgs: {args}",
        (process_in,),
        type=_INFO,
        level=Level.INFO,
        echo="unsubscribed before",
    ),
    Template(
        "process not stopped",
        "error: method{method} failed to stop nats.Subscription: {cause}, methodArgs: {args}",
        (_masked("cause"),),
    ),
    Template(
        "key not allowed yet",
        "info: detected new public key for node: {node}. This key will need to be authorized by operator{rest}",
    ),
    Template(
        "key not allowed yet",
        "addPublicKey: key(s) needs to be allowed by operator for nodes: {nodes}",
        type=_INFO,
        level=Level.INFO,
    ),
    Template("key allowed", "info: {what} : allowed new/updated public key for {node} to allowed public key map"),
    Template("chunk not sent", "error: {name}: failed to resend the chunk for the {number} time, giving up", (_named,)),
    Template("file not opened", "error: {what}: failed to open file: {cause}", (_as_is("what"), _masked("cause"))),
    Template(
        "file not opened",
        "error: method{method}: failed to open file{path}, check that you've specified {rest}",
        (_method,),
    ),
    Template("folder not made", "error: method{method}: failed to create toFile directory tree: {cause}", (_method,)),
    Template("malformed input", "error: {what} : json unmarshal failed: {cause}, message: {dump}", (_as_is("what"),)),
    Template(
        "no reply method",
        "error: subscriberHandler: no PreviousMessage.RelayReplyMethod found, defaulting to the reply method of "
        "previous message: {dump}",
    ),
    Template(
        "node started",
        "jetstreamConsume: will consume the following subjects: {subjects}",
        type=_INFO,
        level=Level.INFO,
    ),
    Template(
        "stream message",
        "jetstreamConsume: jetstream msg received: subject {subject}, data: {payload}",
        type=_INFO,
        level=Level.DEBUG,
    ),
    Template("copy failed", "copyDstProcSubFunc{cause}", (_masked("cause"),), _ERROR, Level.ERROR),
)


def find(text: str) -> tuple[Template, dict[str, str]] | None:
    """The template of a text, and its values."""
    for template in TEMPLATES:
        if (values := template.match(text)) is not None:
            return template, values
    return None
