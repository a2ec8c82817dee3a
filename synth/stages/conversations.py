"""Stage 4: the model talks with itself, as the agent and as the agent's environment.

Source: "self-role-playing conversation" of Generative Prompt Internalization (arXiv 2411.15927).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from genpi_plugin.data.text import control_fault, folded
from synth.engines.base import Answer, Message, Request
from synth.errors import RowError
from synth.quality.actions import command
from synth.quality.end_marker import ends_conversation
from synth.quality.filters import (
    CONTROLS,
    CUT,
    CUT_THINKING,
    PLAYS_AGENT,
    REFUSES,
    agent_fault,
    environment_turns,
    plays_agent,
    thought_alone,
    tools_called,
    without_text,
)
from synth.quality.refusals import refuses
from synth.quality.role_markers import holds_marker, role_marker
from synth.stages.stage import Ask, stage
from synth.store.rows import Row, as_dicts
from synth.store.store import Generate
from synth.task.config import Conversations
from synth.task.taskfile import Task
from synth.task.templates import instructed, teacher_messages

ENVIRONMENT = """\
Play a part in a conversation with an AI agent. Your part: {environment}.
The agent's turns come to you as the user's. Write what comes next in your part, in the same form \
as your turns before, and never write a turn of the agent.
When this is so: {end_condition}, write {end_marker} and nothing else."""
# Chat templates want a user turn first, and the conversation starts with the environment's.
OPENING = "Begin."
END_PATTERN = "end pattern"
END_MARKER = "end marker"
PATIENCE = 2  # turns in a row that an environment may say alike
AGAIN = "agent and environment repeat themselves"
OWN_ENDS = (END_PATTERN, END_MARKER)


@stage(needs=["prompt", "input", "teacher_output"], makes=["conversation", "conversation_end"])
async def conversations(row: Row, ask: Ask) -> Row:
    """Fill in `conversation`: assistant, user, assistant ... and why it ended.

    The first assistant turn is the teacher output. Then the environment (played by the
    generator) and the agent (the teacher) answer each other until an end. What is not good, an
    empty turn for one, ends the conversation before it; what was good until then is kept.

    Raises:
        RowError: it came to no end of its own, and `conversations.require_end` asks for one.
    """
    task, settings = ask.task, ask.task.config.conversations
    turns = [Message("assistant", row.teacher_output)]
    commands = _Commands(row, task.config.action_pattern)
    while True:
        end = _agent_end(turns, settings)
        if end:
            break
        request = Request(environment_messages(row, turns, task), settings.sampling, ask.seed)
        turn, fault = await _ask(ask.generator, request)
        end = f"environment turn {fault}" if fault else _environment_end(row, turns, turn, task)
        if end:
            break
        if commands.answered_alike(turn):
            # The agent's last turn did again what it had done: it goes, too.
            turns, end = turns[:-2], AGAIN
            break
        history = (Message("user", row.input), *turns, Message("user", turn))
        messages = teacher_messages(row.prompt, history)
        request = Request(messages, task.config.outputs.sampling, ask.seed)
        answer, fault = await _ask(ask.target, request)
        fault = fault or _agent_fault(answer, task)
        if fault:
            end = f"agent turn {fault}"
            break
        if folded(answer) == folded(turns[-1].content):
            end = "agent repeats itself"
            break
        if commands.given_again(turn, answer):
            end = AGAIN
            break
        turns += [Message("user", turn), Message("assistant", answer)]
    if settings.require_end and end not in OWN_ENDS:
        made = {"conversation": as_dicts(turns)}
        last = f"After {len(turns)} turns, the last of them: {turns[-1].content[:200]!r}"
        raise RowError(f"conversation without an end: {end}", last, made)
    return replace(row, conversation=tuple(turns), conversation_end=end)


def environment_messages(row: Row, turns: Sequence[Message], task: Task) -> tuple[Message, ...]:
    """What the environment is sent: its part, then the conversation with the roles swapped.

    The prompt's instruction (its system turn, or else its first user turn) is left out. The
    prompt's other turns stay: they show how the environment speaks.
    """
    settings = task.config.conversations
    if len(row.prompt) == 1 and row.prompt[0].role == "user":
        # The input stands in the instruction's own turn: take it alone.
        shown: tuple[Message, ...] = (Message("user", row.input), *turns)
    else:
        shown = teacher_messages(row.prompt, (Message("user", row.input), *turns))[1:]
    other = {"user": "assistant", "assistant": "user"}
    swapped = [Message(other[turn.role], turn.content) for turn in shown]
    if swapped[0].role == "assistant":
        swapped.insert(0, Message("user", OPENING))
    if settings.reminder:
        last = swapped[-1]
        swapped[-1] = Message(last.role, f"{last.content}\n\n{settings.reminder.strip()}")
    system = ENVIRONMENT.format(
        environment=settings.environment.strip().rstrip("."),
        end_condition=settings.end_condition.strip().rstrip("."),
        end_marker=settings.end_marker,
    )
    return instructed(task.config.prompt_role, system, swapped)


class _Commands:
    """What the agent did and what came of it, to see when both go round in a circle.

    Two turns of the agent do the same when they give the same command, in whatever words
    (`quality.actions.command`).
    """

    def __init__(self, row: Row, action_pattern: str | None) -> None:
        self._pattern = action_pattern
        self._last = command(row.teacher_output, action_pattern)
        self._given = {(folded(row.input), self._last)}
        self._answers: set[tuple[str, str]] = set()

    def answered_alike(self, turn: str) -> bool:
        """Note the environment's answer to the last command; whether it gave it before."""
        pair = (self._last, folded(turn))
        known = pair in self._answers
        self._answers.add(pair)
        return known

    def given_again(self, turn: str, answer: str) -> bool:
        """Note the command that the agent gives in answer to `turn`; whether it did before."""
        self._last = command(answer, self._pattern)
        pair = (folded(turn), self._last)
        known = pair in self._given
        self._given.add(pair)
        return known


async def _ask(generate: Generate, request: Request) -> tuple[str, str]:
    """The text, and why it can't be used ("" if it can)."""
    try:
        answer: Answer = await generate(request)
    except RowError as error:
        return "", error.reason
    text = answer.text.strip()
    if answer.finish == "length" and not answer.tool_calls:
        return text, CUT_THINKING if thought_alone(answer) else CUT
    if control_fault(text):
        return text, CONTROLS
    if not text:
        return text, without_text(answer)[0]
    return text, tools_called(answer)[0] if answer.tool_calls else ""


def _agent_fault(answer: str, task: Task) -> str:
    if not answer:
        return "empty"
    return agent_fault(answer, task.config) or _role_marker(answer, task)


def _role_marker(turn: str, task: Task) -> str:
    marker = role_marker(turn, task, made=True) if "role_markers" in task.config.filters else ""
    return holds_marker(marker) if marker else ""


def _agent_end(turns: Sequence[Message], settings: Conversations) -> str:
    if settings.end_pattern and re.search(settings.end_pattern, turns[-1].content):
        return END_PATTERN
    if sum(turn.role == "assistant" for turn in turns) >= settings.max_turns:
        return "turn limit"
    return ""


def _environment_end(row: Row, turns: Sequence[Message], turn: str, task: Task) -> str:
    """Why a turn of the environment's is the end; "" if it is not."""
    settings = task.config.conversations
    if ends_conversation(turn, settings.end_marker):
        return END_MARKER
    before = [row.input, *(said.content for said in turns if said.role == "user")]
    last = [folded(said) for said in before[-PATIENCE:]]
    # A terminal may well be silent twice; only the input is never the answer to itself.
    if folded(turn) == folded(row.input) == last[-1] or last == [folded(turn)] * PATIENCE:
        return "environment repeats itself"
    real = environment_turns(row.prompt, row.input)
    if plays_agent(turn, turns[-1].content, task.config.action_pattern, real):
        return f"environment {PLAYS_AGENT}"
    marker = _role_marker(turn, task)
    if marker:
        return f"environment turn {marker}"
    if "conversations" in task.config.reject_refusals and refuses(turn):
        return f"environment {REFUSES}"
    if settings.pattern and not re.search(settings.pattern, turn):
        return "environment turn does not match conversations.pattern"
    return ""
