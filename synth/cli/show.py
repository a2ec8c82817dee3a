"""Rows and states as a person reads them."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console, Group
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from genpi_plugin.data.prompts import has_markers
from genpi_plugin.data.text import control_fault
from synth.dataset.summary import Summary, counted, next_step, print_summary
from synth.dataset.tops import mention
from synth.drafting.draft import Draft
from synth.durations import duration
from synth.engines.base import Answer
from synth.engines.messages import readable
from synth.progress.cost import read_cost
from synth.quality.calls import tool_notes
from synth.quality.filters import input_fault
from synth.quality.role_markers import marker_notes
from synth.quality.thoughts import thought_notes
from synth.stages.plan import plan_of
from synth.store.folder import STORE, is_locked, read_run
from synth.store.rows import STAGES, Rejection, Row
from synth.store.store import Store
from synth.task.fields import FILTERS
from synth.task.placeholders import placeholder_notes
from synth.task.seeds import seed_notes
from synth.task.slots import before_first_slot, texts_of
from synth.task.taskfile import Task
from synth.task.yaml_traps import cut_by_comment, quote_it
from synth.text import visible

SPEAKER = {"assistant": "agent", "user": "environment", "tool": "tool"}
SAMPLES = 3  # draws of values that `validate` shows
STYLE = {"assistant": "green", "user": "cyan", "tool": "cyan"}


def print_row(row: Row, console: Console) -> None:
    """Print a whole row: input, the answers, the reason, the rest of the conversation."""
    parts: list[Rule | Text] = []

    def part(title: str, text: str, style: str) -> None:
        if text:
            parts.append(Rule(title, align="left", style="dim"))
            # `Text`, not markup: a row may hold [brackets].
            parts.append(Text(visible(text), style=style))

    part("what is kept: the values", "\n".join(one.content for one in row.kept), "blue")
    before = len(row.request) - 1
    part(f"input, after {before} messages" if before > 0 else "input", row.input, "cyan")
    part("floor: the answer without the prompt", row.floor_output, "yellow")
    if row.conversation:
        part("the teacher's thoughts", row.conversation[0].reasoning_content, "dim green")
    part("teacher: the answer with the prompt", row.teacher_output, "green")
    part("reason", row.reason, "magenta")
    if not row.reason:
        parts.append(Rule("no reason: a row for the behaviour alone", align="left", style="dim"))
    for turn in row.conversation[1:]:
        part("agent's thoughts", turn.reasoning_content, "dim green")
        part(SPEAKER[turn.role], readable(turn), STYLE[turn.role])
    if kept := mention(row):
        parts.append(Rule(kept, align="left", style="dim"))
    parts.append(Rule(f"ended: {row.conversation_end}", align="left", style="dim"))
    console.print(Panel(Group(*parts), title=f"row {row.position + 1}", subtitle=row.id))


def print_rejection(rejection: Rejection, console: Console) -> None:
    """Print what was rejected, with the reason."""
    parts: list[Rule | Text] = []
    for name, value in rejection.made.items():
        if name != "id":
            parts += [Rule(name, align="left", style="dim"), Text(visible(str(value)))]
    if rejection.detail:
        parts += [Rule("why", align="left", style="dim"), Text(visible(rejection.detail))]
    by = f" (filter {rejection.filter})" if rejection.filter else ""
    kept = ", its row kept" if rejection.kept else ""
    title = Text(f"rejected in {rejection.stage}{kept}: {rejection.reason}{by}")
    console.print(Panel(Group(*parts), title=title, border_style="red"))


def print_result(
    summary: Summary, task: Task, folder: Path, console: Console, arguments: str = ""
) -> None:
    """Print what a run made, and what to do with it; see `next_step` for `arguments`.

    Raises:
        SynthError: rows failed; the dataset is not yet whole.
    """
    print_summary(summary, console)
    summary.check_whole()
    splits = ", ".join(f"{rows} {split}" for split, rows in summary.splits.items())
    console.print(f"{summary.rows} rows ({splits}) in {folder}", style="green", highlight=False,
                  markup=False, soft_wrap=True)  # fmt: skip
    console.print(next_step(task, folder, arguments), markup=False, highlight=False)


def print_status(folder: Path, console: Console) -> None:
    """Print what an output folder holds and whether a run is at work in it.

    Raises:
        SynthError: no run made this folder.
    """
    config = read_run(folder)
    store = Store(folder / STORE, read_only=True)
    try:
        rows, rejected, answers = len(store.row_ids()), store.rejected(), store.answers()
        lost = store.lost()
    finally:
        store.close()
    wanted = config["task"]["inputs"]["count"]

    def line(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    line(f"Task {config['task']['name']}, target {config['target']['model']}, "
         f"generator {config['generator']['model']}")  # fmt: skip
    line(f"Rows finished: {rows} of {wanted}")
    for stage, counts in rejected.items():
        line(f"Rejected in {stage}: {counts.total()} ({counted(counts)})")
    if lost:
        line(f"Reasons lost, their rows kept: {lost.total()} ({counted(lost)})")
    cost = read_cost(folder)
    for stage, count in cost.get("failed", {}).items():
        if count:
            line(f"Not answered in {stage}: {count}")
    stored = ", ".join(f"{stage} {count}" for stage, count in answers.items()) or "none"
    line(f"Answers in the store: {stored}")
    if cost:
        money = "" if cost["money"] is None else f", {cost['money']:.2f} at the prices given"
        line(
            f"Work so far: {duration(cost['seconds'])} in {cost['runs']} runs, "
            f"{cost['tokens_in']:,} tokens in, {cost['tokens_out']:,} out{money}"
        )
    exported = sorted(path.name for path in (folder / "data").glob("*.parquet"))
    line(f"Exported: {', '.join(exported) or 'nothing yet'}")
    out = sum(counts.total() for stage, counts in rejected.items() if stage != "inputs")
    # With inputs of the user's own a filter may have left some out.
    whole = cost.get("finished") and not any(cost.get("failed", {}).values())
    if is_locked(folder):
        line("A run is at work here.")
    elif "stopped_by" in cost:
        line(f"The last run stopped: {cost['stopped_by']} To go on, with a higher limit:")
        line(f"  {config['run']['command']}")
    elif not exported or (rows + out < wanted and not whole):
        line("No run is at work here. To go on:")
        line(f"  {config['run']['command']}")


def print_draft(draft: Draft, console: Console) -> None:
    """Print what was drafted for a task.yml, where it comes from, and what is missing."""
    for one in draft.values:
        value = one.value
        if isinstance(value, list | dict):
            lists = value.items() if isinstance(value, dict) else [("", value)]
            value = ", ".join(f"{len(texts)} {name}".strip() for name, texts in lists)
        _line(console, f"{one.key}: {' '.join(str(value).split())} ({one.sources})")
    for key, why in draft.missing.items():
        _line(console, f"{key}: not drafted; {why}")


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_task(task: Task, console: Console) -> None:
    """Print how a task was read, and what is unusual in it.

    Raises:
        TaskError: its filters and stages are not as they must be.
    """
    plan_of(task)
    config = task.config
    roles = ", ".join(turn.role for turn in task.prompt)
    characters = sum(len(turn.content) for turn in task.prompt)
    seeds = len(config.inputs.seeds)
    lines = [
        f"Task {config.name} ({task.source})",
        f"Prompt {task.prompt_id}: {characters} characters in {len(task.prompt)} turns ({roles})",
        *_tools(task),
        *_slots(task),
        f"Inputs: {config.inputs.count}, after {seeds} seeds",
        f"Reasons: in {config.reasons.share:.0%} of the rows",
        f"Conversations: at most {config.conversations.max_turns} assistant turns",
        f"Actions: {config.action_pattern or 'no action_pattern'}",
    ]
    for key, names, usual in (
        ("Filters", config.filters, FILTERS),
        ("Stages", config.stages, STAGES),
    ):
        if names != usual:
            lines.append(f"{key}: {', '.join(names) or 'none'}")
    if len(task.prompt) == 1 and has_markers(task.prompt[0].content):
        lines.append(
            "Note: the prompt is read as plain text but has <USER>: or <AGENT>: markers; "
            "name the file .txt to have them read as turns."
        )
    for number, turn in enumerate(task.prompt, start=1):
        if control_fault(turn.content):
            lines.append(f"Note: turn {number} of the prompt holds {control_fault(turn.content)}.")
    source = task.source.read_text(encoding="utf-8")
    for number, seed, rest in cut_by_comment(source, ("inputs", "seeds")):
        lines.append(
            f"Note: seed {number} ends before `{rest}`, which YAML takes for a comment. If it is "
            f"a part of the seed: {quote_it(f'{seed} {rest}')}"
        )
    for number, seed in enumerate(config.inputs.seeds, start=1):
        fault = input_fault(Answer(seed, "stop"), config.inputs)
        if fault:
            lines.append(f"Note: seed {number} is itself malformed: {fault}.")
    notes = (
        *seed_notes(task),
        *tool_notes(task.tools, task.prompt),
        *marker_notes(task),
        *thought_notes(task),
        *placeholder_notes(task),
    )
    lines += [f"Note: {note}" for note in notes]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _slots(task: Task) -> list[str]:
    """The prompt's slots, where their values come from, and what the student is told."""
    if not task.slots:
        return []
    assert task.slots.kept is not None
    drawn = [task.slots.sample(seed) for seed in range(SAMPLES)]
    lines = []
    for name, source in task.slots.sources_of.items():
        kind = next(iter(source.model_dump(exclude_none=True, exclude={"count"})))
        count = f" of {len(task.slots.lines[name]):,}" if name in task.slots.lines else ""
        some = ", ".join(dict.fromkeys(repr(one[name]) for one in drawn if name in one))
        lines.append(f"Slot {name}: {kind}{count}" + (f", such as {some}" if some else ""))
    texts = texts_of(task.prompt)
    before, whole = before_first_slot(texts), sum(map(len, texts))
    told = task.slots.kept
    return [
        *lines,
        f"The first slot stands behind {before:,} of the prompt's {whole:,} characters: there ends "
        "what a server's prefix cache can keep of it.",
        f"The student is told ({told.role}): {told.content!r}",
    ]


def _tools(task: Task) -> list[str]:
    """The task's tools on a line; none where it has none."""
    names = [tool["function"]["name"] for tool in json.loads(task.tools)] if task.tools else []
    return [f"Tools: {len(names)} ({', '.join(names)})"] if names else []
