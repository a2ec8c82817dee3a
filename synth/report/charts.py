"""Small charts as inline SVG: they scale with the page and take its colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

BINS = 24
WIDTH, HEIGHT, FOOT = 360, 120, 18


@dataclass(frozen=True)
class Bar:
    """One bar: its range in words, and how many fall into it."""

    label: str
    count: int


def bins(values: Sequence[int], most: int = BINS) -> list[Bar]:
    """Counts of whole numbers in at most `most` ranges of equal width."""
    if not values:
        return []
    least, largest = min(values), max(values)
    width = max(1, -(-(largest - least + 1) // most))
    counts = [0] * ((largest - least) // width + 1)
    for value in values:
        counts[(value - least) // width] += 1
    return [
        Bar(
            str(start) if width == 1 else f"{start} to {start + width - 1}",
            count,
        )
        for start, count in zip(range(least, largest + 1, width), counts, strict=True)
    ]


def histogram(values: Sequence[int], unit: str) -> Markup:
    """A histogram of whole numbers, the least and the largest written below.

    Every bar names its range and count when it is pointed at, and the whole is described for
    those who don't see it.
    """
    bars = bins(values)
    if not bars:
        return Markup("<p>nothing to show</p>")
    highest = max(bar.count for bar in bars)
    top = [bar.count for bar in bars].index(highest)
    step = WIDTH / len(bars)
    wide = min(step - 1.5, 60)  # pixels: a single bar is no wall
    plot = HEIGHT - FOOT - 14
    parts = []
    for place, bar in enumerate(bars):
        tall = plot * bar.count / highest
        x, y = place * step + (step - wide) / 2, HEIGHT - FOOT - tall
        parts.append(
            f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" '
            f'rx="1.5"><title>{escape(bar.label)} {escape(unit)}: {bar.count}</title></rect>'
        )
        if place == top:
            middle = min(max(x + wide / 2, 12), WIDTH - 12)
            parts.append(
                f'<text x="{middle:.1f}" y="{y - 4:.1f}" text-anchor="middle">{bar.count}</text>'
            )
    ends = [(0, "start", bars[0].label), (WIDTH, "end", bars[-1].label)]
    if len(bars) == 1:
        ends = [(WIDTH // 2, "middle", bars[0].label)]
    parts += [
        f'<text x="{x}" y="{HEIGHT - 4}" text-anchor="{anchor}">{escape(label)}</text>'
        for x, anchor, label in ends
    ]
    label = f"{len(values)} values from {min(values)} to {max(values)} {unit}"
    line = f'<line x1="0" x2="{WIDTH}" y1="{HEIGHT - FOOT}" y2="{HEIGHT - FOOT}"/>'
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{line}'
        f"{''.join(parts)}</svg>"
    )
