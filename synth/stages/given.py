"""The rows of the user's own inputs: their requests, their ids, and answers that are kept."""

from __future__ import annotations

from dataclasses import replace

from genpi_plugin.data.inputs.given import GivenInput
from genpi_plugin.data.slots import dumps
from synth.engines.base import Message
from synth.engines.messages import as_dicts, as_messages, readable
from synth.stages.inputs import new_row
from synth.store.fingerprint import canonical, row_id
from synth.store.rows import FROM_LOG, Row
from synth.task.taskfile import Task


def given_row(task: Task, position: int, given: GivenInput) -> Row:
    """The row of an input, with its own id where it has one.

    An input that is no more than a user's message is a text, however it was written, unless the
    log goes on behind it. With answers that are kept, the row has its conversation; with values of
    the prompt's slots, these.
    """
    row = new_row(task, position, given.text)
    request, kept = as_messages(given.request), as_messages(given.conversation)
    if request and (given.goes_on or request != (Message("user", given.text),)):
        parts = as_dicts((*request, *kept))
        row = replace(row, id=row_id(row.prompt_id, canonical(parts)), request=request)
    if given.values and task.slots:
        values = dumps(given.values)
        row = replace(row, id=row_id(row.id, values), slots=values)
    if kept:
        row = replace(
            row, teacher_output=readable(kept[0]), conversation=kept, conversation_end=FROM_LOG
        )
    return replace(row, id=given.id or row.id)
