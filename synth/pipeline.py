"""All rows through all stages, side by side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from synth.engines.base import Engine
from synth.errors import RowError, SynthError
from synth.fingerprint import row_id
from synth.inputs_file import GivenInputs
from synth.progress import Tally
from synth.rows import Rejection, Row
from synth.stages.conversations import conversations
from synth.stages.inputs import inputs
from synth.stages.outputs import outputs
from synth.stages.reasons import reasons
from synth.store import Generate, Store, cached
from synth.taskfile import Task
from synth.together import both

# Rows under way at once: enough to fill any batch, few enough to hold in memory.
IN_FLIGHT = 256
# After so many rejected rows a run stops when at most this share came through their stage.
ENOUGH = 20
ALIVE = 0.05


@dataclass(frozen=True)
class Models:
    """Who answers. Floor and teacher are the target; the generator does the rest."""

    target: Engine
    generator: Engine


class _Run:
    """One run's shared things, so that the functions below stay short."""

    def __init__(self, task: Task, models: Models, store: Store, tally: Tally, seed: int) -> None:
        self.task = task
        self.store = store
        self.tally = tally
        self.seed = seed
        self._models = models

    def target(self, stage: str) -> Generate:
        return cached(self._models.target, self.store, stage, self.tally.heard)

    def generator(self, stage: str) -> Generate:
        return cached(self._models.generator, self.store, stage, self.tally.heard)

    def reject(self, rejection: Rejection) -> None:
        self.store.add_rejection(rejection)
        self.tally.stages[rejection.stage].rejected[rejection.reason] += 1


async def synthesize(
    task: Task,
    models: Models,
    store: Store,
    tally: Tally,
    seed: int = 0,
    given: GivenInputs | None = None,
) -> None:
    """Make the dataset's rows in `store`.

    Each row goes through its stages as soon as it can, whatever the others do. Every answer is
    in the store before it is used, so a run that was stopped goes on where it was; finished
    rows are made again from the stored answers.

    Args:
        task: what to make.
        models: who answers.
        store: holds answers, and afterwards rows and rejections.
        tally: counts; shown elsewhere.
        seed: of everything that is drawn.
        given: inputs in place of generated ones.

    Raises:
        SynthError: no request can be answered, there are too few inputs, or (almost) no row
            comes through.
    """
    store.start_run()
    run = _Run(task, models, store, tally, seed)
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def finish(row: Row) -> None:
        try:
            await _make_row(run, row)
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as group, contextlib.aclosing(_texts(run, given)) as texts:
            position = 0
            async for text in texts:
                await slots.acquire()
                group.create_task(finish(_new_row(task, position, text)))
                position += 1
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    if not tally.stages["conversations"].done:
        raise _no_rows(tally)


async def _texts(run: _Run, given: GivenInputs | None) -> AsyncGenerator[str, None]:
    stage = run.tally.stages["inputs"]
    if given is not None:
        for duplicate in given.duplicates:
            run.reject(duplicate)
        for text in given.texts:
            stage.done += 1
            yield text
        return
    made = inputs(run.task, run.generator("inputs"), run.seed, run.reject)
    async with contextlib.aclosing(made):
        async for text in made:
            stage.done += 1
            yield text


def _new_row(task: Task, position: int, text: str) -> Row:
    name = task.prompt_id
    return Row(position, row_id(name, text), name, task.prompt, text)


async def _make_row(run: _Run, row: Row) -> None:
    """Bring one row to the store: finished, or rejected with its reason."""
    stages = run.tally.stages
    stage = "outputs"
    try:
        row = await outputs(row, run.target(stage), run.task, run.seed)
        stages[stage].done += 1
        stage = "reasons"  # the only one of the two that rejects
        explained, talked = await both(_explain(run, row), _talk(run, row))
    except RowError as error:
        run.reject(Rejection(stage, row.position, error.reason, error.detail, _made(row)))
        _check_alive(run.tally, stage)
        return
    run.store.add_row(replace(talked, reason=explained.reason))
    run.tally.ends[talked.conversation_end] += 1
    stages["conversations"].done += 1


async def _explain(run: _Run, row: Row) -> Row:
    row = await reasons(row, run.generator("reasons"), run.task, run.seed)
    run.tally.stages["reasons"].done += 1
    return row


async def _talk(run: _Run, row: Row) -> Row:
    stage = "conversations"
    return await conversations(row, run.target(stage), run.generator(stage), run.task, run.seed)


def _made(row: Row) -> dict[str, object]:
    """What there is of a rejected row, without the prompt."""
    made: dict[str, object] = {"id": row.id, "input": row.input}
    for name in ("floor_output", "teacher_output", "reason"):
        if getattr(row, name):
            made[name] = getattr(row, name)
    return made


def _check_alive(tally: Tally, stage: str) -> None:
    """Stop when a stage lets (almost) nothing through; rows it has yet to see count neither way."""
    passed, rejected = tally.stages[stage].done, tally.stages[stage].rejected.total()
    if rejected >= ENOUGH and passed <= ALIVE * (passed + rejected):
        raise _no_rows(tally)


def _rejected_rows(tally: Tally) -> int:
    return sum(t.rejected.total() for stage, t in tally.stages.items() if stage != "inputs")


def _no_rows(tally: Tally) -> SynthError:
    done, rejected = tally.stages["conversations"].done, _rejected_rows(tally)
    reasons = "\n".join(
        f"  {stage}: {count} x {reason}"
        for stage, counts in tally.stages.items()
        if stage != "inputs"
        for reason, count in counts.rejected.most_common(5)
    )
    return SynthError(
        f"{done} of {done + rejected} rows came through; the others were rejected:\n{reasons}",
        "Answers that are empty point to the model or its chat template; answers that were cut, "
        "to `max_tokens` (for example --set outputs.max_tokens=2048). "
        "Look at a few with: python -m synth preview TASK --model MODEL -n 3",
    )


def _first(errors: BaseExceptionGroup) -> BaseException:
    """The error to show of several: what stops a run comes before what follows from it."""
    leaves: list[BaseException] = []
    for error in errors.exceptions:
        leaves.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    # A defect of ours must not hide behind a user's error.
    defects = [error for error in leaves if not isinstance(error, SynthError)]
    return (defects or leaves)[0]
