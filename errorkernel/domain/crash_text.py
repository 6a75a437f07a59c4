"""The error of a crashed program: kind, text and stack trace, found at the end of its standard error.

The last line is rarely the error: Node ends with its version, Rust with a note, Go with the exit status, Java and Ruby
with a frame. ``HEADERS`` says how each runtime names its error; where none of them is met, the last line that is no
frame, note or ruler is the text. The text is the one a person would quote: ``connect ECONNREFUSED 127.0.0.1:1``.
"""

import re
from dataclasses import dataclass

from errorkernel.domain import stack_traces

READ_CHARS = 16_384
FOLLOWING_MAX = 5
"""A program that wrote more lines than this after its last error went on: its last line is what it died of."""
_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)?|[@-Z\\^_])|[\x00-\x08\x0b-\x1f\x7f]"
)
_TYPE = r"[A-Za-z_][\w.$:]*"
_MORE_OF_TEXT = 3
"""Lines that a message may have."""


@dataclass(frozen=True, slots=True)
class Crash:
    """``kind`` and ``stack`` are empty where the runtime is not known; ``text`` where nothing was written."""

    kind: str
    text: str
    stack: str


@dataclass(frozen=True, slots=True)
class Header:
    """``pattern``: matched at a line, with groups ``kind`` or ``text``. ``text_follows``: the next line is the text."""

    name: str
    pattern: re.Pattern[str]
    kind: str = ""
    text_follows: bool = False
    needs: re.Pattern[str] | None = None
    """Pattern that the next lines must contain for this to be an error and not a log line."""
    frame: re.Pattern[str] | None = None
    """The lines up to the last one of these belong to the trace, also those that look like a program's own."""


def _header(
    name: str, pattern: str, kind: str = "", *, text_follows: bool = False, needs: str = "", frame: str = ""
) -> Header:
    return Header(
        name,
        re.compile(pattern),
        kind,
        text_follows,
        re.compile(needs, re.MULTILINE) if needs else None,
        re.compile(frame) if frame else None,
    )


HEADERS = (
    _header("Rust", r"thread '.*' (?:\(\d+\) )?panicked at (?P<text>'.*'), \S+:\d+:\d+$", "panic"),
    _header("Rust", r"thread '.*' (?:\(\d+\) )?panicked at .*:\d+:\d+:$", "panic", text_follows=True),
    _header(
        "Go", r"(?P<kind>panic|fatal error): (?P<text>.+?)(?: \[recovered\])?$", needs=r"^goroutine \d+ \[|^\[signal"
    ),
    _header("JVM", rf"Exception in thread \".*?\" (?P<kind>{_TYPE})(?:: (?P<text>.*))?$"),
    _header(
        "JVM", r"Error: (?P<text>(?:Could not find or load main class|Unable to (?:initialize|access)).*)", "Error"
    ),
    _header(".NET", rf"Unhandled exception[.:] (?P<kind>{_TYPE})(?: \([^)]*\))?: (?P<text>.*)"),
    _header("PHP", r"(?:PHP )?Fatal error:\s+Uncaught (?P<kind>[\w\\]+): (?P<text>.*?)(?: in \S+:\d+)?$"),
    _header("PHP", r"(?:PHP )?(?P<kind>Fatal error|Parse error):\s+(?P<text>.*?)(?: in \S+ on line \d+)?$"),
    _header("Ruby", r"\S+:\d+:in [`'].*?': (?P<text>.*) \((?P<kind>[A-Z][\w:]*)\)$"),
    _header("Ruby", r"\S+\.rb:\d+: (?P<text>.*) \((?P<kind>[A-Z][\w:]*)\)$"),
    _header("Elixir", r"\*\* \((?P<kind>[\w.]+)\) (?P<text>.*)"),
    _header("C++", r"terminate called after throwing an instance of '(?P<kind>.+)'$", text_follows=True),
    _header("C++", r"terminate called (?P<text>.+)$", "terminate"),
    _header(
        "sanitizer", r"(?:=+\d+=+)?\s*ERROR: (?P<kind>\w+Sanitizer): (?P<text>.*?)(?: on (?:unknown )?address .*)?$"
    ),
    _header("C", r"(?P<text>\S+: \S+:\d+: .*Assertion [`'].*' failed\.)$", "assertion"),
    _header("Dart", r"Unhandled exception:$", "exception", text_follows=True),
    _header("Deno", rf"error: (?:Uncaught )?(?:\(in promise\) )?(?P<kind>{_TYPE}): (?P<text>.*)", needs=r"^\s+at "),
    _header("OCaml", r"Fatal error: exception (?P<kind>[\w.]+)(?:\((?P<text>.*)\))?$"),
    _header("Swift", r"(?:.*: )?Fatal error: (?P<text>.*?)(?:: file .*)?$", "fatal error"),
    _header(
        "Julia", r"ERROR: (?:LoadError: )?(?:(?P<kind>\w+(?:Error|Exception)): )?(?P<text>.*)", needs=r"^Stacktrace:"
    ),
    _header("R", r"Error (?:in .*? : ?|: )(?P<text>.*)", "Error", needs=r"^Execution halted"),
    _header("Lua", r"lua[\d.]*: (?P<text>.*)", "error", needs=r"^stack traceback:"),
    _header("Haskell", r"\S+: (?P<text>.*)", "error", needs=r"\A(?:.*\n){0,2}CallStack \("),
    _header(
        "JavaScript", rf"(?:Uncaught )?(?P<kind>{_TYPE})(?: \[\w+\])?: (?P<text>.*)", needs=r"\A(?:.*\n){0,12}?\s+at "
    ),
    _header(
        "Tcl",
        r"(?P<text>\S.*)",
        "error",
        needs=r"\A {4}while (?:executing|compiling)$",
        frame=r" {4}(?:while (?:executing|compiling)|invoked from within|\(.* line \d+\))$",
    ),
    _header("JavaScript", r"Uncaught:?$", "Uncaught", text_follows=True),
)
"""Tried in this order at each line; of a program's errors, the last one counts."""

_TRACEBACK = re.compile(r"(?:  \+ Exception Group )?Traceback \(most recent call last\):$|  File \".*\", line \d+$")
_PYTHON_ERROR = re.compile(rf"(?:  \| )?(?P<kind>{_TYPE})(?:: (?P<text>.*))?$")
_NOTES = re.compile(
    r"""
    \s*$ | [-=~^*_#.\s|+]+$ | \s*[}\])>,;]+$ | \s*[\[({]+$
    | Node\.js\ v\d | note: | exit\ status\ \d+$ | \s*\.\.\.\ \d+\ more
    | Aborted\b | \(core\ dumped\) | Segmentation\ fault | Execution\ halted
    | stack\ (?:backtrace|traceback): | Stack\ trace: | Stacktrace: | CallStack\ | Traceback\ \(most
    | goroutine\ \d+ | \[signal\ | created\ by\  | Command\ exited\ with | make(?:\[\d+\])?:\ \*\*\*
    | npm\ (?:ERR!|error)\ (?:A\ complete|code|errno|Lifecycle) | error\ Command\ failed
    | \s*thrown\ in\ .*\ on\ line | \s+(?:errno|code|syscall|address|port|path|cause|\[cause\]):\s
    | The\ above\ exception | During\ handling | Caused\ by: | SUMMARY:\ | =+\d+=+ABORTING
    | \s+from\ \S+:\d+:in | \s+\d+:\s | \s+at\ | \s*\#\d+\s | \s*File\ ".*",\ line
    """,
    re.VERBOSE,
)


def read(stderr: str) -> Crash:
    """The error that ended a program, from the end of its standard error."""
    lines = [_plain(line) for line in stderr[-READ_CHARS:].split("\n")]
    found = _python(lines) or _last_header(lines)
    last = _last_line(lines)
    if found is None:
        return Crash("", lines[last].strip() if last is not None else "", "")
    at, crash = found
    following = sum(1 for line in lines[at + 1 :] if not _is_note(line) and not line.startswith((" ", "\t")))
    if last is not None and following > FOLLOWING_MAX:
        return Crash("", lines[last].strip(), "")
    return crash


def _plain(line: str) -> str:
    """Without colours and control codes; of a progress bar's overwritten lines, the last."""
    return _CONTROL.sub("", line.rstrip("\r").rsplit("\r", 1)[-1]).rstrip()


def _is_note(line: str) -> bool:
    return bool(_NOTES.match(line))


def _last_line(lines: list[str]) -> int | None:
    return next((at for at in range(len(lines) - 1, -1, -1) if not _is_note(lines[at])), None)


def _python(lines: list[str]) -> tuple[int, Crash] | None:
    """Python writes its error below the trace: the first line after the last frames that is not indented."""
    begins = [at for at, line in enumerate(lines) if _TRACEBACK.match(line)]
    if not begins:
        return None
    for at in range(begins[-1] + 1, len(lines)):
        line = lines[at]
        if (line and not line.startswith(("  ", "\t"))) or (line.startswith("  | ") and not line.startswith("  |  ")):
            error = _PYTHON_ERROR.match(line)
            if error is None:
                return None
            text = error["text"] or ""
            return at, Crash(error["kind"], text or error["kind"], "\n".join(lines[begins[-1] : at + 1]))
    return None


def _last_header(lines: list[str]) -> tuple[int, Crash] | None:
    for at in range(len(lines) - 1, -1, -1):
        line = lines[at]
        if not line or line.startswith("Caused by:"):
            continue
        for header in HEADERS:
            error = header.pattern.match(line)
            if error and (header.needs is None or header.needs.search("\n".join(lines[at + 1 :]))):
                return _end_of_trace(header, lines, at), _crash(header, error, lines, at)
    return None


def _end_of_trace(header: Header, lines: list[str], at: int) -> int:
    if header.frame is None:
        return at
    return max((number for number in range(at, len(lines)) if header.frame.match(lines[number])), default=at)


def _crash(header: Header, error: re.Match[str], lines: list[str], at: int) -> Crash:
    groups = error.groupdict()
    kind, text = groups.get("kind") or header.kind, groups.get("text") or ""
    if header.text_follows:
        text = next((line.strip() for line in lines[at + 1 : at + 1 + _MORE_OF_TEXT] if line.strip()), "")
        text = text.removeprefix("what():").strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        text = text[1:-1]
    trace = "\n".join(lines[at:]).rstrip()
    return Crash(kind, text or kind, trace if stack_traces.place(trace) else "")
