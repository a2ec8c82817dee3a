"""Stage 2: the target model answers the input without the prompt and with it.

Source: "pseudo output generation" of Generative Prompt Internalization (arXiv 2411.15927).
"""

from __future__ import annotations

from dataclasses import replace

from synth.engines.base import Message, Request
from synth.errors import RowError
from synth.quality.filters import CUT_THINKING, THINKING_CURE, some_answer, whole_answer
from synth.stages.concurrency import gather_all
from synth.stages.stage import Ask, stage
from synth.store.rows import Row
from synth.task.templates import teacher_messages


@stage(needs=["prompt", "input"], makes=["floor_output", "floor_cut", "teacher_output"])
async def outputs(row: Row, ask: Ask) -> Row:
    """Fill in `floor_output` and `teacher_output`.

    The token limit may cut the floor output, which is shown and never trained on: without its
    prompt a model often rambles. Such rows are counted.

    Raises:
        RowError: either is empty, or the token limit cut the teacher output.
    """
    settings = ask.task.config.outputs
    question = (Message("user", row.input),)
    floor, teacher = await gather_all(
        ask.target(Request(question, settings.sampling, ask.seed)),
        ask.target(Request(teacher_messages(row.prompt, question), settings.sampling, ask.seed)),
    )
    try:
        if floor.finish == "length" and floor.reasoning is None and teacher.reasoning is not None:
            # The same model, which thinks: a chat template has begun the thought, unseen.
            raise RowError(f"floor output {CUT_THINKING}", THINKING_CURE)
        return replace(
            row,
            floor_output=some_answer(floor, "floor output"),
            floor_cut=floor.finish == "length",
            teacher_output=whole_answer(teacher, "teacher output", "outputs.max_tokens"),
        )
    except RowError as error:
        error.made = {"floor_output": floor.text.strip(), "teacher_output": teacher.text.strip()}
        raise
