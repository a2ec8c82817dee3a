"""What is asked of the target about a row: with the prompt (teacher) and without it (floor).

The plugin builds the same requests of the finished row; this is the only place here that does.
"""

from __future__ import annotations

from collections.abc import Sequence

from synth.engines.base import Message, Request
from synth.stages.slots import filled_prompt
from synth.store.rows import Row
from synth.task.taskfile import Task
from synth.task.templates import teacher_messages


def asked(row: Row) -> tuple[Message, ...]:
    """The messages before the first answer that are the row's own, without what is kept."""
    return row.request or (Message("user", row.input),)


def student_messages(row: Row, turns: Sequence[Message] = ()) -> tuple[Message, ...]:
    """What the student sees: what is kept, the row's request, and the turns behind it."""
    if row.slots:  # what is kept as the user's turn goes on in the request
        return teacher_messages(row.kept, (*asked(row), *turns))
    return (*row.kept, *asked(row), *turns)


def teacher_turns(row: Row, turns: Sequence[Message] = ()) -> tuple[Message, ...]:
    """What the teacher sees: the prompt, with the values of its slots in place of what the student
    is told of them."""
    own = (*asked(row), *turns) if row.slots else student_messages(row, turns)
    return teacher_messages(filled_prompt(row), own)


def teacher_request(row: Row, task: Task, seed: int, turns: Sequence[Message] = ()) -> Request:
    """What the teacher is asked: its tools and the prompt before the row's request. At each token
    of its answer the likeliest are to be told, where the task says so."""
    config = task.config
    return Request(teacher_turns(row, turns), config.target_sampling, seed, tools=row.tools,
                   logprobs=config.outputs.logprobs)  # fmt: skip


def floor_request(row: Row, task: Task, seed: int) -> Request:
    """What the target is asked for the floor output: no prompt, no tools."""
    return Request(student_messages(row), task.config.target_sampling, seed)
