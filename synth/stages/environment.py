"""The agent's environment, played by the generator: what it is sent, and which turn is its last."""

from __future__ import annotations

import re
from collections.abc import Sequence

from genpi_plugin.data.slots import fill
from genpi_plugin.data.text import folded
from synth.engines.base import Message
from synth.quality.end_marker import ends_conversation
from synth.quality.filters import PLAYS_AGENT, REFUSES, environment_turns, plays_agent
from synth.quality.refusals import refuses
from synth.quality.role_markers import holds_marker, role_marker
from synth.stages.requests import asked
from synth.stages.slots import filled_prompt, values_of
from synth.store.rows import Row
from synth.task.taskfile import Task
from synth.task.templates import instructed, teacher_messages

ENVIRONMENT = """\
Play a part in a conversation with an AI agent. Your part: {environment}.
The agent's turns come to you as the user's. Write what comes next in your part, in the same form \
as your turns before, and never write a turn of the agent.
When this is so: {end_condition}, write {end_marker} and nothing else."""
# Chat templates want a user turn first, and the conversation starts with the environment's.
OPENING = "Begin."
END_MARKER = "end marker"
PATIENCE = 2  # turns in a row that an environment may say alike


def environment_messages(row: Row, turns: Sequence[Message], task: Task) -> tuple[Message, ...]:
    """What the environment is sent: its part, then the conversation with the roles swapped.

    The prompt's instruction (its system turn, or else its first user turn) is left out. The
    prompt's other turns stay: they show how the environment speaks. Slots in the part, the end
    condition and the reminder get the row's values.
    """
    settings = task.config.conversations
    if len(row.prompt) == 1 and row.prompt[0].role == "user":
        # The input stands in the instruction's own turn: take it alone.
        shown: tuple[Message, ...] = (*asked(row), *turns)
    else:
        shown = teacher_messages(filled_prompt(row), (*asked(row), *turns))[1:]
    other = {"user": "assistant", "assistant": "user"}
    swapped = [Message(other[turn.role], turn.content) for turn in shown]
    if swapped[0].role == "assistant":
        swapped.insert(0, Message("user", OPENING))
    values = values_of(row)
    if settings.reminder:
        last = swapped[-1]
        reminder = fill(settings.reminder.strip(), values)
        swapped[-1] = Message(last.role, f"{last.content}\n\n{reminder}")
    system = ENVIRONMENT.format(
        environment=fill(settings.environment.strip().rstrip("."), values),
        end_condition=fill(settings.end_condition.strip().rstrip("."), values),
        end_marker=settings.end_marker,
    )
    return instructed(task.config.prompt_role, system, swapped)


def environment_end(row: Row, turns: Sequence[Message], turn: str, task: Task) -> str:
    """Why a turn of the environment's is the end; "" if it is not."""
    settings = task.config.conversations
    if ends_conversation(turn, settings.end_marker):
        return END_MARKER
    before = [row.input, *(said.content for said in turns if said.role == "user")]
    last = [folded(said) for said in before[-PATIENCE:]]
    # A terminal may well be silent twice; only the input is never the answer to itself.
    if folded(turn) == folded(row.input) == last[-1] or last == [folded(turn)] * PATIENCE:
        return "environment repeats itself"
    real = environment_turns(filled_prompt(row), row.input)
    if plays_agent(turn, turns[-1].content, task.config.action_pattern, real):
        return f"environment {PLAYS_AGENT}"
    marker = marker_fault(turn, task)
    if marker:
        return f"environment turn {marker}"
    if "conversations" in task.config.reject_refusals and refuses(turn):
        return f"environment {REFUSES}"
    if settings.pattern and not re.search(settings.pattern, turn):
        return "environment turn does not match conversations.pattern"
    return ""


def marker_fault(turn: str, task: Task) -> str:
    """The role marker that a turn holds, as a fault; "" if there is none."""
    marker = role_marker(turn, task, made=True) if "role_markers" in task.config.filters else ""
    return holds_marker(marker) if marker else ""
