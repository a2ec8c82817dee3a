"""One evaluation from config to report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..chat import ChatView
from ..manifest import read_manifest
from ..prepared import describe_prompt
from ..rows import prompt_text
from .data import HeldOut, action_pattern_of, held_out
from .gate import Requirement, check_names, known_figures
from .load import load_config, load_model
from .measure import measure, recite
from .report import show, write
from .scores import make_scores
from .subject import Subject
from .summary import FLOOR, STUDENT, TEACHER, summarize


def evaluate(
    config: Path,
    overrides: dict[str, Any],
    adapter: Path | None,
    inputs_file: Path | None,
    limit: int | None,
    action_pattern: str | None,
    max_new_tokens: int,
    recitals: int,
    batch_size: int,
    seed: int,
    output: Path | None,
    requirements: Sequence[Requirement] = (),
) -> dict[str, Any]:
    """Evaluate an adapter and write its report; returns what `metrics.json` holds.

    Raises:
        GenPIError: no adapter, no inputs, a dataset that can't be read, or a requirement of a
            figure that there will not be.
    """
    console = Console()
    started = time.monotonic()
    cfg = load_config(config, overrides)
    pattern = action_pattern or action_pattern_of(cfg)
    scores = make_scores(pattern)
    check_names(requirements, known_figures(list(scores), recitals > 0))
    data = held_out(cfg, inputs_file, limit)
    adapter = adapter or Path(cfg.output_dir)
    folder = output or Path(cfg.output_dir) / "report"
    warnings = _warnings(data, adapter)
    for line in warnings:
        console.print(f"[bold red]Warning:[/] {line}")
    model, tokenizer = load_model(cfg, adapter)
    view = ChatView(tokenizer, cfg.get("chat_template_kwargs"))
    teacher = Subject(TEACHER, model, view, data.prompt, batch_size=batch_size)
    floor = Subject(FLOOR, model, view, batch_size=batch_size)
    student = Subject(STUDENT, model, view, adapter=True, batch_size=batch_size)
    with _progress(console) as progress:
        measured = measure(data.inputs, teacher, [floor, student], scores, max_new_tokens, progress)
        recited = recite(student, measured, FLOOR, teacher, recitals, progress)
    facts = {
        "versions": {name: version(name) for name in ("axolotl-genpi", "axolotl", "transformers",
                                                      "peft", "torch")},
        "source": {
            "config": str(config),
            "base_model": str(cfg.base_model),
            "adapter": str(adapter),
            "inputs": data.source,
            "prompt_id": data.prompt_id,
            "action_pattern": pattern,
            "max_new_tokens": max_new_tokens,
        },
        "warnings": warnings,
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    metrics = summarize(measured, recited, seed, facts)
    write(folder, metrics, measured, recited, prompt_text(data.prompt))
    show(console, metrics)
    console.print(f"Report: {folder / 'report.md'}, figures: {folder / 'metrics.json'}")
    return metrics


def _warnings(data: HeldOut, adapter: Path) -> list[str]:
    found = []
    if data.seen:
        found.append(
            f"{data.seen} of {len(data.inputs)} inputs stand in the training split too: the "
            "figures are not of held-out inputs."
        )
    manifest = read_manifest(adapter)
    known = {prompt["sha256"] for prompt in manifest["prompts"]} if manifest else set()
    if known and describe_prompt(data.prompt_id, data.prompt)["sha256"] not in known:
        found.append(
            "the prompt of this evaluation is not the one in the adapter's manifest: you are "
            "evaluating against a different prompt."
        )
    return found


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int], Any]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console) as bars:

        @contextlib.contextmanager
        def bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
            task = bars.add_task(label, total=total)
            yield lambda count: bars.advance(task, count)
            if total and not console.is_terminal:
                console.print(f"{label}: {total} done")

        yield bar
