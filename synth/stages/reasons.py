"""Stage 3: the generator explains why the prompt changes the answer.

Source: "reason generation" of Generative Prompt Internalization (arXiv 2411.15927).
"""

from __future__ import annotations

from dataclasses import replace

from synth.engines.base import Message, Request
from synth.errors import RowError
from synth.quality.filters import whole_answer
from synth.stages.slots import filled_prompt
from synth.stages.stage import Ask, stage
from synth.store.rows import Row
from synth.task.taskfile import Task
from synth.task.templates import instructed, prompt_text

QUESTION = """\
## Prompt
{prompt}

## Input
{input}

## Answer without the prompt
{floor}

## Answer with the prompt
{teacher}

## Your task
Why does the prompt change the answer?"""


@stage(needs=["prompt", "input", "floor_output", "teacher_output"], makes=["reason"])
async def reasons(row: Row, ask: Ask) -> Row:
    """Fill in `reason`.

    Raises:
        RowError: it is empty, or cut by the token limit; it costs the row the reason alone.
    """
    sampling = ask.task.config.reasons.sampling
    answer = await ask.generator(Request(reason_messages(row, ask.task), sampling, ask.seed))
    try:
        reason = whole_answer(answer, "reason", "reasons.max_tokens")
    except RowError as error:
        error.made = {"reason": answer.text.strip()}
        raise
    return replace(row, reason=reason)


def reason_messages(row: Row, task: Task) -> tuple[Message, ...]:
    """What the generator is asked for a row's reason."""
    question = QUESTION.format(
        prompt=prompt_text(filled_prompt(row), row.tools),
        input=row.input,
        floor=row.floor_output,
        teacher=row.teacher_output,
    )
    turns = [Message("user", question)]
    return instructed(task.config.prompt_role, task.config.reasons.system, turns)
