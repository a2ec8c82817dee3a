"""The page of a comparison, from its points: three tables and who is ahead when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks.drawing import Line, draw
from benchmarks.figures import Interval, shown
from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.peers.points import Point, Standing, curve, reached, standings

REFERENCE = "ours"


class Column(NamedTuple):
    """A figure of the evaluation in a table: its name, what stands above it, and its form."""

    figure: str
    head: str
    form: str


COLUMNS = (
    Column("internalization", "internalization", ".3f"),
    Column("kl_to_teacher", "KL(teacher‖.), nats/token", ".3f"),
    Column("valid", "well-formed", ".0%"),
    Column("agreement", "action = teacher's", ".0%"),
    Column("chrf", "chrF", ".1f"),
)
AXES = {"seconds": "seconds of training", "cpu_seconds": "seconds of the processor"}


def curves(found: Sequence[Point]) -> dict[str, list[Point]]:
    """Each contestant's curve, in the order in which they are listed."""
    names = {point.name for point in found}
    lines = {name: curve([point for point in found if point.name == name])
             for name in CONTESTANTS if name in names}  # fmt: skip
    return {name: line for name, line in lines.items() if line}


def page(found: Sequence[Point], notes: Sequence[str], by: str = "seconds") -> str:
    """Markdown: the last adapters, the curves as a table, and when ours is ahead of each peer.

    Args:
        found: measured adapters.
        notes: what was compared, a sentence each.
        by: `seconds` or `cpu_seconds`.
    """
    lines = curves(found)
    if not lines:
        return "Nothing is measured yet."
    seeds = {name: len({point.seed for point in found if point.name == name}) for name in lines}
    return "\n".join(
        [
            *notes,
            "",
            *_last(lines, seeds),
            "",
            f"Internalization after so many {AXES[by]}, of the newest adapter by then:",
            "",
            *_over_time(lines, by),
            "",
            "Ahead is who has an adapter, or one whose interval is all above the other's:",
            "",
            *_who_is_ahead(lines, by),
        ]
    )


def figure_columns(found: Iterable[Point]) -> list[Column]:
    """The columns that some of the points have figures for."""
    known = {name for point in found for name in point.figures}
    return [column for column in COLUMNS if column.figure in known]


def figure_cells(point: Point, columns: Sequence[Column]) -> list[str]:
    """A point's figures with their intervals; "-" where it has none."""
    nothing: Interval = {"value": None}
    return [shown(point.figures.get(one.figure, nothing), one.form) for one in columns]


def picture(found: Sequence[Point], title: str, by: str = "seconds") -> str:
    """The curves as an SVG."""
    lines = [
        Line(name, [(getattr(one, by), one.figures["internalization"]) for one in line])
        for name, line in curves(found).items()
    ]
    return draw(lines, title, f"{AXES[by]}, logarithmic", "internalization")


def _last(lines: Mapping[str, list[Point]], seeds: Mapping[str, int]) -> Iterator[str]:
    last = {name: line[-1] for name, line in lines.items()}
    columns = figure_columns(last.values())
    heads = " | ".join(column.head for column in columns)
    yield f"| | what | seeds | steps | start, s | training, s | processor, s | s/step | {heads} |"
    yield "|---" * (8 + len(columns)) + "|"
    for name, point in last.items():
        cells = [
            name,
            CONTESTANTS[name].what,
            str(seeds[name]),
            f"{point.step:g}",
            f"{point.start_seconds:,.0f}",
            f"{point.seconds:,.0f}",
            f"{point.cpu_seconds:,.0f}",
            f"{point.seconds / point.step:.2f}",
            *figure_cells(point, columns),
        ]
        yield f"| {' | '.join(cells)} |"


def _over_time(lines: Mapping[str, list[Point]], by: str) -> Iterator[str]:
    """A column for each moment of ours, and one for the end of whoever takes longest."""
    reference = lines.get(REFERENCE) or next(iter(lines.values()))
    moments = [getattr(point, by) for point in reference]
    longest = max(getattr(line[-1], by) for line in lines.values())
    moments += [longest] if longest > moments[-1] else []
    yield f"| | {' | '.join(f'{one:,.0f} s' for one in moments)} |"
    yield "|---" * (1 + len(moments)) + "|"
    for name, line in lines.items():
        values = [reached(line, moment, by) for moment in moments]
        cells = ["-" if one is None else shown({"value": one["value"]}, ".3f") for one in values]
        yield f"| {name} | {' | '.join(cells)} |"


def _who_is_ahead(lines: Mapping[str, list[Point]], by: str) -> Iterator[str]:
    """For each of ours: which of the peers that are there it is ahead of, and when it is not."""
    peers = [name for name in lines if not CONTESTANTS[name].is_ours]
    for name, line in lines.items():
        if not CONTESTANTS[name].is_ours or not peers:
            continue
        always, not_so = [], []
        for peer in peers:
            spans = standings(line, lines[peer], by)
            told = [_span(peer, *span) for span in spans if span[0] != "ahead"]
            not_so += told
            always += [] if told else [peer]
        ahead = f"ahead at every second of: {', '.join(always) or 'no peer'}"
        yield f"- `{name}` is {ahead}." + (f" Else: {'; '.join(not_so)}." if not_so else "")


def _span(peer: str, standing: Standing, since: float, until: float | None) -> str:
    told = f"{peer} is ahead" if standing == "behind" else f"not told apart from {peer}"
    return f"{told} from {_seconds(since)} " + (f"to {_seconds(until)}" if until else "on")


def _seconds(value: float) -> str:
    return f"{value:,.0f} s"
