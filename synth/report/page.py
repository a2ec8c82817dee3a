"""report.html: the dataset's figures and some of its rows on one page that opens offline."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from pydantic import ValidationError

from synth.dataset.splits import split_sizes
from synth.dataset.summary import Summary, remarks, summarize
from synth.durations import duration
from synth.engines.base import Message
from synth.engines.messages import readable
from synth.errors import SynthError
from synth.progress.cost import read_cost, thoughts_in
from synth.quality.diversity import without_form
from synth.report.charts import histogram
from synth.store.folder import CONFIG, STORE, read_run, replace_text
from synth.store.rows import Row
from synth.store.store import Store
from synth.task.config import TaskConfig
from synth.task.templates import prompt_text
from synth.text import visible

REPORT = "report.html"
SHOWN = 6  # rows, from the whole length of the dataset
EXAMPLES = 3  # of each reason for a rejection
SHORT = 600  # characters of an example


@dataclass(frozen=True)
class Step:
    """A stage in the funnel: rows that came to it, passed, and were lost to each reason."""

    stage: str
    came: int
    passed: int
    failed: int
    rejected: Counter[str]


@dataclass(frozen=True)
class Example:
    """Something that was rejected: where it was, why, and its text."""

    stage: str
    reason: str
    detail: str
    text: str


def write_report(folder: Path) -> Path:
    """Write report.html from what is in a run's folder; its path.

    Raises:
        SynthError: the folder is not a run's, or holds no rows.
    """
    config = read_run(folder)
    try:
        task = TaskConfig.of_run(config["task"])
    except ValidationError as error:
        raise SynthError(
            f"The task in {folder / CONFIG} is not one that this version can read: {error}",
            "Use the version that made the folder.",
        ) from None
    with contextlib.closing(Store(folder / STORE, read_only=True)) as store:
        cost = read_cost(folder)
        summary = summarize(
            task, store, split_sizes(folder), cost.get("failed", {}), thoughts=thoughts_in(cost)
        )
        text = report_page(config, store, summary, cost)
    path = folder / REPORT
    replace_text(path, text)
    return path


def report_page(
    config: dict[str, Any], store: Store, summary: Summary, cost: dict[str, Any]
) -> str:
    """The page.

    Args:
        config: what is in synth.yaml.
        store: holds rows and rejections.
        summary: their counts.
        cost: what is in run.json.

    Raises:
        SynthError: there is no row.
    """
    if not summary.rows:
        raise SynthError("There is no row to report on.", "Run `synth run` to its end first.")
    sizes: dict[str, list[int]] = {
        name: [] for name in ("floor output", "teacher output", "reason")
    }
    inputs, turns, shown = [], [], []
    wanted = {number * summary.rows // SHOWN for number in range(SHOWN)}
    for number, row in enumerate(store.rows()):
        for name, found in sizes.items():
            text = getattr(row, name.replace(" ", "_"))
            found.extend([len(text)] if text else [])
        inputs.append(row.input)
        turns.append(sum(turn.role == "assistant" for turn in row.conversation))
        if number in wanted:
            shown.append(row)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("synth.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["thousands"] = "{:,}".format
    return environment.get_template("page.html.j2").render(
        config=config,
        summary=summary,
        cost=cost,
        took=duration(cost["seconds"]) if cost else "",
        steps=_steps(summary),
        charts={
            "input, characters, without what all share": histogram(
                [len(text) for text in without_form(inputs)], "characters"
            ),
            **{
                f"{name}, characters{_of(len(found), summary.rows)}": histogram(found, "characters")
                for name, found in sizes.items()
            },
            "conversation": histogram(turns, "agent turns"),
        },
        remarks=remarks(summary),
        rows=[
            (row, _said(row.request[:-1]), _said(row.conversation[:1]), _goes_on(row))
            for row in shown
        ],
        examples=_examples(store, summary.stages),
        prompt=prompt_text(shown[0].prompt, shown[0].tools),
    )


def _of(count: int, rows: int) -> str:
    return "" if count == rows else f", of {count:,} rows"


def _shown(value: Any) -> Any:
    """A text with its control characters visible; what is HTML already, as it is."""
    return visible(value) if type(value) is str else value


def _steps(summary: Summary) -> list[Step]:
    steps = []
    came = None
    for stage in summary.stages:
        passed, rejected = summary.done[stage], summary.rejected.get(stage, Counter())
        failed = summary.failed.get(stage, 0)
        steps.append(
            Step(stage, passed + rejected.total() + failed if came is None else came, passed,
                 failed, rejected)
        )  # fmt: skip
        came = passed
    return steps


def _said(turns: Iterable[Message], user: str = "user") -> list[tuple[str, str, str]]:
    """Turns as the page shows them: who speaks, the kind of text, and the text.

    An agent's thoughts stand before what it says.
    """
    speakers = {"assistant": "agent", "user": user}
    shown = []
    for turn in turns:
        speaker = speakers.get(turn.role, turn.role)
        if turn.reasoning_content:
            shown.append((f"{speaker}'s thoughts", "thoughts", turn.reasoning_content))
        shown.append((speaker, speaker, readable(turn)))
    return shown


def _goes_on(row: Row) -> list[tuple[str, str, str]]:
    """The conversation behind its first answer, which the page shows beside the floor's."""
    return _said(row.conversation[1:], "environment")


def _examples(store: Store, stages: Sequence[str]) -> list[Example]:
    seen: Counter[tuple[str, str]] = Counter()
    examples = []
    for rejection in store.rejections(stages):
        key = (rejection.stage, rejection.reason)
        seen[key] += 1
        if seen[key] <= EXAMPLES:
            text = str(rejection.made.get("text") or rejection.made.get("input") or "")
            text = text if len(text) <= SHORT else text[:SHORT] + " ..."
            by = f"by the filter {rejection.filter}" if rejection.filter else ""
            kept = "the row is kept without" if rejection.kept else ""
            detail = "; ".join(part for part in (kept, by, rejection.detail) if part)
            examples.append(Example(*key, detail, text))
    return examples
