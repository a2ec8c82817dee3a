"""Stage 2: the target model answers the input without the prompt and with it.

Source: "pseudo output generation" of Generative Prompt Internalization (arXiv 2411.15927).
"""

from __future__ import annotations

from dataclasses import replace

from synth.engines.base import Message, Request
from synth.errors import RowError
from synth.quality.filters import agent_fault, some_answer, whole_answer
from synth.stages.concurrency import gather_two
from synth.store.rows import Row
from synth.store.store import Generate
from synth.task.taskfile import Task
from synth.task.templates import teacher_messages


async def outputs(row: Row, target: Generate, task: Task, seed: int) -> Row:
    """Fill in `floor_output` and `teacher_output`.

    The token limit may cut the floor output, which is shown and never trained on: without its
    prompt a model often rambles. Such rows are counted.

    Raises:
        RowError: either is empty, the token limit cut the teacher output, or it is none that the
            task takes (`outputs.require_action`, `reject_refusals`).
    """
    settings = task.config.outputs
    question = (Message("user", row.input),)
    floor, teacher = await gather_two(
        target(Request(question, settings.sampling, seed)),
        target(Request(teacher_messages(row.prompt, question), settings.sampling, seed)),
    )
    try:
        row = replace(
            row,
            floor_output=some_answer(floor, "floor output"),
            floor_cut=floor.finish == "length",
            teacher_output=whole_answer(teacher, "teacher output", "outputs.max_tokens"),
        )
        fault = agent_fault(row.teacher_output, task.config)
        if fault:
            raise RowError(f"teacher output {fault}", f"It is: {row.teacher_output[:200]!r}")
    except RowError as error:
        error.made = {"floor_output": floor.text.strip(), "teacher_output": teacher.text.strip()}
        raise
    return row
