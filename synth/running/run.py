"""`synth run` and `synth preview`: engines, store, pipeline and files put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console

from genpi_plugin.data.inputs.given import GivenInputs
from genpi_plugin.data.markers import special_tokens
from synth.dataset.card import dataset_card
from synth.dataset.export import export_rejections, export_rows
from synth.dataset.provenance import Provenance, as_begun
from synth.dataset.splits import record_exported
from synth.dataset.summary import Summary, summarize
from synth.durations import duration
from synth.engines.base import Engine
from synth.engines.models import ModelSpec, open_engine
from synth.errors import SynthError
from synth.progress.cost import read_cost, recorded, spent
from synth.progress.progress import Tally, live_view
from synth.quality.calls import tool_notes
from synth.quality.dedup import NEAR, groups, joined
from synth.quality.role_markers import marker_notes
from synth.quality.thoughts import thought_notes
from synth.report.page import REPORT, report_page
from synth.running.budget import Budget
from synth.running.models import Models
from synth.running.pipeline import synthesize
from synth.running.settings import RunSettings
from synth.running.target import (
    check_logprobs,
    target_settings,
    tokenizer_note,
    with_usual_off,
)
from synth.secrets import redactor
from synth.stages.plan import plan_of
from synth.store.fingerprint import prompt_hash
from synth.store.folder import STORE, check_ours, locked, logged, replace_text
from synth.store.rows import Rejection, Row
from synth.store.schema import SCHEMA_VERSION
from synth.store.store import Store
from synth.task.given import described, logs_of, read_inputs
from synth.task.placeholders import placeholder_notes
from synth.task.seeds import seed_notes
from synth.task.taskfile import Task

log = logging.getLogger("synth")


def run(
    task: Task,
    settings: RunSettings,
    folder: Path,
    console: Console,
    resume_changed: bool = False,
    run_async: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run,
) -> Summary:
    """Make the dataset in `folder`, or go on making it.

    Args:
        task: what to make.
        settings: with what.
        folder: where.
        console: where progress is shown.
        resume_changed: an earlier run in the folder may have had other settings.
        run_async: runs the coroutine that asks the models; it may raise KeyboardInterrupt.

    Raises:
        SynthError: see `synth.folder`, `synth.pipeline` and the engines.
        LimitReached: the folder has taken what `settings.limits` allow.
    """
    settings.limits.check(settings.prices)
    check_logprobs(task, settings.target)
    given = _given(task, settings)
    task = for_target(task, settings)
    check_ours(folder)
    with locked(folder), logged(folder), contextlib.closing(Store(folder / STORE)) as store:
        task = with_usual_off(task, settings.target, folder, run_async)
        task = task if resume_changed else as_begun(task, folder, store)
        config = resolved(task, settings)
        record_exported(folder, store)
        provenance = Provenance(folder, config, store, resume_changed)
        provenance.check()
        log.info("%s: %d rows wanted in %s", task.config.name, task.config.inputs.count, folder)
        tally = Tally(task.config.inputs.count, settings.prices)
        recording = recorded(tally, folder)
        budget = _budget(settings, folder)
        try:
            run_async(
                _make(task, settings, store, tally, given, console, recording, provenance, budget)
            )
        except SynthError as error:
            tally.log_state()
            log.error("stopped: %s", error)
            raise
        except KeyboardInterrupt:
            tally.log_state()
            log.error("interrupted")
            raise
        heads = groups([row.input for row in store.rows()], NEAR)
        whole = not sum(tally.failed.values())
        together = joined(heads, logs_of([row.position for row in store.rows()], given))
        splits = export_rows(store, folder, task.config.split.test, settings.seed, together, whole)
        export_rejections(store, folder / "rejected.jsonl", task.config.stage_names)
        summary = summarize(task.config, store, splits, tally.failed, heads, tally.thoughts)
        replace_text(folder / "README.md", dataset_card(config, summary, tally.models))
        replace_text(folder / REPORT, report_page(config, store, summary, read_cost(folder)))
        log.info("done in %s: %s", duration(tally.seconds), tally.line())
        return summary


def preview(
    task: Task,
    settings: RunSettings,
    console: Console,
    show_row: Callable[[Row], None],
    show_rejection: Callable[[Rejection], None],
) -> Summary:
    """Make a few whole rows by the path of `run`, kept nowhere, and show what was made.

    Raises:
        SynthError: as `run` does; what was made until then has been shown.
    """
    check_logprobs(task, settings.target)
    given = _given(task, settings)
    task = with_usual_off(for_target(task, settings), settings.target)
    with contextlib.closing(Store(":memory:")) as store:
        tally = Tally(task.config.inputs.count, settings.prices)
        try:
            asyncio.run(_make(task, settings, store, tally, given, console))
        finally:
            for row in store.rows(tops=True):
                show_row(row)
            for rejection in store.rejections(task.config.stage_names):
                show_rejection(rejection)
        return summarize(task.config, store, {}, tally.failed, thoughts=tally.thoughts)


def resolved(task: Task, settings: RunSettings) -> dict[str, Any]:
    """The content of synth.yaml: everything that determines the rows, then `run`, which does not.

    The plugin's evaluation reads `task.action_pattern` from it.
    """
    code = plan_of(task).sources
    return {
        "task": task.config.model_dump(mode="json"),
        "prompt": {"id": task.prompt_id, "sha256": prompt_hash(task.prompt, task.tools)},
        "target": target_settings(task, settings.target),
        "generator": settings.generator.identity_settings(),
        "seed": settings.seed,
        "inputs_file": None
        if settings.inputs_file is None
        else described(settings.inputs_file, settings.reading, task),
        # What a filter or stage of the user's own was when the rows were made.
        **({"code": dict(code)} if code else {}),
        # What the files and functions were that slots' values come from.
        **({"slots": dict(task.slots.sources)} if task.slots.sources else {}),
        "run": {
            "command": settings.command,
            "target": settings.target.connection_settings(),
            "generator": settings.generator.connection_settings(),
            "concurrency": settings.concurrency,
            "batch_size": settings.batch_size,
            "ray": settings.ray,
            "format": SCHEMA_VERSION,
            "versions": _versions(settings),
        },
    }


def for_target(task: Task, settings: RunSettings) -> Task:
    """The task with what the target's tokenizer reads as control tokens, where that is known."""
    known = settings.target.known_tokenizer
    return replace(task, special_tokens=special_tokens(known)) if known else task


def _given(task: Task, settings: RunSettings) -> GivenInputs | None:
    if settings.inputs_file is None:
        return None
    return read_inputs(settings.inputs_file, task.config.inputs.count, settings.reading, task)


async def _make(
    task: Task,
    settings: RunSettings,
    store: Store,
    tally: Tally,
    given: GivenInputs | None,
    console: Console,
    recording: contextlib.AbstractAsyncContextManager[None] | None = None,
    provenance: Provenance | None = None,
    budget: Budget | None = None,
) -> None:
    notes = (
        *tool_notes(task.tools, task.prompt),
        *marker_notes(task),
        *thought_notes(task),
        *placeholder_notes(task),
    )
    if tokens := tokenizer_note(settings.target):
        log.info(tokens)
    for note in (*(given.notes if given else seed_notes(task)), *notes):
        log.warning(note)
    recording = recording or contextlib.nullcontext()
    async with recording, open_engines(settings) as models, live_view(tally, console):
        tally.models = {
            "target": redactor.arguments(models.target.identity),
            "generator": redactor.arguments(models.generator.identity),
        }
        if provenance is not None:
            provenance.check_models(tally.models)
        await synthesize(
            task,
            models,
            store,
            tally,
            settings.seed,
            given,
            settings.max_failure_rate,
            begin=provenance.begin if provenance is not None else lambda: None,
            input_timeout=settings.input_timeout,
            budget=budget,
        )


def _budget(settings: RunSettings, folder: Path) -> Budget:
    """What this run may take of what the folder may take."""
    return Budget(settings.limits, settings.prices, spent(read_cost(folder)))


@contextlib.asynccontextmanager
async def open_engines(settings: RunSettings) -> AsyncIterator[Models]:
    """Both engines, which are one where target and generator are the same model."""
    opened: list[Engine] = []
    try:
        specs = [settings.target]
        if settings.generator != settings.target:
            # What it writes is not trained as tokens.
            specs.append(replace(settings.generator, tokenizer=""))
        for spec in specs:
            opened.append(_open(spec, settings, len(specs)))
        yield Models(opened[0], opened[-1], bool(settings.target.known_tokenizer))
    finally:
        for engine in opened:
            await engine.close()


def _open(spec: ModelSpec, settings: RunSettings, models: int) -> Engine:
    if settings.ray is None:
        return open_engine(spec, settings.concurrency, settings.batch_size)
    try:
        from synth.engines.ray import RayEngine
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise SynthError(
            "--ray needs Ray, which is not installed.", "pip install 'axolotl-genpi[ray]'"
        ) from None
    return RayEngine(
        spec,
        settings.concurrency,
        settings.batch_size,
        settings.ray,
        settings.ray_workers,
        models,
    )


def _versions(settings: RunSettings) -> dict[str, str]:
    names = ["axolotl-genpi"]
    engines = {settings.target.engine, settings.generator.engine}
    names += ["ray"] if settings.ray is not None else []
    names += ["openai"] if "openai" in engines else []
    names += ["torch", "transformers"] if engines & {"transformers", "vllm"} else []
    names += ["vllm"] if "vllm" in engines else []
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
