"""Lines with intervals as an SVG file of its own, for pages that show pictures and run nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from benchmarks.figures import Interval
from genpi_plugin.evaluation.html.plots import Scale, ends, scale_for

WIDTH, HEIGHT = 880, 460
LEFT, RIGHT, TOP, BOTTOM = 64, 210, 44, 52
# Okabe and Ito's, which people who see few colours tell apart; dashes beside them.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#7a5195",
           "#8c8c00")  # fmt: skip
DASHES = ("", "7 3", "2 3", "9 3 2 3")
LOWEST = -0.2  # internalization below it is drawn at the edge
BETWEEN = 17  # two names of lines


@dataclass(frozen=True)
class Line:
    """A named line over points (x, interval), in the order of x."""

    name: str
    points: Sequence[tuple[float, Interval]]


def draw(lines: Sequence[Line], title: str, across: str, up: str) -> str:
    """The lines over a logarithmic x, their names at the right in the order of their last values.

    Args:
        lines: x above 0; at least one point in all. Values that are None are left out.
        title, across, up: what is drawn, and the names of both axes.

    Raises:
        ValueError: there is nothing to draw.
    """
    known = [Line(one.name, [(x, y) for x, y in one.points if y["value"] is not None])
             for one in lines]  # fmt: skip
    numbers = [x for one in known for x, _ in one.points]
    if not numbers:
        raise ValueError("no line has a point with a value")
    values = scale_for([max(y, LOWEST) for one in known for y in ends([i for _, i in one.points])],
                       high=1.0)  # fmt: skip
    x_of, y_of = _placer(numbers), _height(values)
    parts = [_axes(ticks(min(numbers), max(numbers)), values, x_of, y_of)]
    for number, one in enumerate(known):
        style = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        parts.append(_line([(x_of(x), interval) for x, interval in one.points], y_of, *style))
    parts.append(_names(known, y_of))
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" '
            'height="{h}" role="img" aria-label="{title}" font-family="sans-serif" font-size="13">'
            '<rect width="100%" height="100%" fill="#fff"/>'
            '<text x="{left}" y="24" font-size="15" font-weight="bold">{title}</text>'
            '{drawn}<text x="{middle}" y="{low}" text-anchor="middle">{across}</text>'
            '<text transform="translate(16 {centre}) rotate(-90)" text-anchor="middle">{up}</text>'
            "</svg>\n"
        ).format(
            w=WIDTH, h=HEIGHT, title=title, left=LEFT, drawn=Markup("\n").join(parts),
            middle=(LEFT + WIDTH - RIGHT) / 2, low=HEIGHT - 12, across=across,
            centre=(TOP + HEIGHT - BOTTOM) / 2, up=up,
        )
    )  # fmt: skip


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high` on a logarithmic axis: 1, 2 and 5 of each power of ten.

    >>> ticks(30, 1200)
    [50.0, 100.0, 200.0, 500.0, 1000.0]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    rounds = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    inside = [one for one in rounds if low <= one <= high]
    return inside if len(inside) > 1 else [low, high]


def _placer(numbers: Sequence[float]) -> Callable[[float], float]:
    low, high = math.log(min(numbers)), math.log(max(numbers))
    width = WIDTH - LEFT - RIGHT - 24
    return lambda x: round(LEFT + 12 + width * ((math.log(x) - low) / ((high - low) or 1.0)), 1)


def _height(scale: Scale) -> Callable[[float], float]:
    room = HEIGHT - TOP - BOTTOM
    return lambda value: round(TOP + room * (1 - scale.place(value) / 100), 1)


def _axes(
    across: Sequence[float], values: Scale, x_of: Callable[[float], float],
    y_of: Callable[[float], float],
) -> Markup:  # fmt: skip
    lines = [
        Markup('<line x1="{0}" x2="{1}" y1="{2}" y2="{2}" stroke="#ddd"/>'
               '<text x="{3}" y="{4}" text-anchor="end">{5:g}</text>').format(
            LEFT, WIDTH - RIGHT, y_of(tick), LEFT - 8, y_of(tick) + 4, tick)
        for tick in values.ticks
    ]  # fmt: skip
    lines += [
        Markup('<line x1="{0}" x2="{0}" y1="{1}" y2="{2}" stroke="#eee"/>'
               '<text x="{0}" y="{3}" text-anchor="middle">{4:,.5g}</text>').format(
            x_of(tick), TOP, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 18, tick)
        for tick in across
    ]  # fmt: skip
    return Markup("").join(lines)


def _line(
    points: Sequence[tuple[float, Interval]], y_of: Callable[[float], float], colour: str, dash: str
) -> Markup:
    placed = [(x, y_of(one["value"] or 0.0), one) for x, one in points]
    drawn = [
        Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{}" stroke-width="2" '
               'stroke-dasharray="{}"/>').format(x, y, after_x, after_y, colour, dash)
        for (x, y, _), (after_x, after_y, _) in pairwise(placed)
    ]  # fmt: skip
    for x, y, one in placed:
        if one["ci_low"] is not None and one["ci_high"] is not None:
            drawn.append(
                Markup('<line x1="{0}" x2="{0}" y1="{1}" y2="{2}" stroke="{3}"/>').format(
                    x, y_of(one["ci_low"]), y_of(one["ci_high"]), colour
                )
            )
        drawn.append(Markup('<circle cx="{}" cy="{}" r="3.5" fill="{}"/>').format(x, y, colour))
    return Markup("").join(drawn)


def _names(lines: Sequence[Line], y_of: Callable[[float], float]) -> Markup:
    """Each line's name and last value, from the best down, none over another."""
    last = [(one.points[-1][1]["value"] or 0.0, number, one.name)
            for number, one in enumerate(lines) if one.points]  # fmt: skip
    last.sort(key=lambda each: -each[0])
    heights = spread([y_of(value) for value, _, _ in last])
    drawn = []
    for (value, number, name), y in zip(last, heights, strict=True):
        drawn.append(
            Markup('<line x1="{0}" x2="{1}" y1="{2}" y2="{2}" stroke="{3}" stroke-width="2" '
                   'stroke-dasharray="{4}"/><text x="{5}" y="{6}" fill="{3}">{7} {8:.2f}</text>'
            ).format(WIDTH - RIGHT + 8, WIDTH - RIGHT + 34, y, COLOURS[number % len(COLOURS)],
                     DASHES[number % len(DASHES)], WIDTH - RIGHT + 40, y + 4, name, value)
        )  # fmt: skip
    return Markup("").join(drawn)


def spread(heights: Sequence[float]) -> list[float]:
    """Places of names, `BETWEEN` apart at least and inside the picture, as near as may be.

    >>> spread([100.0, 104.0, 402.0, 403.0, 408.0])
    [100.0, 117.0, 402.0, 419.0, 436.0]
    >>> spread([440.0, 440.0])
    [431.0, 448.0]
    """
    found: list[float] = []
    for y in heights:
        found.append(max(y, found[-1] + BETWEEN if found else float(TOP)))
    highest = float(HEIGHT - 12)
    for place in reversed(range(len(found))):
        found[place] = min(found[place], highest)
        highest = found[place] - BETWEEN
    return found
