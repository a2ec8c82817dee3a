"""The filters that come with the package: a row, and None to keep it or the reason to reject it.

Those behind `reasons` reject the reason, and the row goes on without.

Each takes the task as well, whose keys turn it on, off or stricter. A filter of the user's own
takes the row alone. A filter that has more to say than a reason, which is counted, raises a
`RowError` with reason and detail. `after` says behind which stage a filter can judge: a row that is
dropped there costs nothing more. Without it a filter sees the finished row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from synth.engines.base import Message
from synth.errors import ReasonError, RowError
from synth.quality.actions import foreign_action
from synth.quality.calls import call_fault
from synth.quality.filters import REFUSES, acts
from synth.quality.refusals import refuses
from synth.quality.role_markers import holds_marker, role_marker
from synth.store.rows import Row
from synth.task.taskfile import Task

Function = TypeVar("Function", bound=Callable[..., str | None])


def after(*stages: str) -> Callable[[Function], Function]:
    """Let a filter judge each row as soon as one of these stages is through.

    For example `@after("outputs")`, for a filter that looks at the teacher's answer. Fields that
    later stages make are empty then. Behind a stage that makes nothing but the reason, as `reasons`
    does, it judges the rows that have one, and what it rejects is the reason.
    """

    def note(function: Function) -> Function:
        function.after = stages  # type: ignore[attr-defined]
        return function

    return note


@after("outputs")
def tool_calls(row: Row, task: Task) -> str | None:
    """The teacher's calls are of the task's tools, and their arguments fit the tools' schemas."""
    for turn in first_turn(row) if row.tools else ():
        reason, detail = call_fault(turn.content, turn.tool_calls, row.tools)
        if reason:
            raise RowError(f"teacher output {reason}", detail)
    return None


@after("inputs", "outputs", "reasons")
def role_markers(row: Row, task: Task) -> str | None:
    """No text holds what a chat template or the target's tokenizer takes for a turn's beginning."""
    marker = role_marker(row.input, task)
    for text in (row.teacher_output, row.reason):
        marker = marker or role_marker(text, task, made=True)
    if marker:
        return holds_marker(marker)
    marker = role_marker(row.floor_output, task, made=True)
    if marker:
        detail = f"It is: {row.floor_output[:200]!r}"
        raise ReasonError(f"floor output {holds_marker(marker)}", detail)
    return None


@after("inputs")
def input_refusals(row: Row, task: Task) -> str | None:
    """The generator wrote an input, and did not refuse to (`reject_refusals`)."""
    return REFUSES if "inputs" in task.config.reject_refusals and refuses(row.input) else None


@after("outputs")
def require_action(row: Row, task: Task) -> str | None:
    """The teacher's answer holds a well-formed action, or calls a tool, where
    `outputs.require_action` says so."""
    if not task.config.outputs.require_action or any(turn.tool_calls for turn in first_turn(row)):
        return None
    if acts(row.teacher_output, task.config.action_pattern):
        return None
    return "teacher output without a well-formed action"


@after("outputs")
def output_refusals(row: Row, task: Task) -> str | None:
    """The teacher does not refuse, where `reject_refusals` names the outputs."""
    if "outputs" in task.config.reject_refusals and refuses(row.teacher_output):
        return f"teacher output {REFUSES}"
    return None


@after("reasons")
def reason_length(row: Row, task: Task) -> str | None:
    """The reason has `reasons.min_chars` characters."""
    least = task.config.reasons.min_chars
    return f"reason shorter than {least} characters" if len(row.reason) < least else None


@after("reasons")
def reason_refusals(row: Row, task: Task) -> str | None:
    """The generator gave a reason, and did not refuse to (`reject_refusals`)."""
    if "reasons" in task.config.reject_refusals and refuses(row.reason, quotes=True):
        return f"reason {REFUSES}"
    return None


@after("reasons")
def reason_actions(row: Row, task: Task) -> str | None:
    """The reason talks of this row: its actions are the teacher's, the floor's, or were shown."""
    known = [
        row.teacher_output,
        row.floor_output,
        row.input,
        *(turn.content for turn in row.prompt),
    ]
    named = foreign_action(row.reason, task.config.action_pattern, known)
    if named:
        detail = f"{named!r} is neither the teacher's action nor the floor's, nor the prompt's."
        raise RowError("reason names another action", f"{detail} It is: {row.reason[:300]!r}")
    return None


def first_turn(row: Row) -> tuple[Message, ...]:
    """The teacher's first answer as a turn; none where a stage of the task's own made a text."""
    return row.conversation[:1]


SHIPPED = (
    tool_calls,
    role_markers,
    input_refusals,
    require_action,
    output_refusals,
    reason_length,
    reason_refusals,
    reason_actions,
)
