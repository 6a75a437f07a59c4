"""Stack traces of many runtimes, read for one thing: the innermost frame of the program itself.

A format is a row of ``FORMATS``: how a frame is written, at which end of the trace the innermost one stands, and which
frames are the runtime's or a library's. A trace in another format has no place, and its event is grouped by its text.

Only 8 KiB at the innermost end are read, and each line once, so a trace of any size costs about the same.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

READ_CHARS = 8192
_LINES = 200
_LINE_CHARS = 512
"""Of a line. Minified programs write frames of any length."""
LIBRARY_PATHS = re.compile(
    r"site-packages|dist-packages|node_modules|/lib/python\d|\\lib\\|<frozen |^node:|^internal/|/gems/|/ruby/\d"
    r"|/vendor/|/usr/(?:local/)?(?:go|lib|share)/|/go/pkg/mod/|/rustc/|/\.cargo/registry/|^package:flutter/|^dart:|/perl5?/"
    r"|/lib/x86_64|/lib64/|^/lib/|libasan|libc\.so|sysdeps/|^\[internal|deps/|webpack/runtime"
)


@dataclass(frozen=True, slots=True)
class Format:
    """``frame``: groups ``function`` and, where the format has it, ``file``. ``last``: the innermost frame is last.

    ``library``: functions of the runtime and its libraries; ``LIBRARY_PATHS`` classifies files for all formats.
    """

    name: str
    frame: re.Pattern[str]
    library: re.Pattern[str] | None = None
    last: bool = False
    marker: str = ""
    """A text without which there is no trace of this format: it saves the search."""


def _format(name: str, frame: str, library: str = "", *, last: bool = False, marker: str = "") -> Format:
    return Format(name, re.compile(frame), re.compile(library) if library else None, last, marker)


FORMATS = (
    _format("Python", r'\s*File "(?P<file>[^"]+)", line \d+, in (?P<function>.+)', last=True, marker='File "'),
    _format(
        "Rust",
        r"\s*\d+:\s+(?:0x[0-9a-f]+ - )?(?P<function>[\w<>:&\[\]{}#$., *()=-]+?)(?:::h[0-9a-f]{16})?\s*$",
        r"_?<?(?:core|std|alloc|tokio|rust_begin_unwind|__rust|rust_panic|backtrace|futures)(?:::|_|$)|(?:__libc|_start|main$|clone)",
        marker="tack backtrace",
    ),
    _format(
        "JVM",
        r"\s*at (?:[\w.@-]+/)*(?P<function>[\w.$<>]+)"
        r"\((?:[\w$-]+\.(?:java|kt|scala|groovy|clj):\d+|[\w$-]+\.\w+|Native Method|Unknown Source)\)",
        r"(?:java|javax|jdk|sun|com\.sun|kotlin|kotlinx|scala|groovy|clojure|org\.springframework|org\.apache|org\.hibernate"
        r"|org\.junit|io\.netty|reactor|akka)\.",
        marker="at ",
    ),
    _format(
        ".NET",
        r"\s+at (?P<function>[\w.<>`+|\[\],]+)\([^)]*\)(?: in (?P<file>.+?):line \d+)?\s*$",
        r"(?:System|Microsoft|Newtonsoft|Npgsql|lambda_method)\.?",
        marker="at ",
    ),
    _format(
        "JavaScript",
        r"\s*at (?:async )?(?:(?P<function>[^(]+?) (?:\[as [^\]]+\] )?\()?"
        r"(?P<file>(?:file|https?|webpack|node|evalmachine|app|capacitor)[^()]*?"
        r"|/[^()]*?|[A-Za-z]:\\[^()]*?|internal/[^()]*?|<anonymous>):\d+(?::\d+)?\)?\s*$",
        r"(?:Module\._|process\.|Timeout\.|Promise|new Promise|Array\.(?:map|forEach|reduce|filter))",
        marker="at ",
    ),
    _format(
        "JavaScript", r"(?P<function>[^@\s]*)@(?P<file>(?:https?|file|app|webpack)[^\s]*?):\d+(?::\d+)?\s*$", marker="@"
    ),
    _format(
        "Ruby",
        r"\s*(?:from )?(?P<file>[^\s:][^:]*|[A-Za-z]:[^:]+):\d+:in "
        r"[`'](?:(?:block|rescue|ensure)(?: \(\d+ levels\))? in )?(?P<function>[^']+)'",
        marker=":in ",
    ),
    _format(
        "PHP",
        r"#\d+ (?:(?P<file>.+?)\(\d+\)|\[internal function\]): (?P<function>[^(]+)\(",
        r"(?:Illuminate|Symfony|Doctrine|GuzzleHttp|Composer|PDO|ReflectionM)",
        marker="#0 ",
    ),
    _format(
        "Elixir",
        r"\s+(?:\((?P<file>[\w]+)(?: [\w.-]+)?\) )?(?:[\w/.-]+\.(?:erl|exs?|eex)|[\w/]+):\d+: (?P<function>.+?)\s*$",
        r":?(?:elixir|erlang|gen_server|proc_lib|gen|supervisor|lists|maps)\.?:?|(?:GenServer|Enum|Map|Task|Kernel|Keyword)\.",
        marker=": ",
    ),
    _format(
        "Dart", r"#\d+\s+(?P<function>\S.*?) \((?P<file>(?:package|dart|file):[^)]+?):\d+(?::\d+)?\)", marker="#0 "
    ),
    _format(
        "native",
        r"\s*#\d+\s+(?:0x[0-9a-fA-F]+ in )?(?P<function>[^\s(]+(?:\([^)]*\)(?: const)?)?)(?: \([^)]*\))*"
        r"(?:\s+(?:at|from|in)?\s*\(?(?P<file>[^\s():]+).*)?$",
        r"(?:__|_start|raise|abort|malloc|free|calloc|memcpy|strlen|operator new|pthread_|std::|gsignal|clone"
        r"|start_thread|main$)",
        marker="#0 ",
    ),
    _format(
        "Lua",
        r"\s*(?P<file>[\w./\\-]+\.lua):\d+: in (?:function|method|upvalue|local|field)? ?['<]?(?P<function>[^'>\n]+)",
        marker=".lua:",
    ),
    _format("Perl", r"\s*(?P<function>[\w:]+)\(.*?\) called at (?P<file>.+?) line \d+", marker=" called at "),
    _format(
        "Tcl",
        r"\s+\((?:procedure \"(?P<function>[^\"]+)\"|file \"(?P<file>[^\"]+)\") line \d+\)",
        marker="\n    while ",
    ),
    _format(
        "Swift",
        r"\d+\s+(?P<file>\S+)\s+0x[0-9a-f]{6,16} (?P<function>.+?) \+ \d+",
        r"(?:_?swift_|objc_|_?dispatch_|start\b|main\b)",
        marker=" 0x",
    ),
)
"""Tried in this order; the first whose frames are found is the trace's."""

GO_CALL = re.compile(r"(?P<function>[A-Za-z_][\w./*()\[\]{}·-]*)\(.*\)\s*$")
GO_FILE = re.compile(r"\s+(?P<file>\S+\.(?:go|s)):\d+(?: \+0x[0-9a-f]+)?")
GO_LIBRARY = re.compile(r"(?:runtime|panic|testing|net/http|reflect|sync|internal)(?:[./(]|$)")
_CALL_PARTS = re.compile(r"\d+|0x[0-9a-f]+")
_ANONYMOUS = {
    "?",
    "",
    "<anonymous>",
    "new <anonymous>",
    "Object.<anonymous>",
    "eval",
    "<module>",
    "{main}",
    "<main>",
    "main",
}


def place(stack: str) -> str:
    """``billing.py: charge``: the innermost frame of the program itself, without lines; ``""`` where none is found.

    Where all frames are a library's, the innermost of them.
    """
    if "goroutine " in stack and (found := _go(stack)):
        return found
    for form in FORMATS:
        if form.marker in stack and (found := _place_in(form, stack)):
            return found
    return ""


def _place_in(form: Format, stack: str) -> str:
    fallback = ""
    for line in _lines(stack, last=form.last):
        found = form.frame.match(line)
        if found is None:
            continue
        groups = found.groupdict()
        function, file = groups["function"] or "", groups.get("file") or ""
        shown = _shown(function, file)
        if not (LIBRARY_PATHS.search(file) or (form.library and form.library.match(function))):
            return shown
        fallback = fallback or shown
    return fallback


def _lines(stack: str, *, last: bool) -> Iterable[str]:
    """From the innermost end."""
    part = stack[-READ_CHARS:] if last else stack[:READ_CHARS]
    lines = part.splitlines()
    return [line[:_LINE_CHARS] for line in (lines[: -_LINES - 1 : -1] if last else lines[:_LINES])]


def _go(stack: str) -> str:
    """Go writes a frame in two lines: the call, then an indented file."""
    fallback = call = ""
    for line in _lines(stack, last=False):
        if file := GO_FILE.match(line):
            if call:
                shown = _shown(call, file["file"])
                if not (GO_LIBRARY.match(call) or LIBRARY_PATHS.search(file["file"])):
                    return shown
                fallback = fallback or shown
            call = ""
        else:
            found = GO_CALL.match(line)
            call = found["function"] if found else ""
    return fallback


def _shown(function: str, file: str) -> str:
    """Numbers go: lambdas, closures and generated classes are numbered in the order in which they were met."""
    name = _CALL_PARTS.sub("", function.strip())
    if name in _ANONYMOUS:
        name = "<anonymous>"
    base = re.split(r"[?#]", file, maxsplit=1)[0].replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return f"{base}: {name}" if base and base != "<anonymous>" else name
