"""Stage 4: the model talks with itself, as the agent and as the agent's environment.

Source: "self-role-playing conversation" of Generative Prompt Internalization (arXiv 2411.15927).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from synth.engines.base import Answer, Message, Request
from synth.errors import RowError
from synth.quality.filters import (
    CONTROLS,
    CUT,
    PLAYS_AGENT,
    REFUSES,
    agent_fault,
    environment_turns,
    plays_agent,
    without_text,
)
from synth.quality.refusals import refuses
from synth.store.rows import Row, as_dicts
from synth.store.store import Generate
from synth.task.config import Conversations
from synth.task.taskfile import Task
from synth.task.templates import instructed, teacher_messages
from synth.text import control_fault, folded

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
OWN_ENDS = (END_PATTERN, END_MARKER)


async def conversations(
    row: Row, target: Generate, generator: Generate, task: Task, seed: int
) -> Row:
    """Fill in `conversation`: assistant, user, assistant ... and why it ended.

    The first assistant turn is the teacher output. Then the environment (played by the
    generator) and the agent (the teacher) answer each other until an end. What is not good, an
    empty turn for one, ends the conversation before it; what was good until then is kept.

    Raises:
        RowError: it came to no end of its own, and `conversations.require_end` asks for one.
    """
    settings = task.config.conversations
    turns = [Message("assistant", row.teacher_output)]
    exchanges: set[tuple[str, str]] = set()
    while True:
        end = _agent_end(turns, settings)
        if end:
            break
        request = Request(environment_messages(row, turns, task), settings.sampling, seed)
        turn, fault = await _ask(generator, request)
        end = f"environment turn {fault}" if fault else _environment_end(row, turns, turn, task)
        if end:
            break
        history = (Message("user", row.input), *turns, Message("user", turn))
        request = Request(teacher_messages(row.prompt, history), task.config.outputs.sampling, seed)
        answer, fault = await _ask(target, request)
        fault = fault or agent_fault(answer, task.config)
        if fault:
            end = f"agent turn {fault}"
            break
        if folded(answer) == folded(turns[-1].content):
            end = "agent repeats itself"
            break
        exchange = (folded(turn), folded(answer))
        if exchange in exchanges:
            end = "agent and environment repeat themselves"
            break
        exchanges.add(exchange)
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


async def _ask(generate: Generate, request: Request) -> tuple[str, str]:
    """The text, and why it can't be used ("" if it can)."""
    try:
        answer: Answer = await generate(request)
    except RowError as error:
        return "", error.reason
    text = answer.text.strip()
    if answer.finish == "length":
        return text, CUT
    if control_fault(text):
        return text, CONTROLS
    return text, "" if text else without_text(answer)[0]


def _agent_end(turns: Sequence[Message], settings: Conversations) -> str:
    if settings.end_pattern and re.search(settings.end_pattern, turns[-1].content):
        return END_PATTERN
    if sum(turn.role == "assistant" for turn in turns) >= settings.max_turns:
        return "turn limit"
    return ""


def _environment_end(row: Row, turns: Sequence[Message], turn: str, task: Task) -> str:
    """Why a turn of the environment's is the end; "" if it is not."""
    settings = task.config.conversations
    if settings.end_marker in turn:
        return END_MARKER
    before = [row.input, *(said.content for said in turns if said.role == "user")]
    last = [folded(said) for said in before[-PATIENCE:]]
    # A terminal may well be silent twice; only the input is never the answer to itself.
    if folded(turn) == folded(row.input) == last[-1] or last == [folded(turn)] * PATIENCE:
        return "environment repeats itself"
    real = environment_turns(row.prompt, row.input)
    if plays_agent(turn, turns[-1].content, task.config.action_pattern, real):
        return f"environment {PLAYS_AGENT}"
    if "conversations" in task.config.reject_refusals and refuses(turn):
        return f"environment {REFUSES}"
    if settings.pattern and not re.search(settings.pattern, turn):
        return "environment turn does not match conversations.pattern"
    return ""
