"""Plots as inline SVG, positions in percent of the width.

Not drawn by matplotlib: a drawing with a fixed size shrinks on a phone until its text can't be
read, and its colours belong to one theme. Here the text is HTML beside the drawing, the width
adapts, and colours come from the style sheet, light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from genpi_plugin.evaluation.html.formatting import Formatter, Interval, interval_text, value_text

HEIGHT = 22
CHART_HEIGHT = 200


@dataclass(frozen=True)
class Scale:
    """From `low` to `high` over the width, with ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """In percent of the width; a value outside goes to the edge."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)


@dataclass(frozen=True)
class Row:
    """A line of a plot: a label, a drawing and the figure as text."""

    label: str
    drawing: Markup
    value: str
    interval: str
    css: str = ""


@dataclass(frozen=True)
class Plot:
    rows: list[Row]
    axis: Markup


def scale_for(values: Sequence[float], low: float = 0.0, high: float | None = None) -> Scale:
    """A scale that covers all values, `low` and `high`, with two to five round ticks."""
    bottom, top = min([low, *values]), max([low if high is None else high, *values])
    if top <= bottom:
        top = bottom + 1.0
    raw = (top - bottom) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(bottom / step + 1e-9), math.ceil(top / step - 1e-9)
    ticks = tuple(round(number * step, 10) for number in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks)


def ends(intervals: Sequence[Interval]) -> list[float]:
    """All values and ends of intervals that are defined."""
    found = [interval[key] for interval in intervals for key in ("value", "ci_low", "ci_high")]
    return [value for value in found if value is not None]


def bar(interval: Interval, scale: Scale, css: str, label: str) -> Markup:
    """A bar from 0 to the value, its interval on it."""
    if interval["value"] is None:
        return _svg(label, Markup(""), scale)
    zero, value = scale.place(0.0), scale.place(interval["value"])
    left, width = min(zero, value), round(abs(value - zero), 2)
    drawn = Markup('<rect class="bar {}" x="{}%" y="4" width="{}%" height="14" rx="2"/>').format(
        css, left, width
    )
    return _svg(label, drawn + _whisker(interval, scale), scale)


def dot(interval: Interval, scale: Scale, css: str, label: str) -> Markup:
    """The value as a dot on its interval."""
    if interval["value"] is None:
        return _svg(label, Markup(""), scale)
    drawn = Markup('<circle class="dot {}" cx="{}%" cy="11" r="5"/>').format(
        css, scale.place(interval["value"])
    )
    return _svg(label, _whisker(interval, scale) + drawn, scale)


def row(
    label: str, interval: Interval, scale: Scale, css: str, formatter: Formatter, draw: str = "bar"
) -> Row:
    """A row of a plot, with its figure as text too."""
    value, between = value_text(interval, formatter), interval_text(interval, formatter)
    aria_label = f"{label}: {value} {between}".strip()
    return Row(
        label, {"bar": bar, "dot": dot}[draw](interval, scale, css, aria_label), value, between
    )


def axis(scale: Scale, formatter: Formatter) -> Markup:
    """The ticks' labels, below the rows."""
    texts = Markup("").join(
        Markup('<text class="{}" x="{}%" y="12">{}</text>').format(
            {0.0: "first", 100.0: "last"}.get(scale.place(tick), "mid"),
            scale.place(tick),
            formatter(tick),
        )
        for tick in scale.ticks
    )
    return Markup('<svg class="axis" width="100%" height="16" aria-hidden="true">{}</svg>').format(
        texts
    )


def plain(value: float | None) -> dict[str, float | None]:
    """A figure without an interval, as an interval."""
    return {"value": value, "ci_low": None, "ci_high": None}


def curve(
    series: Sequence[tuple[str, str, Sequence[tuple[float, Interval]]]],
    scale: Scale,
    formatter: Formatter,
    label: str,
) -> Markup:
    """Values over a number (a turn, a step), with their intervals.

    Args:
        series: (name, CSS class, points); a point is (number, interval).
        scale: of the values, upward.
    """
    numbers = sorted({number for _, _, points in series for number, _ in points})
    spread = (numbers[-1] - numbers[0]) or 1.0

    def across(number: float) -> float:
        return round(13 + 83 * (number - numbers[0]) / spread, 2) if len(numbers) > 1 else 50.0

    def up(value: float) -> float:
        return round(CHART_HEIGHT - 30 - (CHART_HEIGHT - 45) * scale.place(value) / 100, 1)

    parts = [
        Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>'
               '<text x="0" y="{1}">{2}</text>').format(up(tick), up(tick) - 3, formatter(tick))
        for tick in scale.ticks
    ]  # fmt: skip
    label_step = max(1, math.ceil(len(numbers) / 10))
    parts += [
        Markup('<text x="{}%" y="{}" text-anchor="middle">{:g}</text>').format(
            across(number), CHART_HEIGHT - 8, number
        )
        for number in numbers[::label_step]
    ]
    for _, css, points in series:
        parts.append(_line(css, [(across(n), one) for n, one in points], up))
    return Markup(
        '<svg class="curve" width="100%" height="{}" role="img" aria-label="{}">{}</svg>'
    ).format(CHART_HEIGHT, label, Markup("").join(parts))


def _line(
    css: str, points: Sequence[tuple[float, Interval]], up: Callable[[float], float]
) -> Markup:
    known = [(x, one) for x, one in points if one["value"] is not None]
    drawn = [
        Markup('<line class="line {}" x1="{}%" y1="{}" x2="{}%" y2="{}"/>').format(
            css, x, up(one["value"]), after_x, up(after["value"])
        )
        for (x, one), (after_x, after) in pairwise(known)
    ]
    for x, one in known:
        if one["ci_low"] is not None:
            drawn.append(
                Markup('<line class="whisker" x1="{0}%" x2="{0}%" y1="{1}" y2="{2}"/>').format(
                    x, up(one["ci_low"]), up(one["ci_high"])
                )
            )
        drawn.append(
            Markup('<circle class="dot {}" cx="{}%" cy="{}" r="4.5"/>').format(
                css, x, up(one["value"])
            )
        )
    return Markup("").join(drawn)


def _svg(label: str, drawn: Markup, scale: Scale) -> Markup:
    grid = Markup("").join(
        Markup('<line class="grid" x1="{0}%" x2="{0}%" y1="0" y2="{1}"/>').format(
            scale.place(tick), HEIGHT
        )
        for tick in scale.ticks
    )
    return Markup(
        '<svg class="track" width="100%" height="{}" role="img" aria-label="{}">{}{}</svg>'
    ).format(HEIGHT, label, grid, drawn)


def _whisker(interval: Interval, scale: Scale) -> Markup:
    low, high = interval["ci_low"], interval["ci_high"]
    if low is None or high is None or low == high:
        return Markup("")
    return Markup(
        '<line class="whisker" x1="{0}%" x2="{1}%" y1="11" y2="11"/>'
        '<line class="whisker" x1="{0}%" x2="{0}%" y1="7" y2="15"/>'
        '<line class="whisker" x1="{1}%" x2="{1}%" y1="7" y2="15"/>'
    ).format(scale.place(low), scale.place(high))
