"""Stage 4: the model talks with itself, as the agent and as the agent's environment.

Source: "self-role-playing conversation" of Generative Prompt Internalization (arXiv 2411.15927).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from genpi_plugin.data.text import control_fault, folded
from synth.engines.base import Answer, Message, Request
from synth.engines.messages import as_dicts
from synth.errors import RowError
from synth.quality.calls import call_fault, unreadable
from synth.quality.filters import CONTROLS, agent_fault
from synth.quality.thoughts import off_fault, own_texts
from synth.stages.circles import Commands
from synth.stages.code import CodeEnvironment, environment_in_code
from synth.stages.environment import (
    END_MARKER,
    environment_end,
    environment_messages,
    marker_fault,
)
from synth.stages.requests import teacher_request
from synth.stages.results import result_end, result_messages, result_of
from synth.stages.stage import Ask, stage
from synth.stages.talk import Talk, ask_for, said_in
from synth.stages.turns import answer_of, turn_of
from synth.store.rows import FROM_LOG, Row
from synth.task.sections import Conversations
from synth.task.taskfile import Task

END_PATTERN = "end pattern"
ENDED = "environment's own end"
LOGGED = "one answer of a log"
AGAIN = "agent and environment repeat themselves"
OWN_ENDS = (END_PATTERN, END_MARKER, ENDED)


@stage(
    needs=["prompt", "input", "teacher_output"],
    makes=["conversation", "conversation_end", "token_ids", "tokenizer", "tops"],
)
async def conversations(row: Row, ask: Ask) -> Row:
    """Fill in `conversation`: assistant, user, assistant ... and why it ended.

    The first assistant turn is the teacher output. Then the environment and the agent (the teacher)
    answer each other until an end. Where the agent calls tools, each call is answered as by the
    tool, and by the user otherwise: by the task's own code, or by the generator, which plays both.
    What is not good, an empty turn for one, ends the conversation before it; what was good until
    then is kept. Nobody plays in a row out of a log: its other answers are rows of their own, or
    kept with it, held to the same.

    Raises:
        RowError: it came to no end of its own, and `conversations.require_end` asks for one.
    """
    task, settings = ask.task, ask.task.config.conversations
    if row.conversation_end == FROM_LOG:
        return _logged(row, task)
    talk = Talk.begun(row)
    if row.request:
        return talk.ended(row, LOGGED)
    commands = Commands(row, task.config.action_pattern)
    code = None
    while True:
        if end := _agent_end(talk, settings, code):
            break
        code = code or await environment_in_code(row, task)
        turns, end = await _answered(row, ask, talk, code)
        if end:
            break
        # Of a result alone ("ok") nobody knows to what it is one.
        heard = "\n".join([*([talk.said] if talk.calls else []), *(one.content for one in turns)])
        if commands.answered_alike(heard):
            # The agent's last turn did again what it had done: it goes, too.
            talk.drop()
            end = AGAIN
            break
        request = teacher_request(row, task, ask.seed, (*talk.turns, *turns))
        answer, fault = await ask_for(ask.target, request)
        said = said_in(answer)
        off = off_fault(answer, task)
        fault = (off[0] if off else fault) or _agent_fault(
            answer, said, row, task, bool(talk.calls)
        )
        if fault:
            end = f"agent turn {fault}"
            break
        if folded(said) == folded(talk.said):
            end = "agent repeats itself"
            break
        if commands.given_again(heard, said):
            end = AGAIN
            break
        talk.add(turns, turn_of(answer), said)
    if settings.require_end and end not in OWN_ENDS:
        made = {"conversation": as_dicts(talk.turns)}
        last = f"After {len(talk.turns)} turns, the last of them: {talk.said[:200]!r}"
        raise RowError(f"conversation without an end: {end}", last, made)
    return talk.ended(row, end)


def _logged(row: Row, task: Task) -> Row:
    """The row of a log whose answers are kept, up to the first one that can't be used."""
    own, behind_result = own_texts(task, "target"), False
    for place, turn in enumerate(row.conversation):
        if turn.role == "assistant" and place:
            answer = answer_of(turn, own)
            off = off_fault(answer, task)
            fault = off[0] if off else unreadable(answer, row.tools)[0]
            if not fault and control_fault(answer.text):
                fault = CONTROLS
            said = said_in(answer)
            if fault := fault or _agent_fault(answer, said, row, task, behind_result):
                last = max(at for at, one in enumerate(row.conversation[:place])
                           if one.role == "assistant")  # fmt: skip
                return replace(row, conversation=row.conversation[: last + 1],
                               conversation_end=f"{FROM_LOG}: agent turn {fault}")  # fmt: skip
        behind_result = turn.role == "tool"
    return row


async def _answered(
    row: Row, ask: Ask, talk: Talk, code: CodeEnvironment | None
) -> tuple[Sequence[Message], str]:
    """What the environment answers: the user's turn, or a result for each call; and why it is the
    end ("" if it is not)."""
    if talk.calls:
        if code is not None and code.plays_tools:
            return [await code.result(call) for call in talk.calls], ""
        return await _results(row, ask, talk)
    if code is not None and code.plays_user:
        text = await code.user(talk.heard)
        return [Message("user", text)], "" if text else ENDED
    sampling = ask.task.config.conversations.sampling
    request = Request(environment_messages(row, talk.heard, ask.task), sampling, ask.seed)
    answer, fault = await ask_for(ask.generator, request)
    text = answer.text.strip()
    end = f"environment turn {fault}" if fault else environment_end(row, talk.heard, text, ask.task)
    return [Message("user", text)], end


async def _results(row: Row, ask: Ask, talk: Talk) -> tuple[Sequence[Message], str]:
    """The result of each call as the generator makes it up, one after the other."""
    results: list[Message] = []
    sampling = ask.task.config.conversations.sampling
    for call in talk.calls:
        before = [*talk.shown, *results]
        request = Request(result_messages(row, before, call, ask.task), sampling, ask.seed)
        answer, fault = await ask_for(ask.generator, request)
        text = result_of(answer.text)
        if (
            end := f"tool's result {fault}"
            if fault
            else result_end(row, before, call, text, ask.task)
        ):
            return [], end
        results.append(Message("tool", text, tool_call_id=call.id, name=call.name))
    return results, ""


def _agent_fault(answer: Answer, said: str, row: Row, task: Task, told: bool) -> str:
    """Why a turn of the agent's can't be used; "" if it can. `told`: it answers tools' results,
    and may say what they were instead of acting."""
    if not said:
        return "empty"
    calls = answer.tool_calls or ()
    if row.tools and "tool_calls" in task.config.filters:
        fault, _ = call_fault(answer.text, calls, row.tools)
        if fault:
            return fault
    return agent_fault(said, task.config, told or bool(calls)) or marker_fault(said, task)


def _agent_end(talk: Talk, settings: Conversations, code: CodeEnvironment | None) -> str:
    if settings.end_pattern and re.search(settings.end_pattern, talk.said):
        return END_PATTERN
    if code is not None and code.done:
        return ENDED
    return "turn limit" if len(talk.token_ids) >= settings.max_turns else ""
