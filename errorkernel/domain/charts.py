"""The geometry of charts: numbers become bars, grid lines and labels. A template draws them.

Widths are parts of the whole (per cent), so that a chart fills its place while its labels keep their size; heights
are pixels. Every coordinate is text already: a template would write a number with the reader's decimal comma.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

PLOT_PX = 150
ABOVE_PX = 18
"""Space above the highest grid line, for its label."""
BELOW_PX = 20
"""Space below the axis, for the times."""
GAP = 0.12
"""The gap between two columns, as a part of a column's width."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One piece of a column. ``name``: of its series."""

    name: str
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True, slots=True)
class Column:
    """A stack of bars over the same stretch of time. ``description``: its values in words. ``address``: where it leads;
    empty: nowhere."""

    bars: list[Bar]
    description: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A grid line with the value that it stands for, or a place on the time axis with its time."""

    at: str
    label_at: str
    label: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Chart:
    height: str
    floor: str
    columns: list[Column]
    values: list[Line]
    times: list[Line]


def columns(
    stacks: Sequence[Sequence[float]],
    names: Sequence[str],
    descriptions: Sequence[str],
    times: Sequence[str],
    addresses: Sequence[str] = (),
    plot_px: int = PLOT_PX,
) -> Chart:
    """Stacked columns from left to right. ``stacks``: for each column its values, in the order of ``names``, lowest
    first; ``descriptions``: each column in words; ``times``: labels at equal distances, the first at the left edge;
    ``addresses``: of each column's link, or none."""
    top, step = scale(max((sum(stack) for stack in stacks), default=0))
    floor_px = ABOVE_PX + plot_px
    width = 100 / max(1, len(stacks))
    made = []
    for index, stack in enumerate(stacks):
        bars, under = [], 0.0
        for name, value in zip(names, stack, strict=True):
            if value > 0:
                tall = plot_px * value / top
                bars.append(
                    Bar(
                        name,
                        f"{index * width:.3f}%",
                        f"{floor_px - under - tall:.2f}",
                        f"{width * (1 - GAP):.3f}%",
                        f"{tall:.2f}",
                    )
                )
                under += tall
        made.append(Column(bars, descriptions[index], addresses[index] if addresses else ""))
    values = [_value_line(step * number, top, floor_px, plot_px) for number in range(1, round(top / step) + 1)]
    return Chart(str(floor_px + BELOW_PX), str(floor_px), made, values, _time_lines(times, floor_px))


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a line between two neighbouring values."""

    name: str
    x1: str
    y1: str
    x2: str
    y2: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One value. ``description``: in words."""

    name: str
    x: str
    y: str
    description: str


@dataclass(frozen=True, slots=True)
class LineChart:
    height: str
    floor: str
    segments: list[Segment]
    dots: list[Dot]
    values: list[Line]
    times: list[Line]


def lines(
    series: Sequence[tuple[str, Sequence[float | None], Sequence[str]]],
    goal: float,
    times: Sequence[str],
    axis: tuple[float, float],
    label: Callable[[float], str],
) -> LineChart:
    """Lines over the same columns. ``series``: name, values (None: a gap) and descriptions. ``goal``: a level line.
    ``axis``: (top, step), not below any value. ``label``: an axis value as text."""
    top, step = axis
    floor_px = ABOVE_PX + PLOT_PX
    segments, dots = [], []
    for name, values, descriptions in series:
        width = 100 / max(1, len(values))
        places = [
            None if value is None else (f"{(index + 0.5) * width:.3f}%", f"{floor_px - PLOT_PX * value / top:.2f}")
            for index, value in enumerate(values)
        ]
        dots += [
            Dot(name, *place, description)
            for place, description in zip(places, descriptions, strict=True)
            if place is not None
        ]
        segments += [Segment(name, *here, *there) for here, there in pairwise(places) if here and there]
    goal_y = f"{floor_px - PLOT_PX * goal / top:.2f}"
    segments.append(Segment("goal", "0", goal_y, "100%", goal_y))
    grid = [step * number for number in range(1, round(top / step) + 1)]
    at = [(floor_px - PLOT_PX * value / top, value) for value in grid]
    marks = [Line(f"{y:.2f}", f"{y - 4:.2f}", label(value)) for y, value in at]
    return LineChart(str(floor_px + BELOW_PX), str(floor_px), segments, dots, marks, _time_lines(times, floor_px))


_TIME_STEPS_S = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)


def time_scale(largest_s: float) -> tuple[float, float]:
    """(top, step) of an axis of durations up to ``largest_s`` seconds: at most 4 steps of a usual length."""
    step = next((step for step in _TIME_STEPS_S if largest_s <= 4 * step), None)
    if step is None:
        step = 86400 * ceil(largest_s / (4 * 86400))
    return float(step * max(1, ceil(largest_s / step))), float(step)


def _value_line(value: float, top: float, floor_px: int, plot_px: int) -> Line:
    at = floor_px - plot_px * value / top
    return Line(f"{at:.2f}", f"{at - 4:.2f}", short(value))


def _time_lines(times: Sequence[str], floor_px: int) -> list[Line]:
    label_at = str(floor_px + 14)
    last = len(times) - 1
    lines = []
    for index, label in enumerate(times):
        anchor = "start" if index == 0 else "end" if index == last else "middle"
        lines.append(Line(f"{100 * index / max(1, last):.3f}%", label_at, label, anchor))
    return lines


def scale(largest: float) -> tuple[float, float]:
    """(top, step) of an axis for values up to ``largest``: 2 to 5 steps of 1, 2 or 5 times a power of ten."""
    if largest <= 0:
        return 1.0, 1.0
    power = 10.0 ** floor(log10(largest / 2))
    step = next(power * factor for factor in (0.5, 1, 2, 5, 10) if largest / (power * factor) <= 5)
    return step * max(1, ceil(largest / step - 1e-9)), step


def part(value: float, whole: float) -> str:
    """``value`` of ``whole`` as the width of a bar, in per cent."""
    return f"{100 * value / whole:.3f}%" if whole > 0 else "0%"


def short(value: float) -> str:
    """A value in few characters: ``0.5``, ``12``, ``1.5k``, ``20M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def span(seconds: int) -> str:
    """A round length of time in its largest unit: ``10 s``, ``5 m``, ``2 h``, ``1 d``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def heat(value: int, largest: int) -> int:
    """0 for nothing, else 1 to 5: the heat of a cell compared with the largest, each step several times the one before.

    The scale is logarithmic: a process that fails ten thousand times must not hide all others."""
    if value <= 0:
        return 0
    if largest <= 1:
        return 1
    return min(5, 1 + floor(4.999 * log10(value) / log10(largest))) if value > 1 else 1
