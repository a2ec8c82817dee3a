"""One evaluation from config to report."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from genpi_plugin.data import digests
from genpi_plugin.data.prepared import DEFAULT_PREPARED_PATH, PREFIX
from genpi_plugin.data.prompt_generation import recited_text
from genpi_plugin.data.transcripts import prompt_text
from genpi_plugin.evaluation.figures.measured import Generated, Measured
from genpi_plugin.evaluation.figures.summary import summarize
from genpi_plugin.evaluation.measuring.bars import bars
from genpi_plugin.evaluation.measuring.cache import FOLDER, Cache, code_digest
from genpi_plugin.evaluation.measuring.context import Context, NotMeasured, Section, as_json
from genpi_plugin.evaluation.measuring.measure import Progress
from genpi_plugin.evaluation.measuring.systems import (
    SubjectLoader,
    System,
    measure_systems,
    remembering,
)
from genpi_plugin.evaluation.plan import Curve, Plan, list_systems, make_plan
from genpi_plugin.evaluation.report import show, write
from genpi_plugin.evaluation.sections.curve import checkpoint_name, summarize_checkpoints
from genpi_plugin.evaluation.settings import Settings
from genpi_plugin.evaluation.subjects.inputs import HeldOut
from genpi_plugin.evaluation.subjects.load import load_config

PACKAGES = ("axolotl-genpi", "axolotl", "transformers", "peft", "torch")


def evaluate(settings: Settings) -> dict[str, Any]:
    """Evaluate adapters and write the report; returns what `metrics.json` holds.

    Raises:
        GenPIError: no adapter, or one of another model; no inputs; a dataset that can't be read;
            a requirement on a figure that this evaluation does not have.
    """
    console = Console()
    started = time.monotonic()
    overrides = {"base_model": settings.base_model} if settings.base_model else {}
    cfg = load_config(settings.config, overrides)
    plan = make_plan(cfg, settings)
    for line in plan.warnings:
        console.print(f"[bold red]Warning:[/] {line}")
    own = [plan.action_pattern] if plan.action_pattern else []
    loader = SubjectLoader(cfg, list(plan.adapters.values()), settings.batch_size, own)
    cache = Cache(_cache_folder(cfg))
    with bars(console) as progress:
        measured = measure_systems(
            loader, cache, plan.data, plan.systems, plan.scores, settings.max_new_tokens,
            progress,
        )  # fmt: skip
        adapters = {name: str(folder) for name, folder in plan.adapters.items()}
        metrics = summarize(measured, adapters, settings.seed)
        details = _details(measured, plan.data)
        left_out = _measure_sections(
            plan, settings, loader, cache, measured, progress, metrics, details
        )
        if plan.curve:
            metrics["checkpoints"] = _measure_curve(
                plan.curve, plan, settings, loader, cache, progress
            )
    found = [*left_out, *metrics.get("benchmarks", {}).get("notes", [])]
    for line in found:
        console.print(f"[bold red]Warning:[/] {escape(line)}")
    metrics |= {
        "versions": {name: version(name) for name in PACKAGES},
        "source": _source(cfg, settings, plan),
        "warnings": [*plan.warnings, *found],
        "seconds": round(time.monotonic() - started, 1),
    }
    folder = settings.output or Path(cfg.output_dir) / "report"
    write(folder, metrics, details, measured)
    show(console, metrics)
    if cache.reused:
        console.print(
            f"{cache.reused} of {cache.reused + cache.computed} parts were already measured "
            f"({cache.folder}; delete it to measure them again)."
        )
    console.print(f"Report: {folder / 'report.html'}, figures: {folder / 'metrics.json'}")
    return metrics


def _measure_sections(
    plan: Plan,
    settings: Settings,
    loader: SubjectLoader,
    cache: Cache,
    measured: Measured,
    progress: Progress,
    metrics: dict[str, Any],
    details: dict[str, Any],
) -> list[str]:
    """Add each section's figures to `metrics`, and its raw measurements to `details`.

    Returns:
        A line for each section that could not be measured.
    """

    @functools.cache
    def context() -> Context:
        teacher, floor = (loader.subject(system) for system in plan.systems[:2])
        students = [loader.subject(system) for system in plan.students]
        return Context(plan.data, teacher, floor, students, measured, plan.scores,
                       settings.max_new_tokens, progress, settings.seed,
                       loader.load_base_model,
                       remembering(loader, cache, plan.systems))  # fmt: skip

    facts = {
        **loader.facts,
        "code": code_digest(),
        "prompt": plan.data.prompt,
        "students": [(system.name, system.facts()) for system in plan.students],
        "tools": plan.data.tools,
        "inputs": as_json(plan.data.asked),
        "conversations": [plan.data.conversations, plan.data.sampled, plan.data.tokenizers],
        "scores": [plan.action_pattern, plan.scores_digest],
        "max_new_tokens": settings.max_new_tokens,
        "seed": settings.seed,
    }
    left_out = []
    for section in plan.sections:
        its_facts = {**facts, "depends": _by_content(section.depends(plan.options))}
        compute = functools.partial(_measure_section, section, context, plan, settings.seed)
        try:
            part = cache.part(section.name, its_facts, compute)
        except NotMeasured as error:
            left_out.append(f"{section.name} left out: {error}")
            continue
        if part is None:
            continue
        figures = part["figures"]
        if section.name == "cost":  # added to the tokens of a request
            figures = {**metrics["cost"], **figures}
        metrics[section.name] = figures
        details[section.details or section.name] = part["details"]
    return left_out


def _measure_section(
    section: Section, context: Callable[[], Context], plan: Plan, seed: int
) -> Any:
    """{"figures", "details"} of a section; None where there is nothing to measure."""
    measured = section.measure(context(), plan.options)
    if measured is None:
        return None
    return {"figures": section.summarize(measured, seed), "details": as_json(measured)}


def _by_content(depends: Any) -> Any:
    """Replace files with digests of their contents."""
    if isinstance(depends, list | tuple):
        return [_by_content(one) for one in depends]
    if isinstance(depends, Path) and depends.is_file():
        return digests.of_files([depends])
    return depends


def _measure_curve(
    curve: Curve,
    plan: Plan,
    settings: Settings,
    loader: SubjectLoader,
    cache: Cache,
    progress: Progress,
) -> list[dict[str, Any]]:
    students = [
        System(checkpoint_name(step), adapter=folder) for step, folder in curve.checkpoints.items()
    ]
    systems = [*list_systems(curve.data, {}, {}), *students]
    measured = measure_systems(
        loader, cache, curve.data, systems, plan.scores, settings.max_new_tokens, progress
    )
    return summarize_checkpoints(measured, curve.checkpoints, settings.seed)


def _details(measured: Measured, data: HeldOut) -> dict[str, Any]:
    return {
        "inputs": measured.inputs,
        "slots": measured.values,
        "answers": {
            name: [_answer(one) for one in answers] for name, answers in measured.answers.items()
        },
        "scores": measured.scores,
        "kl_per_input": measured.kl,
        "tokens": measured.tokens,
        "own_path_per_input": as_json(measured.own_path),
        "prompt_text": recited_text(prompt_text(data.prompt), data.tools),
    }


def _answer(given: Generated) -> dict[str, Any]:
    thoughts = {"thoughts": given.thoughts} if given.thoughts else {}
    return {"text": given.text, "cut": given.cut, **thoughts}


def _source(cfg: Any, settings: Settings, plan: Plan) -> dict[str, Any]:
    return {
        "config": str(settings.config),
        "command": settings.command,
        "base_model": str(cfg.base_model),
        "adapter": str(plan.options.adapter),
        "inputs": plan.data.source,
        "prompt_id": plan.data.prompt_id,
        "action_pattern": plan.action_pattern,
        "scores": plan.named_scores,
        "max_new_tokens": settings.max_new_tokens,
        "checkpoints_on": plan.curve.data.source if plan.curve else None,
    }


def _cache_folder(cfg: Any) -> Path:
    """Beside the prepared data, like the targets of the trainer's teacher."""
    folder = Path(cfg.get("dataset_prepared_path") or DEFAULT_PREPARED_PATH)
    return (folder.parent if folder.name.startswith(PREFIX) else folder) / FOLDER
