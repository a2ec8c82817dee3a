"""What is asked of the target about a row: with the prompt (teacher) and without it (floor).

The plugin builds the same requests of the finished row; this is the only place here that does.
"""

from __future__ import annotations

from collections.abc import Sequence

from synth.engines.base import Message, Request
from synth.store.rows import Row
from synth.task.taskfile import Task
from synth.task.templates import teacher_messages


def asked(row: Row) -> tuple[Message, ...]:
    """The messages before the first answer that are the row's own, without what is kept."""
    return row.request or (Message("user", row.input),)


def student_messages(row: Row, turns: Sequence[Message] = ()) -> tuple[Message, ...]:
    """What the student sees: what is kept, the row's request, and the turns behind it."""
    return (*row.kept, *asked(row), *turns)


def teacher_request(row: Row, task: Task, seed: int, turns: Sequence[Message] = ()) -> Request:
    """What the teacher is asked: its tools and the prompt before what the student sees."""
    messages = teacher_messages(row.prompt, student_messages(row, turns))
    return Request(messages, task.config.target_sampling, seed, tools=row.tools)


def floor_request(row: Row, task: Task, seed: int) -> Request:
    """What the target is asked for the floor output: no prompt, no tools."""
    return Request(student_messages(row), task.config.target_sampling, seed)
