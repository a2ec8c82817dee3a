"""Stage 2: the target model answers the input without the prompt and with it.

Source: "pseudo output generation" of Generative Prompt Internalization (arXiv 2411.15927).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from synth.engines.base import Answer
from synth.errors import RowError
from synth.quality.filters import CUT_THINKING, THINKING_CURE, some_answer, whole_answer
from synth.quality.thoughts import check_off, own_texts
from synth.stages.concurrency import gather_all
from synth.stages.requests import floor_request, teacher_request
from synth.stages.share import in_share
from synth.stages.stage import Ask, stage
from synth.stages.turns import FIRST, answer_of, turn_of
from synth.store.rows import FROM_LOG, Row, without_reason
from synth.task.taskfile import Task

TOKENS = "outputs.max_tokens"


@stage(
    needs=["prompt", "input"],
    makes=[
        *("floor_output", "floor_cut", "teacher_output"),
        *("conversation", "conversation_end", "token_ids", "tokenizer", "tops"),
    ],
)
async def outputs(row: Row, ask: Ask) -> Row:
    """Fill in `teacher_output` and begin the conversation with it; fill in `floor_output` in the
    share of rows that have a reason.

    The token limit may cut the floor output, which is shown and never trained on: without its
    prompt a model often rambles. Such rows are counted. A row whose floor output is empty, or is
    refused, goes on without it (`lost`), and without a reason. Where the answers of a log are
    kept, the teacher is not asked.

    Raises:
        RowError: the teacher output is empty, the token limit cut it, or it thinks where it is not
            to.
    """
    if row.conversation_end == FROM_LOG:
        logged = answer_of(row.conversation[0], own_texts(ask.task, "target"))
        check_off(logged, ask.task, "teacher output")
        if row.tools or not logged.tool_calls:
            whole_answer(logged, "teacher output", TOKENS, row.tools)
        floor, fault = await _floor(row, ask)
        return _with_floor(row, floor, fault)
    request = teacher_request(row, ask.task, ask.seed)
    # `_floor` gives back its fault, which costs no row; what the teacher's raises does.
    found: list[Any] = await gather_all(_floor(row, ask), ask.target(request))
    (floor, fault), teacher = found
    shown = {"floor_output": floor.text.strip()} if floor else {}
    try:
        row = _begun(row, teacher, ask.task)
    except RowError as error:
        error.made = {**shown, "teacher_output": teacher.text.strip()}
        raise
    cut = fault is None and floor is not None and floor.finish == "length"
    if cut and floor.reasoning is None and teacher.reasoning is not None:
        # The same model, which thinks: a chat template has begun the thought, unseen.
        fault = RowError(f"floor output {CUT_THINKING}", THINKING_CURE)
    return _with_floor(row, floor, fault)


def _with_floor(row: Row, floor: Answer | None, fault: RowError | None) -> Row:
    if fault is not None:
        return without_reason(row, "outputs", fault)
    if floor is None:
        return row
    return replace(row, floor_output=floor.text.strip(), floor_cut=floor.finish == "length")


def _begun(row: Row, teacher: Answer, task: Task) -> Row:
    """The row with the teacher's answer, and a conversation that consists of it.

    Raises:
        RowError: the answer can't be used.
    """
    check_off(teacher, task, "teacher output")
    text = whole_answer(teacher, "teacher output", TOKENS, row.tools)
    turn = turn_of(teacher)
    return replace(
        row,
        teacher_output=text,
        conversation=(turn.message,),
        conversation_end=FIRST,
        token_ids=(turn.token_ids,),
        tokenizer=turn.tokenizer,
        tops=(turn.tops,),
    )


async def _floor(row: Row, ask: Ask) -> tuple[Answer | None, RowError | None]:
    """The floor's answer, and why it can't be used; neither where the row is to have none."""
    if not in_share(row, ask.task.config.reasons.share):
        return None, None
    answer = None
    try:
        answer = await ask.target(floor_request(row, ask.task, ask.seed))
        check_off(answer, ask.task, "floor output")
        some_answer(answer, "floor output")
    except RowError as error:
        return answer, error
    return answer, None
