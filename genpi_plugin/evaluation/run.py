"""One evaluation from config to report."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .. import marks
from ..manifest import read_manifest
from ..prepared import DEFAULT_PREPARED_PATH, PREFIX, describe_prompt
from ..rows import prompt_text
from .adapters import check_adapter, checkpoints, name_adapters
from .cache import FOLDER, Cache, code_mark
from .context import Context, Options, Section, as_json
from .curve import checkpoint_name, summarize_checkpoints
from .data import HeldOut, held_out, task_of, validation
from .gate import Requirement, check_names, known_figures
from .load import load_config
from .measure import Measured
from .names import FLOOR, TEACHER
from .prompts import read_prompts
from .report import show, write
from .scores import Score, make_scores
from .sections import SECTIONS
from .summary import summarize
from .systems import Lab, System, measure_systems, plan
from .task_scores import read_scores, scores_mark, task_scores

PACKAGES = ("axolotl-genpi", "axolotl", "transformers", "peft", "torch")


@dataclass(frozen=True)
class Settings:
    """What the command line says; `docs/evaluation.md` tells what each option does."""

    config: Path
    base_model: str | None = None
    adapters: tuple[Path, ...] = ()
    inputs_file: Path | None = None
    also_prompts: tuple[Path, ...] = ()
    with_checkpoints: bool = False
    limit: int | None = None
    action_pattern: str | None = None
    scores_file: Path | None = None
    max_new_tokens: int = 256
    batch_size: int = 16
    seed: int = 0
    skip: tuple[str, ...] = ()
    output: Path | None = None
    options: Options = field(default_factory=Options)
    requirements: tuple[Requirement, ...] = ()
    command: str = ""


def evaluate(settings: Settings) -> dict[str, Any]:
    """Evaluate adapters and write the report; returns what `metrics.json` holds.

    Raises:
        GenPIError: no adapter, or one of another model; no inputs; a dataset that can't be read;
            a requirement of a figure that there will not be.
    """
    console = Console()
    started = time.monotonic()
    cfg = load_config(
        settings.config, {"base_model": settings.base_model} if settings.base_model else {}
    )
    task = task_of(cfg)
    pattern = settings.action_pattern or task.get("action_pattern")
    named, schemas = _named_scores(settings, cfg, task)
    scores = {**make_scores(pattern), **task_scores(named, schemas)}
    data = held_out(cfg, settings.inputs_file, settings.limit)
    adapters = name_adapters(settings.adapters or (Path(cfg.output_dir),))
    others = read_prompts(
        settings.also_prompts, task.get("prompt_role", "system"), [TEACHER, FLOOR, *adapters]
    )
    systems = plan(data.prompt, adapters, others)
    options = replace(
        settings.options,
        dataset=Path(str(cfg["datasets"][0]["path"])),
        adapter=next(iter(adapters.values())),
        base_model=str(cfg.base_model),
    )
    sections = [section for section in SECTIONS if section.name not in settings.skip]
    check_names(
        settings.requirements,
        known_figures(
            list(scores), list(adapters), [s.name for s in systems],
            [*(s.name for s in sections), *(["checkpoints"] * settings.with_checkpoints)],
        ),
    )  # fmt: skip
    warnings = _warnings(data, adapters, str(cfg.base_model))
    for line in warnings:
        console.print(f"[bold red]Warning:[/] {line}")
    curve = _curve(settings, cfg, data)
    lab = Lab(cfg, next(iter(adapters.values())), settings.batch_size)
    cache = Cache(_cache_folder(cfg))
    with _progress(console) as progress:
        measured = measure_systems(
            lab, cache, data.inputs, systems, scores, settings.max_new_tokens, progress
        )
        metrics = summarize(measured, {n: str(f) for n, f in adapters.items()}, settings.seed)
        details = _details(measured, data)

        @functools.cache
        def context() -> Context:
            teacher, floor, *rest = [lab.subject(system) for system in systems]
            students = rest[: len(adapters)]
            return Context(data, teacher, floor, students, measured, scores,
                           settings.max_new_tokens, progress, settings.seed)  # fmt: skip

        facts = {
            **lab.facts,
            "code": code_mark(),
            "systems": [(system.name, system.facts()) for system in systems],
            "inputs": data.inputs,
            "conversations": data.conversations,
            "scores": [pattern, scores_mark(named, schemas)],
            "max_new_tokens": settings.max_new_tokens,
            "seed": settings.seed,
        }
        for section in sections:
            kept = _measured_section(section, context, options, settings.seed, cache, facts)
            if kept is not None:
                figures = kept["figures"]
                if section.name == "cost":  # beside the tokens of a request
                    figures = {**metrics["cost"], **figures}
                metrics[section.name] = figures
                details[section.details or section.name] = kept["details"]
        if curve:
            metrics["checkpoints"] = _measured_curve(lab, cache, *curve, scores, settings, progress)
    metrics |= {
        "versions": {name: version(name) for name in PACKAGES},
        "source": {
            "config": str(settings.config),
            "command": settings.command,
            "base_model": str(cfg.base_model),
            "adapter": str(next(iter(adapters.values()))),
            "inputs": data.source,
            "prompt_id": data.prompt_id,
            "action_pattern": pattern,
            "scores": named,
            "max_new_tokens": settings.max_new_tokens,
            "checkpoints_on": curve[0].source if curve else None,
        },
        "warnings": warnings,
        "seconds": round(time.monotonic() - started, 1),
    }
    folder = settings.output or Path(cfg.output_dir) / "report"
    write(folder, metrics, details, measured)
    show(console, metrics)
    if cache.found:
        console.print(
            f"{cache.found} of {cache.found + cache.made} parts were measured before "
            f"({cache.folder}; delete it to measure them anew)."
        )
    console.print(f"Report: {folder / 'report.md'}, figures: {folder / 'metrics.json'}")
    return metrics


def _named_scores(
    settings: Settings, cfg: Any, task: dict[str, Any]
) -> tuple[dict[str, Any], Path]:
    """The scores that a file or the task names, and the folder their schemas are in."""
    if settings.scores_file:
        return read_scores(settings.scores_file), settings.scores_file.parent
    return task.get("scores") or {}, Path(str(cfg["datasets"][0]["path"]))


def _warnings(data: HeldOut, adapters: dict[str, Path], base_model: str) -> list[str]:
    found = []
    if data.seen:
        found.append(
            f"{data.seen} of {len(data.inputs)} inputs stand in the training split too: the "
            "figures are not of held-out inputs."
        )
    for folder in adapters.values():
        found += check_adapter(folder, base_model)
        manifest = read_manifest(folder)
        known = {prompt["sha256"] for prompt in manifest["prompts"]} if manifest else set()
        if known and describe_prompt(data.prompt_id, data.prompt)["sha256"] not in known:
            found.append(
                f"the prompt of this evaluation is not the one in the manifest of {folder}: you "
                "are evaluating against a different prompt."
            )
    return found


def _curve(settings: Settings, cfg: Any, data: HeldOut) -> tuple[HeldOut, dict[int, Path]] | None:
    """Inputs to choose a checkpoint on, and the checkpoints; None when not asked for."""
    if not settings.with_checkpoints:
        return None
    folders = checkpoints(Path(cfg.output_dir))
    for folder in folders.values():
        check_adapter(folder, str(cfg.base_model))
    own_inputs = settings.inputs_file is not None
    return validation(cfg, data, own_inputs, settings.limit), folders


def _measured_curve(
    lab: Lab,
    cache: Cache,
    data: HeldOut,
    folders: dict[int, Path],
    scores: dict[str, Score],
    settings: Settings,
    progress: Any,
) -> list[dict[str, Any]]:
    students = [System(checkpoint_name(step), adapter=path) for step, path in folders.items()]
    systems = [*plan(data.prompt, {}, {}), *students]
    measured = measure_systems(
        lab, cache, data.inputs, systems, scores, settings.max_new_tokens, progress
    )
    return summarize_checkpoints(measured, folders, settings.seed)


def _measured_section(
    section: Section,
    context: Callable[[], Context],
    options: Options,
    seed: int,
    cache: Cache,
    facts: dict[str, Any],
) -> Any:
    """{"figures", "details"} of a section; None where there is nothing to measure."""

    def made() -> Any:
        seen = section.measure(context(), options)
        if seen is None:
            return None
        return {"figures": section.summarize(seen, seed), "details": as_json(seen)}

    depends = section.depends(options)
    listed = depends if isinstance(depends, list | tuple) else [depends]
    known = [marks.of_files([one]) if isinstance(one, Path) and one.is_file() else one
             for one in listed]  # fmt: skip
    return cache.part(section.name, {**facts, "depends": known}, made)


def _details(measured: Measured, data: HeldOut) -> dict[str, Any]:
    return {
        "inputs": measured.inputs,
        "answers": {
            name: [{"text": one.text, "cut": one.cut} for one in answers]
            for name, answers in measured.answers.items()
        },
        "scores": measured.scores,
        "kl_per_input": measured.kl,
        "tokens": measured.tokens,
        "prompt_text": prompt_text(data.prompt),
    }


def _cache_folder(cfg: Any) -> Path:
    """Beside the prepared data, where the trainer's teacher keeps its targets, too."""
    folder = Path(cfg.get("dataset_prepared_path") or DEFAULT_PREPARED_PATH)
    return (folder.parent if folder.name.startswith(PREFIX) else folder) / FOLDER


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
