"""How much was internalized: the table of systems, comparisons, turns, checkpoints. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from genpi_plugin.evaluation.html.formatting import (
    FLOOR,
    METRICS,
    NARROW_SPACE,
    TEACHER,
    Interval,
    colours,
    figure,
    interval_text,
    metric,
    percent,
    role_of,
    students_of,
    value_text,
)
from genpi_plugin.evaluation.html.plots import Plot, axis, curve, ends, row, scale_for
from genpi_plugin.evaluation.sections.benchmarks import table_rows as benchmark_rows

COUNTS = "cut_answers"


@dataclass(frozen=True)
class Cell:
    value: str
    interval: str


@dataclass(frozen=True)
class Table:
    """Rows of figures; one column per system."""

    columns: list[tuple[str, str, str]]  # name, role, CSS class
    rows: list[tuple[str, list[Cell]]]


@dataclass(frozen=True)
class Comparison:
    """A paired difference: its figure's name, the result in words, and the value.

    `main` comparisons are between adapters or prompts, and on what is taken over or significant.
    """

    figure: str
    text: str
    shown: str
    significant: bool
    main: bool


def table(metrics: Mapping[str, Any]) -> Table:
    """Every figure of every system."""
    systems, css = metrics["systems"], colours(metrics)
    named = [name for name in METRICS if any(name in one for one in systems.values())]
    user_scores = {name for one in systems.values() for name in one} - {*named, COUNTS}
    rows = []
    for name in [*named, *sorted(user_scores)]:
        cells = [_cell(one.get(name), name) for one in systems.values()]
        rows.append((metric(name).label, cells))
    cut = [Cell(str(one.get(COUNTS, "–")), "") for one in systems.values()]
    rows.append(("answers cut at the length limit", cut))
    return Table([(name, role_of(name, metrics), css[name]) for name in systems], rows)


def _cell(interval: Interval | None, name: str) -> Cell:
    if interval is None:
        return Cell("–", "")
    formatter = metric(name).formatter
    return Cell(value_text(interval, formatter), interval_text(interval, formatter))


def taken_over(metrics: Mapping[str, Any]) -> Plot:
    """The first screen's plot: internalization and retention on one scale, floor 0, teacher 1."""
    first = students_of(metrics)[0]
    css = colours(metrics).get(first, "s-0")
    figures: list[tuple[str, Interval]] = [("effect in nats", metrics["internalization"])]
    if own := metrics.get("own_path"):
        figures.append(("on its own path", own))
    for name, kept in (metrics.get("retention") or {}).items():
        if kept["value"] is not None:
            label = {"chrf": "wording (chrF)", "exact": "same answer", "valid": "well-formed",
                     "agreement": "same action"}.get(name, metric(name).label)  # fmt: skip
            figures.append((label, kept))
    scale = scale_for(ends([one for _, one in figures]), high=1.0)
    rows = [row(label, one, scale, css, percent, "dot") for label, one in figures]
    return Plot(rows, axis(scale, percent))


def divergence(metrics: Mapping[str, Any], figure: str = "kl_to_teacher") -> Plot | None:
    """KL(teacher‖system) of each system except the teacher, whose own is 0.

    Args:
        figure: along the teacher's answers, or `kl_own_path`; None where it was not measured.
    """
    css, formatter = colours(metrics), METRICS[figure].formatter
    found = {
        name: one[figure]
        for name, one in metrics["systems"].items()
        if name != TEACHER and figure in one
    }
    if not found:
        return None
    scale = scale_for(ends(list(found.values())))
    rows = [row(name, one, scale, css[name], formatter) for name, one in found.items()]
    return Plot(rows, axis(scale, lambda value: f"{value:g}"))


def comparisons(metrics: Mapping[str, Any]) -> list[Comparison]:
    """Each paired difference in words, which name the better side where it is significant."""
    found = []
    for entry in metrics.get("comparisons") or []:
        formatter = metric(entry["figure"]).formatter
        difference = entry["difference"]
        if difference["value"] is None:
            continue
        left, right = entry["left"], entry["right"]
        if entry["significant"]:
            ahead = "more" if difference["value"] > 0 else "less"
            text = f"{left}: {ahead} than {right}"
        else:
            text = f"{left} and {right} do not differ significantly"
        shown = figure(difference, formatter).replace(f"{NARROW_SPACE}%", "")
        found.append(
            Comparison(
                metric(entry["figure"]).label,
                text,
                f"{shown} points" if formatter is percent else shown,
                bool(entry["significant"]),
                not {left, right} & {FLOOR, TEACHER}
                and (entry["significant"] or entry["figure"] in ("internalization", "own_path")),
            )
        )
    return found


@dataclass(frozen=True)
class Curve:
    drawing: Markup
    legend: list[tuple[str, str]]  # name, CSS class
    rows: list[list[str]]
    headings: list[str]


def turns(metrics: Mapping[str, Any]) -> Curve | None:
    """Internalization by turn number, of every student."""
    found: Sequence[Mapping[str, Any]] = metrics.get("turns") or []
    if not found:
        return None
    css, names = colours(metrics), students_of(metrics)

    def of(turn: Mapping[str, Any], name: str) -> Interval:
        value: Interval = (turn.get("students") or {}).get(name) or turn["internalization"]
        return value

    if not found[0].get("students"):
        names = names[:1]
    series = [(name, css[name], [(turn["turn"], of(turn, name)) for turn in found])
              for name in names]  # fmt: skip
    scale = scale_for(ends([of(turn, name) for turn in found for name in names]), high=1.0)
    scores = [name for name in found[0].get("scores", {}).get(names[0], {}) if name != "exact"]
    rows = []
    for turn in found:
        kl = turn.get("kl") or {}
        formatter = METRICS["kl_to_teacher"].formatter
        rows.append(
            [str(turn["turn"]), str(turn["n"]), *(figure(of(turn, n), percent) for n in names)]
            + ([figure(turn["own_path"], percent)] if "own_path" in turn else [])
            + [value_text(kl[n], formatter) for n in (FLOOR, names[0]) if n in kl]
            + [figure(turn["scores"][names[0]][name], metric(name).formatter) for name in scores]
        )
    several = len(names) > 1
    headings = ["turn", "conversations"]
    headings += [f"internalization{f', {n}' if several else ''}" for n in names]
    headings += [METRICS["own_path"].label] if "own_path" in found[0] else []
    headings += [f"KL, {n}" for n in (FLOOR, names[0]) if n in (found[0].get("kl") or {})]
    headings += [metric(name).label for name in scores]
    drawing = curve(series, scale, percent, "Internalization by turn of the conversation")
    return Curve(drawing, [(name, css[name]) for name in names], rows, headings)


def checkpoints(metrics: Mapping[str, Any]) -> Curve | None:
    """Internalization, and well-formed answers, over a run's checkpoints."""
    found: Sequence[Mapping[str, Any]] = metrics.get("checkpoints") or []
    if not found:
        return None
    series = [("internalization", "s-0", [(one["step"], one["internalization"]) for one in found])]
    valid = [(one["step"], one["valid"]) for one in found if "valid" in one]
    if valid:
        series.append((METRICS["valid"].label, "s-1", valid))
    scale = scale_for(ends([one for _, _, points in series for _, one in points]), high=1.0)
    rows = [
        [str(one["step"]), figure(one["internalization"], percent)]
        + ([figure(one["valid"], percent)] if "valid" in one else [])
        for one in found
    ]
    headings = ["step", "internalization", *([METRICS["valid"].label] if valid else [])]
    drawing = curve(series, scale, percent, "Internalization over the checkpoints of the run")
    return Curve(drawing, [(name, css) for name, css, _ in series], rows, headings)


def benchmarks(metrics: Mapping[str, Any]) -> list[list[str]]:
    """A heading and a line a figure; empty where none was run."""
    found = metrics.get("benchmarks")
    return benchmark_rows(found) if found else []
