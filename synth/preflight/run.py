"""From a few inputs: rows up to their reasons, scores, a few conversations, and what they cost.

Every row that is looked at has a floor output and a reason, so that the figures are of all of them;
what a run costs is reckoned with the share that it makes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from genpi_plugin.data.inputs.given import GivenInput, GivenInputs
from synth.dataset.summary import count_values
from synth.dataset.tool_use import ToolUse
from synth.engines.base import OVERLONG, Engine
from synth.errors import SynthError
from synth.preflight.found import Preflight, Scored
from synth.preflight.measure import measure
from synth.progress.progress import ROLES, Tally, live_view
from synth.quality.chosen import INPUTS
from synth.quality.dedup import NEAR, shingles, similarity
from synth.running.models import Models
from synth.running.pipeline import synthesize
from synth.running.prompt_check import check_prompt
from synth.running.run import for_target, open_engines
from synth.running.settings import RunSettings
from synth.stages.given import given_row
from synth.stages.plan import plan_of
from synth.stages.requests import floor_request
from synth.stages.slots import with_values
from synth.store.fingerprint import request_key
from synth.store.rows import Row
from synth.store.store import Store
from synth.task.given import read_inputs
from synth.task.taskfile import Task

TALKING = "conversations"
TALKS = 3  # rows whose conversations go to their end
log = logging.getLogger("synth")


def run_preflight(task: Task, settings: RunSettings, count: int, console: Console) -> Preflight:
    """Make `count` rows up to their reasons, kept nowhere, and look at them.

    Raises:
        SynthError: as `synth run` does.
    """
    given = None
    if settings.inputs_file is not None:
        given = read_inputs(settings.inputs_file, None, settings.reading, task).first(count)
        count = len(given.inputs)
    task = for_target(task, settings)
    return asyncio.run(_run(_short(task, count), task, settings, count, given, console))


async def _run(
    short: Task, task: Task, settings: RunSettings, count: int, given: GivenInputs | None,
    console: Console,
) -> Preflight:  # fmt: skip
    tally = Tally(count, settings.prices)
    scored, talks = None, None
    with contextlib.closing(Store(":memory:")) as store:
        async with open_engines(settings) as models:
            await check_prompt(models.target, task, settings.target.model)
            async with live_view(tally, console):
                await synthesize(
                    short, models, store, tally, settings.seed, given,
                    input_timeout=settings.input_timeout,
                )  # fmt: skip
            rows = list(store.rows())
            rejected = [
                f"{stage}: {number} x {reason}"
                for stage, reasons in store.rejected().items()
                for reason, number in reasons.items()
            ]
            too_long = sum(r.reason == OVERLONG for r in store.rejections())
            lost = store.lost()
            spared = _spared(task, models, store, tally, settings.seed, rows, given)
            if rows:
                scored = await _score(models.target, rows, task)
                talks = await _talk(task, models, store, settings, rows[:TALKS], given)
    with_floor = [row for row in rows if row.floor_output]
    return Preflight(
        count,
        len(rows),
        scored,
        _well_formed(rows, task.config.action_pattern),
        sum(map(_alike, with_floor)) / len(with_floor) if with_floor else None,
        len(with_floor),
        too_long,
        *_cost(tally, talks, spared, task.config.inputs.count, count),
        talks is not None or not _talks(task),
        rejected,
        sum(bool(row.reason) for row in rows),
        lost,
        tally.uncounted,
        tally.thoughts,
        task.config.thinking,
        _values(rows),
        _tool_use(rows),
    )


def _values(rows: Sequence[Row]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for row in rows:
        count_values(row, found)
    return found


async def _score(engine: Engine, rows: Sequence[Row], task: Task) -> Scored | None:
    try:
        return await measure(engine, rows, task)
    except SynthError as error:
        log.warning("The answers were not scored: %s", error.cause)
        return None


async def _talk(
    task: Task,
    models: Models,
    store: Store,
    settings: RunSettings,
    rows: Sequence[Row],
    inputs: GivenInputs | None,
) -> Tally | None:
    """Let a few rows go on to the end of their conversations, for what these cost.

    Returns:
        Their counts; None where there are none, or where nothing can be told from so few.
    """
    if not _talks(task):
        return None
    few = _short(task, len(rows), max_turns=task.config.conversations.max_turns)
    tally = Tally(len(rows), settings.prices)
    given = GivenInputs.of_texts([row.input for row in rows])
    if inputs is not None:
        given = replace(inputs, inputs=tuple(inputs.inputs[row.position] for row in rows))
    try:
        await synthesize(few, models, store, tally, settings.seed, given)
    except SynthError:
        return None
    return tally


def _talks(task: Task) -> bool:
    """Whether conversations go on after the first answer, by the package's own stage."""
    return task.config.conversations.max_turns > 1 and TALKING in task.config.stages


def _tool_use(rows: Sequence[Row]) -> list[str]:
    used = ToolUse()
    for row in rows:
        used.add(row)
    return used.remarks()


def _alike(row: Row) -> bool:
    return similarity(shingles(row.floor_output), shingles(row.teacher_output)) >= NEAR


def _short(task: Task, count: int, max_turns: int = 1) -> Task:
    """The task with `count` inputs, conversations of so many turns, whatever their end, and reasons
    in all rows, if there are any."""
    config = task.config
    inputs = config.inputs.model_copy(update={"count": count})
    talks = config.conversations.model_copy(update={"max_turns": max_turns, "require_end": False})
    reasons = config.reasons.model_copy(update={"share": float(config.reasons.share > 0)})
    parts = {"inputs": inputs, "conversations": talks, "reasons": reasons}
    return replace(task, config=config.model_copy(update=parts))


def _well_formed(rows: Sequence[Row], pattern: str | None) -> dict[str, float]:
    if pattern is None or not rows:
        return {}
    texts = {
        "teacher": [row.teacher_output for row in rows],
        "floor": [row.floor_output for row in rows if row.floor_output],
    }
    return {
        name: sum(bool(re.search(pattern, text)) for text in found) / len(found)
        for name, found in texts.items()
        if found
    }


def _spared(
    task: Task,
    models: Models,
    store: Store,
    tally: Tally,
    seed: int,
    rows: Sequence[Row],
    given: GivenInputs | None,
) -> dict[str, tuple[float, float]]:
    """Of what was asked for the inputs that were looked at, what a run leaves out: tokens in and
    out by role. The run makes floor outputs and reasons for its share of the rows only."""
    left_out = 1 - task.config.reasons.share
    plan = plan_of(task)
    spared = {}
    for role in ROLES:
        used = [tally.stages[name].by_role[role] for name in plan.recitals]
        spared[role] = (sum(one.tokens_in for one in used), sum(one.tokens_out for one in used))
    rejected = (r for r in store.rejections() if r.stage != INPUTS and not r.kept)
    gone = (
        given_row(
            task,
            0,
            GivenInput(str(one.made["input"])) if given is None else given.inputs[one.position],
        )
        for one in rejected
        if not task.slots.wanted  # values that are not known here
    )
    for row in (*rows, *(with_values(one, task, seed) for one in gone)):
        key = request_key(models.target.identity, floor_request(row, task, seed))
        if floor := store.get(key):
            read, written = spared["target"]
            spared["target"] = (
                read + (floor.usage.prompt_tokens or 0),
                written + (floor.usage.completion_tokens or 0),
            )
    return {role: (left_out * read, left_out * out) for role, (read, out) in spared.items()}


def _cost(
    tally: Tally,
    talks: Tally | None,
    spared: dict[str, tuple[float, float]],
    wanted: int,
    count: int,
) -> tuple[dict[str, tuple[float, float]], int, float | None]:
    """Of a run of `wanted` inputs: tokens in and out by role, inputs, money.

    Args:
        tally: of `count` inputs, with conversations of one turn.
        talks: of a few of them, with whole conversations.
        spared: tokens of the former that a run does not take; see `_spared`.
        wanted: inputs of the run.
        count: inputs that were looked at.
    """
    tokens = {}
    for role in ROLES:
        used = [counts.by_role[role] for counts in tally.stages.values()]
        parts = [(used, wanted / count)]
        if talks is not None:
            parts.append(([talks.stages[TALKING].by_role[role]], wanted / talks.total))
        tokens[role] = (
            sum(times * one.tokens_in for part, times in parts for one in part)
            - spared[role][0] * wanted / count,
            sum(times * one.tokens_out for part, times in parts for one in part)
            - spared[role][1] * wanted / count,
        )
    whole = {role: (round(each[0]), round(each[1])) for role, each in tokens.items()}
    return tokens, wanted, tally.prices.of(whole)
