"""Stage 3: the generator explains why the prompt changes the answer.

Source: "reason generation" of Generative Prompt Internalization (arXiv 2411.15927).
"""

from __future__ import annotations

from dataclasses import replace

from synth.engines.base import Message, Request
from synth.errors import RowError
from synth.quality.filters import REFUSES, whole_answer
from synth.quality.refusals import refuses
from synth.store.rows import Row
from synth.store.store import Generate
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


async def reasons(row: Row, generator: Generate, task: Task, seed: int) -> Row:
    """Fill in `reason`.

    Raises:
        RowError: it is empty, cut by the token limit, shorter than `reasons.min_chars`, or a
            refusal.
    """
    settings = task.config.reasons
    answer = await generator(Request(reason_messages(row, task), settings.sampling, seed))
    try:
        reason = whole_answer(answer, "reason", "reasons.max_tokens")
        if len(reason) < settings.min_chars:
            raise RowError(
                f"reason shorter than {settings.min_chars} characters", f"It is: {reason!r}"
            )
        if "reasons" in task.config.reject_refusals and refuses(reason, quotes=True):
            raise RowError(f"reason {REFUSES}", f"It is: {reason[:200]!r}")
    except RowError as error:
        error.made = {"reason": answer.text.strip()}
        raise
    return replace(row, reason=reason)


def reason_messages(row: Row, task: Task) -> tuple[Message, ...]:
    """What the generator is asked for a row's reason."""
    question = QUESTION.format(
        prompt=prompt_text(row.prompt),
        input=row.input,
        floor=row.floor_output,
        teacher=row.teacher_output,
    )
    turns = [Message("user", question)]
    return instructed(task.config.prompt_role, task.config.reasons.system, turns)
