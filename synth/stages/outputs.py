"""Stage 2: the target model answers the input without the prompt and with it.

Source: "pseudo output generation" of Generative Prompt Internalization (arXiv 2411.15927).
"""

from __future__ import annotations

from dataclasses import replace

from synth.engines.base import Answer, Message, Request
from synth.errors import RowError
from synth.quality.filters import some_answer, whole_answer
from synth.stages.concurrency import gather_all
from synth.stages.share import in_share
from synth.stages.stage import Ask, stage
from synth.store.rows import Row, without_reason
from synth.task.taskfile import Task
from synth.task.templates import teacher_messages


@stage(needs=["prompt", "input"], makes=["floor_output", "floor_cut", "teacher_output"])
async def outputs(row: Row, ask: Ask) -> Row:
    """Fill in `teacher_output`, and `floor_output` in the share of rows that have a reason.

    The token limit may cut the floor output, which is shown and never trained on: without its
    prompt a model often rambles. Such rows are counted. A row whose floor output is empty, or is
    refused, goes on without it (`lost`), and without a reason.

    Raises:
        RowError: the teacher output is empty, or the token limit cut it.
    """
    question = (Message("user", row.input),)
    how = ask.task.config.outputs.sampling
    with_floor, teacher = await gather_all(
        _floor(row, ask),
        ask.target(Request(teacher_messages(row.prompt, question), how, ask.seed)),
    )
    assert isinstance(with_floor, Row)
    assert isinstance(teacher, Answer)
    try:
        text = whole_answer(teacher, "teacher output", "outputs.max_tokens")
    except RowError as error:
        floor = with_floor.floor_output
        error.made = {"teacher_output": teacher.text.strip()}
        error.made |= {"floor_output": floor} if floor else {}
        raise
    return replace(with_floor, teacher_output=text)


def floor_request(text: str, task: Task, seed: int) -> Request:
    """What the target is asked for the floor output of an input."""
    return Request((Message("user", text),), task.config.outputs.sampling, seed)


async def _floor(row: Row, ask: Ask) -> Row:
    """The row with its floor output if it is to have one, or with why there is none."""
    if not in_share(row, ask.task.config.reasons.share):
        return row
    try:
        answer = await ask.target(floor_request(row.input, ask.task, ask.seed))
        text = some_answer(answer, "floor output")
    except RowError as error:
        return without_reason(row, "outputs", error)
    return replace(row, floor_output=text, floor_cut=answer.finish == "length")
