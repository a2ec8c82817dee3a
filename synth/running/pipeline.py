"""All rows through all stages, side by side."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from dataclasses import replace

from genpi_plugin.data.inputs.given import GivenInput, GivenInputs
from synth.errors import LimitReached, RequestError, RowError, SynthError
from synth.progress.progress import Tally
from synth.quality.chosen import INPUTS
from synth.quality.role_markers import check_given
from synth.running.budget import Budget
from synth.running.limits import FAILURE_RATE
from synth.running.models import Models
from synth.running.state import RunState
from synth.stages.concurrency import gather_all
from synth.stages.given import given_row
from synth.stages.inputs import inputs
from synth.stages.share import in_share, makes_for_recitals_alone
from synth.stages.slots import with_values, with_written
from synth.stages.stage import Stage
from synth.stages.turns import in_agreement
from synth.store.rows import (
    COLUMNS,
    OPTIONAL,
    RECITED,
    TEXTS,
    Rejection,
    Row,
    made_of,
    without_reason,
)
from synth.store.store import Store
from synth.task.taskfile import Task

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
        async with asyncio.TaskGroup() as group, contextlib.aclosing(_given(run, given)) as found:
            position = 0
            with contextlib.suppress(LimitReached):  # rows under way go on until they ask again
                run.task = task = await with_written(task, run.generator(INPUTS), seed)
                async for one in found:
                    await slots.acquire()
                    line = None if given is None else one.place
                    row = with_values(given_row(task, position, one), task, seed)
                    group.create_task(finish(row, line))
                    position += 1
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    run.note_tokens()
    if budget is not None and budget.refused:
        raise budget.reached(tally)
    if not tally.rows:
        raise run.no_rows()


async def _given(run: RunState, given: GivenInputs | None) -> AsyncGenerator[GivenInput, None]:
    """Generated inputs, or the user's own."""
    stage = run.tally.stages[INPUTS]
    if given is not None:
        for one in given.inputs:
            stage.done += 1
            yield one
        for twin in given.duplicates:
            why = f"the same as {given.unit} {twin.of}"
            run.reject(Rejection(INPUTS, twin.place, "duplicate", why, {"text": twin.text}))
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
            yield GivenInput(text)


async def _make_row(run: RunState, row: Row, line: int | None) -> None:
    """Bring one row to the store: finished, rejected with its reason, or pending.

    Args:
        run: the run.
        row: holds its input.
        line: the input's line among the user's own; None for a generated one, which the filters
            have seen.
    """
    last = run.plan.names[-1]
    skipped: set[str] = set()
    try:
        if line is not None:
            with _at(INPUTS):
                run.plan.filters.check_given(row)
        for wave in run.plan.waves:
            skipped |= {stage.name for stage in wave if _is_skipped(run, stage, row)}
            stages = [stage for stage in wave if stage.name not in skipped]
            made = await gather_all(*(_through(run, stage, row) for stage in stages))
            # Each has filled in its own fields.
            for stage, one in zip(stages, made, strict=True):
                row = replace(row, **{name: getattr(one, name) for name in stage.makes})
                row = in_agreement(row, stage.makes)
                row = replace(row, lost=one.lost or row.lost)
            if row.lost is not None:  # also where another stage gave it a reason meanwhile
                row = replace(row, reason="")
            for name in skipped.intersection(stage.name for stage in wave) - {last}:
                run.tally.stages[name].skip()
        with _at(last):
            _check_whole(row, run.plan.waves, skipped)
            row = run.plan.filters.check(row, "", last)
    except LimitReached:
        run.ended(row, None)
        return
    except RequestError as error:
        run.fail(f"Row {row.position + 1}", error.stage, error)
        run.ended(row, None)
        return
    except RowError as error:
        place = line if error.stage == INPUTS and line is not None else row.position
        made_of_it = made_of(row) | error.made
        run.reject(
            Rejection(error.stage, place, error.reason, error.detail, made_of_it, error.filter)
        )
        run.ended(row, False)
        return
    run.keep(row)
    if last in skipped:
        run.tally.stages[last].skip()
    else:
        run.tally.stages[last].done += 1
    run.ended(row, True)


async def _through(run: RunState, stage: Stage, row: Row) -> Row:
    """The row behind one stage and the filters that judge there.

    Where the stage makes nothing but what recitals need, it costs the row no more than that.
    """
    with _at(stage.name):
        try:
            row = await _judged(run, stage, row)
        except RowError as error:
            if not makes_for_recitals_alone(stage.makes):
                raise
            row = without_reason(row, stage.name, error, stage.makes)
    if stage.name != run.plan.names[-1]:  # the last is done when the row is
        run.tally.stages[stage.name].done += 1
    return row


async def _judged(run: RunState, stage: Stage, row: Row) -> Row:
    """The row as a stage and its filters leave it; see `Filters.check` for what is raised."""
    row = await stage(row, run.ask(stage.name))
    try:
        return run.plan.filters.check(row, stage.name)
    except RowError as error:
        shown = [str(getattr(row, name)) for name in stage.makes if name in TEXTS]
        if not error.detail and shown:
            error.detail = f"It is: {shown[-1][:200]!r}"
        error.made = {name: getattr(row, name) for name in stage.makes if name in TEXTS}
        raise


def _is_skipped(run: RunState, stage: Stage, row: Row) -> bool:
    """Whether a stage is for rows with a reason, and this row has none or is to have none."""
    if any(name in stage.needs and not getattr(row, name) for name in TEXTS if name in RECITED):
        return True
    wanted = in_share(row, run.task.config.reasons.share) and row.lost is None
    return not wanted and makes_for_recitals_alone(stage.makes)


def _check_whole(row: Row, waves: Sequence[Sequence[Stage]], skipped: Collection[str]) -> None:
    """Check that a row that went past a stage has what every row has.

    Raises:
        RowError: that stage alone would have made it.
    """
    for stage in itertools.chain.from_iterable(waves):
        missing = [name for name in stage.makes if name in COLUMNS
                   and name not in (*RECITED, *OPTIONAL) and not getattr(row, name)]  # fmt: skip
        if missing and stage.name in skipped:
            needs = ", ".join(name for name in stage.needs if name in RECITED)
            raise RowError(
                f"no {missing[0]} without a reason",
                f"{stage.name} makes it and needs {needs}, which the row has not: see "
                "`reasons.share`.",
            )


@contextlib.contextmanager
def _at(stage: str) -> Iterator[None]:
    """Note the stage on an error that ends one row's way."""
    try:
        yield
    except (RowError, RequestError) as error:
        error.stage = stage
        raise


def _first(errors: BaseExceptionGroup) -> BaseException:
    """The error to show of several: what stops a run comes before what follows from it."""
    leaves: list[BaseException] = []
    for error in errors.exceptions:
        leaves.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    # A defect of ours must not hide behind a user's error.
    defects = [error for error in leaves if not isinstance(error, SynthError)]
    return (defects or leaves)[0]
