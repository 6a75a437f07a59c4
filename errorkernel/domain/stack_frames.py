"""A stack trace as a reader needs it: the innermost frame first, own frames apart from those of libraries.

A trace in a format that ``stack_traces`` does not know has no frames; it is shown as its text.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

from errorkernel.domain import stack_traces
from errorkernel.domain.stack_traces import Format

FRAMES_READ = 200
LINES_READ = 1000
LIBRARIES_NAMED = 3
_LINE_CHARS = 512
_HEADS = ("Traceback (most recent call last)", "goroutine ")
_UNDERLINE = re.compile(r"\s*[\^~]+\s*")
_IN_BRACKETS = re.compile(r"\((?P<file>[\w$.-]+\.\w+):(?P<line>\d+)\)")
_LINE = re.compile(r'(?:"?,? ?:?line |:|\()(?P<line>\d+)')
_PACKAGE = re.compile(
    r"(?:site-packages|dist-packages|node_modules|gems|vendor|mod|python\d[\d.]*|go/src)/(?!site-|dist-)"
    r"(?P<package>@?[\w-]+)"
)
_JVM_FILES = (".java", ".kt", ".scala", ".groovy", ".clj")
_INDENT = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Frame:
    """``at``: ``storage.py:88``. ``source``: the source line, where the trace has it. ``library``: the name of the
    library that the frame belongs to; empty for the program's own frames. ``is_raised``: the innermost own frame."""

    at: str
    function: str
    source: str = ""
    library: str = ""
    is_raised: bool = False

    @property
    def is_own(self) -> bool:
        return not self.library

    def __str__(self) -> str:
        return f"{self.at} {self.function}" if self.at else self.function


@dataclass(frozen=True, slots=True)
class Part:
    """One own frame, several frames of libraries, or a line between frames, such as ``Caused by: …``."""

    frame: Frame | None = None
    library_frames: tuple[Frame, ...] = ()
    note: str = ""

    @property
    def libraries(self) -> str:
        """The names of the first libraries in it: ``asyncio, contextlib``."""
        names = list(dict.fromkeys(frame.library for frame in self.library_frames))
        return ", ".join(names[:LIBRARIES_NAMED]) + (", …" if len(names) > LIBRARIES_NAMED else "")


def parts(stack: str) -> list[Part]:
    """The trace, innermost frame first; empty where its format is not known. At most FRAMES_READ frames are read."""
    lines = [line[:_LINE_CHARS] for line in stack.splitlines()[-LINES_READ:]]
    if "goroutine " in stack and (found := list(_go(lines))) and any(isinstance(row, Frame) for row in found):
        return _grouped(found[:FRAMES_READ])
    for form in stack_traces.FORMATS:
        if form.marker in stack and any(form.frame.match(line) for line in lines):
            read = list(_frames(form, lines))
            return _grouped((read[::-1] if form.last else read)[:FRAMES_READ])
    return []


@lru_cache(maxsize=64)
def innermost(stack: str, most: int = 3) -> tuple[Frame, ...]:
    """The innermost frames of the program itself, the innermost last; where all are a library's, the innermost one.
    Empty where the format is not known. Kept for the same trace: pages read it again and again."""
    read = parts(stack)
    own = [part.frame for part in read if part.frame][:most]
    libraries = [part.library_frames[0] for part in read if part.library_frames][:1]
    return tuple(reversed(own or libraries))


def _frames(form: Format, lines: Sequence[str]) -> Iterator[Frame | str]:
    """Frames and the lines between them, in the order of the trace."""
    frame: Frame | None = None
    indent = 0
    for line in lines:
        found = form.frame.match(line)
        if found is not None:
            if frame is not None:
                yield frame
            frame, indent = _frame(form, found, line), _indent(line)
        elif frame is not None and _indent(line) > indent and line.strip():
            if not frame.source and not _UNDERLINE.fullmatch(line):
                frame = replace(frame, source=line.strip())
        elif line.strip() and not line.startswith(_HEADS):
            if frame is not None:
                yield frame
            frame = None
            yield line.strip()
    if frame is not None:
        yield frame


def _indent(line: str) -> int:
    found = _INDENT.match(line)
    return found.end() if found else 0


def _frame(form: Format, found: re.Match[str], line: str) -> Frame:
    groups = found.groupdict()
    function, file = groups["function"] or "", groups.get("file") or ""
    number = ""
    if file:
        after = _LINE.match(line, found.end("file"))
        number = after["line"] if after else ""
    elif bracketed := _IN_BRACKETS.search(line):
        file, number = bracketed["file"], bracketed["line"]
    is_library = stack_traces.LIBRARY_PATHS.search(file) or (form.library and form.library.match(function))
    library = _library(file, function) if is_library else ""
    return Frame(_at(file, number), function.strip(), library=library)


def _at(file: str, number: str) -> str:
    base = file.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return f"{base}:{number}" if base and number else base


def _library(file: str, function: str) -> str:
    path = file.replace("\\", "/")
    if found := _PACKAGE.findall(path):
        return str(found[-1])
    if "." in function and (not path or path.endswith(_JVM_FILES)):
        return ".".join(function.split(".")[:2])
    base = path.rstrip("/").rsplit("/", 1)[-1]
    return base.rsplit(".", 1)[0] or re.split(r"[.:(]", function.strip(" :"), maxsplit=1)[0] or "library"


def _go(lines: Sequence[str]) -> Iterator[Frame | str]:
    """Go writes a frame in two lines: the call, then an indented file."""
    call = ""
    for line in lines:
        if file := stack_traces.GO_FILE.match(line):
            if call:
                is_library = stack_traces.GO_LIBRARY.match(call) or stack_traces.LIBRARY_PATHS.search(file["file"])
                after = _LINE.match(line, file.end("file"))
                library = _library(file["file"], call) if is_library else ""
                yield Frame(_at(file["file"], after["line"] if after else ""), call, library=library)
            call = ""
        else:
            found = stack_traces.GO_CALL.match(line)
            call = found["function"] if found else ""


def _grouped(read: Sequence[Frame | str]) -> list[Part]:
    """Neighbouring frames of libraries together; without the text of the failure itself, which the event has."""
    read = read[next((index for index, row in enumerate(read) if isinstance(row, Frame)), 0) :]
    raised = next((row for row in read if isinstance(row, Frame) and row.is_own), None)
    found: list[Part] = []
    for is_library, rows in groupby(read, key=lambda row: isinstance(row, Frame) and not row.is_own):
        if is_library:
            found.append(Part(library_frames=tuple(row for row in rows if isinstance(row, Frame))))
            continue
        for row in rows:
            if isinstance(row, str):
                found.append(Part(note=row))
            else:
                found.append(Part(frame=replace(row, is_raised=row is raised)))
    return found
