"""What a run made, in numbers: for the terminal's end and the dataset card."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synth.dataset.tool_use import ToolUse
from synth.dataset.tops import TopsHeld
from synth.errors import SynthError
from synth.quality.diversity import Diversity, diversity
from synth.quality.refusals import refuses
from synth.quality.variety import MANY, SAMPLE, Variety
from synth.stages.slots import values_of
from synth.store.rows import FROM_LOG, STAGES, Row
from synth.store.store import Store
from synth.task.config import TaskConfig
from synth.task.taskfile import Task, shipped_tasks

# Of the values of a slot, how many are named, and with how many characters.
VALUES_SHOWN = 5
VALUE_SHOWN = 40
# What becomes of a model's thoughts; of the target's by the task's `thinking`.
KEPT = {"keep": "which are trained with them", "off": "which rejects them"}
UNUSED = "which go into no row"


@dataclass
class Summary:
    """Counts of a finished run.

    `floors` and `reasons` are the rows that have a floor output and a reason, of the `share` that
    should; `lost` says why others have none. `slots` counts the values of each slot of the prompt.
    `logprobs` is how many of the likeliest tokens were to be kept at each token.
    """

    wanted: int
    rows: int
    rejected: dict[str, Counter[str]]
    ends: Counter[str] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    splits: dict[str, int] = field(default_factory=dict)
    well_formed: dict[str, float] = field(default_factory=dict)
    agent_turns: int = 0
    agent_turns_formed: int = 0
    floors: int = 0
    floors_cut: int = 0
    reasons: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    share: float = 1.0
    failed: dict[str, int] = field(default_factory=dict)
    refusals: int = 0
    diversity: Diversity | None = None
    stages: tuple[str, ...] = STAGES
    thoughts: dict[str, tuple[int, int]] = field(default_factory=dict)
    tools: ToolUse = field(default_factory=ToolUse)
    thinking: str = "keep"
    slots: dict[str, Counter[str]] = field(default_factory=dict)
    logprobs: int = 0
    tops: TopsHeld = field(default_factory=TopsHeld)

    @property
    def done(self) -> dict[str, int]:
        """Rows that passed each stage."""
        left = self.rows + sum(
            counts.total() for stage, counts in self.rejected.items() if stage != "inputs"
        )
        left += sum(count for stage, count in self.failed.items() if stage != "inputs")
        passed = {"inputs": left}
        for stage in self.stages[1:]:
            left -= self.rejected.get(stage, Counter()).total() + self.failed.get(stage, 0)
            passed[stage] = left
        return passed

    def check_whole(self) -> None:
        """Raise a `SynthError` when rows failed: the dataset is not yet what it will be."""
        failed = sum(self.failed.values())
        if failed:
            raise SynthError(
                f"{failed} of {self.wanted} rows failed and are not in the dataset; the other "
                f"{self.rows} are.",
                "Run the same command again to go on: only what was not answered is asked.",
            )


def summarize(
    config: TaskConfig,
    store: Store,
    splits: dict[str, int],
    failed: Mapping[str, int],
    heads: Sequence[int] | None = None,
    thoughts: Mapping[str, tuple[int, int]] | None = None,
) -> Summary:
    """Count what is in the store, by a task's settings.

    Args:
        config: the task's.
        store: the run's.
        splits: the number of rows of each split.
        failed: rows that were left pending, by stage.
        heads: as `diversity` takes it.
        thoughts: by model, its answers that came with thoughts, and all.
    """
    summary = Summary(config.inputs.count, 0, store.rejected(), splits=splits, failed=dict(failed))
    summary.stages = config.stage_names
    summary.thoughts, summary.thinking = dict(thoughts or {}), config.thinking
    summary.share, summary.lost = config.reasons.share, store.lost()
    summary.logprobs = config.outputs.logprobs
    summary.diversity = diversity(store.rows(), heads)
    pattern = config.action_pattern
    formed: Counter[str] = Counter()
    for row in store.rows(tops=bool(summary.logprobs)):
        summary.rows += 1
        summary.tools.add(row)
        summary.tops.add(row)
        summary.ends[row.conversation_end or "a stage of the task's own"] += 1
        summary.floors += bool(row.floor_output)
        summary.floors_cut += row.floor_cut
        summary.reasons += bool(row.reason)
        summary.refusals += refuses(row.teacher_output)
        count_values(row, summary.slots)
        summary.turns[sum(turn.role == "assistant" for turn in row.conversation)] += 1
        if pattern is not None:
            for name, text in (("teacher", row.teacher_output), ("floor", row.floor_output)):
                formed[name] += re.search(pattern, text) is not None
            turns = [turn.content for turn in row.conversation if turn.role == "assistant"]
            summary.agent_turns += len(turns)
            summary.agent_turns_formed += sum(bool(re.search(pattern, turn)) for turn in turns)
    if pattern is not None:
        of = {"teacher": summary.rows, "floor": summary.floors}
        summary.well_formed = {name: formed[name] / rows for name, rows in of.items() if rows}
    return summary


def count_values(row: Row, slots: dict[str, Counter[str]]) -> None:
    """Add a row's values to the counts of each slot."""
    for name, value in values_of(row).items():
        slots.setdefault(name, Counter())[value] += 1


def counted(counts: Counter[str]) -> str:
    """Counts as one line, the most frequent first."""
    return ", ".join(f"{count} x {name}" for name, count in counts.most_common())


def print_summary(summary: Summary, console: Console) -> None:
    """Print rows made and rejected by stage, with the reasons."""
    table = Table()
    table.add_column("stage")
    table.add_column("passed", justify="right")
    table.add_column("rejected", justify="right")
    table.add_column("failed", justify="right")
    table.add_column("why rejected")
    for stage, done in summary.done.items():
        rejected = summary.rejected.get(stage, Counter())
        why = "\n".join(f"{count} x {reason}" for reason, count in rejected.most_common())
        failed = str(summary.failed.get(stage, 0))
        table.add_row(stage, str(done), str(rejected.total()), failed, Text(why))
    console.print(table)
    for line in remarks(summary):
        console.print(line, highlight=False, markup=False)


def remarks(summary: Summary) -> list[str]:
    """What there is to say of a dataset beside its counts, a sentence a line."""
    lines = [f"Conversations ended by: {counted(summary.ends) or 'none'}."]
    # Also those that ended before an answer that can't be used.
    if kept := sum(count for end, count in summary.ends.items() if end.startswith(FROM_LOG)):
        lines.append(
            f"Off policy: the answers of {kept:,} of {summary.rows:,} rows are those of the user's "
            "logs (--answers keep), not the target's."
        )
    for role, (thought, asked) in summary.thoughts.items():
        fate = KEPT[summary.thinking] if role == "target" else UNUSED
        lines.append(f"Answers of the {role} that came with thoughts, {fate}: {thought:,} of "
                     f"{asked:,}.")  # fmt: skip
    lines += [values_line(name, counts) for name, counts in summary.slots.items()]
    lines += _reasons(summary)
    if summary.floors_cut:
        lines.append(
            f"Floor outputs cut by the token limit, and kept: {summary.floors_cut}"
            f"{_of(summary.floors, summary.rows)}."
        )
    if summary.refusals:
        lines.append(f"Teacher outputs that refuse, and kept: {summary.refusals}.")
    if summary.well_formed:
        of = {"teacher": "", "floor": _of(summary.floors, summary.rows)}
        shares = ", ".join(
            f"{name} {share:.0%}{of[name]}" for name, share in summary.well_formed.items()
        )
        over_all = ""
        if summary.agent_turns:
            share = summary.agent_turns_formed / summary.agent_turns
            over_all = f"; over all {summary.agent_turns:,} turns of the agent {share:.0%}"
        lines.append(f"Answers with a well-formed action: {shares}{over_all}.")
    lines += summary.tools.remarks()
    lines += summary.tops.remarks(summary.logprobs)
    found = summary.diversity
    if found is not None:
        varied = {
            "distinct words": found.distinct_1,
            "distinct word pairs": found.distinct_2,
            "near duplicates": found.near_duplicates,
        }
        shares = ", ".join(f"{name} {share:.0%}" for name, share in varied.items()
                         if share is not None)  # fmt: skip
        lines.append(f"Inputs, without the form that all share: {shares}.")
        lines += [line for kind, of in found.kinds.items() if (line := _variety(kind, of))]
        sizes = "; ".join(f"{name} {size}" for name, size in found.lengths.items())
        lines.append(f"Characters, median (least to most): {sizes}.")
    return lines


def _variety(kind: str, found: Variety) -> str:
    """How varied the texts of a kind are; "" where there are too few to tell."""
    if found.effective is None:
        return ""
    many = found.effective_of_many
    parts = [
        f"{found.effective:.0f} in {SAMPLE}" + (f", {many:,.0f} in {MANY:,}" if many else ""),
        f"{found.nearest:.0%} in common with the nearest of {SAMPLE}",
        *([f"distinct word pairs {found.distinct_2:.0%}"] if found.distinct_2 is not None else []),
    ]
    return f"Variety of the {found.texts:,} {kind}, effective number: {'; '.join(parts)}."


def values_line(name: str, counts: Counter[str]) -> str:
    """How often the values of a slot occur, the most frequent ones by name."""
    shown = [f"{shorten(value, VALUE_SHOWN) or 'an empty text'} {count:,}"
             for value, count in counts.most_common(VALUES_SHOWN)]  # fmt: skip
    more = ", ..." if len(counts) > VALUES_SHOWN else ""
    one = "1 value" if len(counts) == 1 else f"{len(counts):,} values"
    return f"Slot {name}: {one} in {counts.total():,} rows ({', '.join(shown)}{more})."


def _reasons(summary: Summary) -> list[str]:
    """How many rows can be recited, where it is not all of them."""
    lines = []
    if summary.reasons < summary.rows:
        lines.append(
            f"Rows with a reason, which recitals need: {summary.reasons:,} of {summary.rows:,} "
            f"(`reasons.share` {summary.share:g})."
        )
    if summary.lost:
        lost = summary.lost.total()
        lines.append(
            f"Reasons that were lost, their rows kept without: {lost:,} of "
            f"{summary.reasons + lost:,} ({counted(summary.lost)})."
        )
    return lines


def _of(count: int, rows: int) -> str:
    """Of how many rows a figure is, where it is not of all."""
    return "" if count == rows else f" (of {count:,} rows)"


def next_step(task: Task, folder: Path, arguments: str = "") -> str:
    """What to do with the dataset.

    Args:
        task: the task it is of.
        folder: where it is.
        arguments: the line of YAML with the chat template's arguments it was made with, if any.
    """
    name = task.config.name
    if name in shipped_tasks() and task.source.parent == shipped_tasks()[name]:
        recipe = f"recipes/genpi_{name}.yml"
        if not arguments:
            return f"Next: axolotl train {recipe}"
        return f"Next: in {recipe},\n  {arguments}\nand then: axolotl train {recipe}"
    arguments = f"  {arguments}\n" if arguments else ""
    return (
        "Next: in an axolotl YAML,\n"
        "  plugins: [genpi_plugin.GenPIPlugin]\n"
        f"  datasets: [{{path: {folder}, type: genpi_plugin.strategy}}]\n"
        "  genpi: {}\n"
        f"{arguments}"
        "and then: axolotl train YOUR.yml"
    )
