"""All rows through all stages, side by side."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace

from genpi_plugin.data.inputs.lines import GivenInputs
from synth.errors import LimitReached, RequestError, RowError, SynthError
from synth.progress.progress import Tally
from synth.quality.chosen import INPUTS
from synth.quality.role_markers import check_given
from synth.running.budget import Budget
from synth.running.limits import FAILURE_RATE
from synth.running.models import Models
from synth.running.state import RunState
from synth.stages.concurrency import gather_all
from synth.stages.inputs import inputs, new_row
from synth.stages.stage import Stage
from synth.store.rows import Rejection, Row
from synth.store.store import Store
from synth.task.taskfile import Task

# What is shown of a rejected row.
TEXTS = ("floor_output", "teacher_output", "reason")
log = logging.getLogger("synth")


async def synthesize(
    task: Task,
    models: Models,
    store: Store,
    tally: Tally,
    seed: int = 0,
    given: GivenInputs | None = None,
    max_failure_rate: float = FAILURE_RATE,
    in_flight: int | None = None,
    begin: Callable[[], None] = lambda: None,
    input_timeout: float | None = None,
    budget: Budget | None = None,
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
        max_failure_rate: share of a stage's rows that may fail (looked at after 20 rows). A row
            fails when a request of it is not answered; it is neither made nor rejected, and the
            next run asks again.
        in_flight: rows under way at once, and tries for an input; None: as many as keep the
            models busy.
        begin: called before the first thing that comes of the run, an answer for one; until then
            the store holds what it held.
        input_timeout: seconds a server has for a try for an input; None: see `inputs`.
        budget: what may be asked for. Once it is used up, what is under way ends, and rows that
            need more are left pending.

    Raises:
        LimitReached: the budget is used up.
        SynthError: no request can be answered, there are too few inputs, too many rows fail,
            (almost) no row comes through, or a filter or stage of the user's own is at fault.
    """
    in_flight = in_flight or models.rows_in_flight
    run = RunState(
        task, models, store, tally, seed, max_failure_rate, begin, in_flight, input_timeout, budget
    )
    tally.waiting = models.waiting
    tally.follow(run.plan.names, run.plan.waits)
    if given is not None:
        check_given(given, task)
    slots = asyncio.Semaphore(in_flight)

    async def finish(row: Row, line: int | None) -> None:
        try:
            await _make_row(run, row, line)
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as group, contextlib.aclosing(_texts(run, given)) as texts:
            position = 0
            with contextlib.suppress(LimitReached):  # rows under way go on until they ask again
                async for text in texts:
                    await slots.acquire()
                    line = None if given is None else given.line_numbers[position]
                    group.create_task(finish(new_row(task, position, text), line))
                    position += 1
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    if budget is not None and budget.refused:
        raise budget.reached(tally)
    if not tally.rows:
        raise run.no_rows()


async def _texts(run: RunState, given: GivenInputs | None) -> AsyncGenerator[str, None]:
    stage = run.tally.stages[INPUTS]
    if given is not None:
        for text in given.texts:
            stage.done += 1
            yield text
        for twin in given.duplicates:
            why = f"the same as {given.unit} {twin.of}"
            run.reject(Rejection(INPUTS, twin.number, "duplicate", why, {"text": twin.text}))
        return

    def fail(number: int, error: RequestError) -> None:
        run.fail(f"Try {number} for an input", INPUTS, error)

    made = inputs(
        run.task, run.generator(INPUTS), run.seed, run.reject, fail,
        run.in_flight, run.input_timeout, run.plan.filters,
    )  # fmt: skip
    async with contextlib.aclosing(made):
        async for text in made:
            stage.done += 1
            yield text


async def _make_row(run: RunState, row: Row, line: int | None) -> None:
    """Bring one row to the store: finished, rejected with its reason, or pending.

    Args:
        run: the run.
        row: holds its input.
        line: the input's line among the user's own; None for a generated one, which the filters
            have seen.
    """
    last = run.plan.names[-1]
    try:
        if line is not None:
            with _at(INPUTS):
                run.plan.filters.check_given(row)
        for wave in run.plan.waves:
            made = await gather_all(*(_through(run, stage, row) for stage in wave))
            # Each has filled in its own fields.
            for stage, one in zip(wave, made, strict=True):
                row = replace(row, **{name: getattr(one, name) for name in stage.makes})
        with _at(last):
            run.plan.filters.check(row, "")
    except LimitReached:
        run.ended(row, None)
        return
    except RequestError as error:
        run.fail(f"Row {row.position + 1}", error.stage, error)
        run.ended(row, None)
        return
    except RowError as error:
        place = line if error.stage == INPUTS and line is not None else row.position
        made_of_it = _made(row) | error.made
        run.reject(
            Rejection(error.stage, place, error.reason, error.detail, made_of_it, error.filter)
        )
        run.ended(row, False)
        return
    run.store.add_row(row)
    run.tally.ends[row.conversation_end] += 1
    run.tally.stages[last].done += 1
    run.ended(row, True)


async def _through(run: RunState, stage: Stage, row: Row) -> Row:
    """The row behind one stage and the filters that judge there."""
    with _at(stage.name):
        row = await stage(row, run.ask(stage.name))
        try:
            run.plan.filters.check(row, stage.name)
        except RowError as error:
            shown = [str(getattr(row, name)) for name in stage.makes if name in TEXTS]
            if not error.detail and shown:
                error.detail = f"It is: {shown[-1][:200]!r}"
            error.made = {name: getattr(row, name) for name in stage.makes if name in TEXTS}
            raise
    if stage.name != run.plan.names[-1]:  # the last is done when the row is
        run.tally.stages[stage.name].done += 1
    return row


@contextlib.contextmanager
def _at(stage: str) -> Iterator[None]:
    """Note the stage on an error that ends one row's way."""
    try:
        yield
    except (RowError, RequestError) as error:
        error.stage = stage
        raise


def _made(row: Row) -> dict[str, object]:
    """What there is of a rejected row, without the prompt."""
    made: dict[str, object] = {"id": row.id, "input": row.input}
    for name in TEXTS:
        if getattr(row, name):
            made[name] = getattr(row, name)
    return made


def _first(errors: BaseExceptionGroup) -> BaseException:
    """The error to show of several: what stops a run comes before what follows from it."""
    leaves: list[BaseException] = []
    for error in errors.exceptions:
        leaves.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    # A defect of ours must not hide behind a user's error.
    defects = [error for error in leaves if not isinstance(error, SynthError)]
    return (defects or leaves)[0]
