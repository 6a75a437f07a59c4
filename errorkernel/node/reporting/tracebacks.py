"""Renders tracebacks as Python prints them, at a low cost.

Most of the cost of ``traceback`` is per frame: it checks the file, reads the line, and parses it for the marks below
it (0.3 ms for ten frames). Programs fail repeatedly in the same places, so ``traceback`` renders each place once, and
the result is cached. The cached line is the one that ran, even if a newer release has replaced the file since.
"""

import contextlib
import traceback
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import Any

_PLACES_MAX = 2000
_SHOWN_MAX_CHARS = 2000
"""Together they bound the cache; a longer place (a line of a minified file) is rendered each time."""


class _Place(traceback.FrameSummary):
    """A line of some code, and its rendering."""

    def __init__(self, code: CodeType, line: int, shown: str) -> None:
        super().__init__(code.co_filename, line, code.co_name, lookup_line=False, line="")
        self.code = code
        self.shown = shown


class _Stack(traceback.StackSummary):
    def format_frame_summary(self, frame_summary: Any, **options: Any) -> str:
        return str(frame_summary.shown)


# The key is the id of the code, which is unique while the place holds the code. Code objects themselves compare by
# content, which is slow, and equal for the same function in two files.
_places: dict[tuple[int, int], _Place] = {}


_SPECIAL = (BaseExceptionGroup, SyntaxError, NameError, AttributeError, ImportError)
"""``traceback`` adds details to these."""


def render(error: BaseException) -> str:
    """The joined result of ``traceback.format_exception``. May raise any error that the exception's own code raises."""
    return _render_plain(error) or _render_any(error)


def _render_plain(error: BaseException) -> str:
    """Render an exception without cause, context, notes or recursion; empty for all others."""
    context = error.__context__ and not error.__suppress_context__
    if context or error.__cause__ or isinstance(error, _SPECIAL) or hasattr(error, "__notes__"):
        return ""
    places = list(_walk(error.__traceback__))
    if len(set(map(id, places))) < len(places):  # recursion, which is shortened
        return ""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    text = str(error)
    last = f"{name}: {text}\n" if text else f"{name}\n"
    return "".join(["Traceback (most recent call last):\n", *[place.shown for place in places], last])


def _render_any(error: BaseException) -> str:
    # Without frames (limit=0) it does everything except the cached part: causes, groups, notes, suggestions.
    outline = traceback.TracebackException(type(error), error, error.__traceback__, limit=0, compact=True)
    for part, its_error in _parts(outline, error):
        if its_error.__traceback__:
            part.stack = _Stack(_walk(its_error.__traceback__))
    return "".join(outline.format())


def _parts(
    outline: traceback.TracebackException, error: BaseException
) -> Iterator[tuple[traceback.TracebackException, BaseException]]:
    # The outline leaves out exceptions that it contains already, so this ends.
    waiting: list[tuple[traceback.TracebackException | None, BaseException | None]] = [(outline, error)]
    while waiting:
        part, its_error = waiting.pop()
        if part is None or its_error is None:
            continue
        yield part, its_error
        waiting += [(part.__cause__, its_error.__cause__), (part.__context__, its_error.__context__)]
        if isinstance(its_error, BaseExceptionGroup):
            waiting += zip(part.exceptions or (), its_error.exceptions, strict=False)


def _walk(frames: TracebackType | None) -> Iterator[_Place]:
    while frames:
        code = frames.tb_frame.f_code
        place = _places.get((id(code), frames.tb_lasti))
        yield place or _render_place(frames, code)
        frames = frames.tb_next


def _render_place(frames: TracebackType, code: CodeType) -> _Place:
    line = frames.tb_lineno or code.co_firstlineno
    shown = f'  File "{code.co_filename}", line {line}, in {code.co_name}\n'
    with contextlib.suppress(Exception):  # a loader without source
        shown = traceback.format_tb(frames, limit=1)[0]
    place = _Place(code, line, shown)
    if len(shown) <= _SHOWN_MAX_CHARS:
        if len(_places) >= _PLACES_MAX:
            _places.clear()
        _places[id(code), frames.tb_lasti] = place
    return place
