"""Calls of tools in a model's answer: read from its text, checked, and as a text to look at."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import replace

from genpi_plugin.data import calls as reader
from genpi_plugin.data.arguments import from_text
from genpi_plugin.data.pieces import leaves
from genpi_plugin.data.schemas import NO_OBJECT, Schemas, schema_fault
from genpi_plugin.data.text import control_fault, surrogate_fault
from genpi_plugin.data.tools import Tool
from synth.engines.base import Answer, Message, Request, ToolCall
from synth.engines.messages import readable

MALFORMED = "writes a malformed call of a tool"
BEHIND = "goes on behind its call"
UNFIT = "calls a tool with characters that no row can hold"
# Ids are of nine letters and digits, since Mistral's templates take no others.
ID = "call{:05d}"


def calls_apart(answer: Answer, request: Request) -> Answer:
    """The answer with its calls in `tool_calls`, each with an id of its own.

    In process, and behind a server without a parser for them, calls stand in the text. Ids follow
    from the conversation: the same answer to the same request has the same.

    Args:
        answer: without thoughts.
        request: what it answers; without tools, nothing is a call.
    """
    if not request.tools:
        return answer
    if answer.tool_calls is None:
        apart = reader.calls_apart(answer.text, tools_of(request.tools))
        if not apart.calls:
            return answer
        calls = [ToolCall(call.id, call.name, json.dumps(call.arguments, ensure_ascii=False))
                 for call in apart.calls]  # fmt: skip
        answer = replace(answer, text=apart.text, behind=apart.behind)
    else:
        calls = list(answer.tool_calls)
    return replace(answer, tool_calls=_with_ids(calls, request.messages))


def said(answer: Answer) -> str:
    """What an answer says and calls, as one text without white space around it; each call must
    have an object for its arguments (`unreadable`)."""
    return readable(Message("assistant", answer.text.strip(), tool_calls=answer.tool_calls or ()))


def unreadable(answer: Answer, tools: str = "") -> tuple[str, str]:
    """The fault of an answer whose calls no row can hold, and its detail; two empty texts if there
    is none.

    Args:
        answer: its calls apart. Text behind them has no place in a message, which has its text
            before its calls.
        tools: those that there are, as JSON.
    """
    calls = answer.tool_calls or ()
    for call in calls:
        arguments = _arguments(call)
        if arguments is None:
            return NO_OBJECT, f"It is {_shown(call)}."
        texts = (value for value in leaves(arguments) if isinstance(value, str))
        for text in (call.id, call.name, *texts):
            if fault := surrogate_fault(text) or control_fault(text):
                return UNFIT, f"It is {_shown(call)}, which holds {fault}."
    if answer.behind and calls:
        broken = reader.broken_call(answer.behind, tools_of(tools))
        return (
            MALFORMED if broken else BEHIND,
            f"Behind {_shown(calls[0])} stands {answer.behind[:200]!r}.",
        )
    return "", ""


def call_fault(text: str, calls: Sequence[ToolCall], tools: str) -> tuple[str, str]:
    """Why calls are not well-formed, and its detail; two empty texts if they are, or are none.

    Args:
        text: the answer beside its calls.
        calls: those that were read.
        tools: the tools that there are, as JSON.
    """
    if begun := reader.broken_call(text, tools_of(tools)):
        return MALFORMED, f"It begins with {begun!r}: {text.strip()[:200]!r}"
    for call in calls:
        reason, detail = schemas(tools).fault(call.name, _arguments(call))
        if reason:
            return reason, f"{detail} The call: {_shown(call)}."
    return "", ""


def tool_notes(tools: str, prompt: Sequence[Message]) -> list[str]:
    """What is unusual in tools, and in the calls that a prompt shows, a sentence each."""
    if not tools:
        return []
    notes = []
    for tool in json.loads(tools):
        if fault := schema_fault(tool):
            notes.append(
                f"the schema of the tool {tool['function']['name']} can't be used, and calls of it "
                f"are not held to it: {fault}."
            )
    for number, turn in enumerate(prompt, start=1):
        fault, detail = call_fault("", turn.tool_calls, tools)
        if fault:
            notes.append(f"turn {number} of the prompt {fault}. {detail}")
    return notes


@functools.lru_cache(maxsize=8)
def schemas(tools: str) -> Schemas:
    """The tools' schemas, made once."""
    return Schemas(tools_of(tools))


@functools.lru_cache(maxsize=8)
def tools_of(tools: str) -> list[Tool]:
    """The tools that a row's JSON holds; none for ""."""
    return list(json.loads(tools)) if tools else []


def _shown(call: ToolCall) -> str:
    """A call for a detail, as UTF-8 can hold it."""
    text = f"{call.name}({call.arguments[:200]})"
    return text.encode(errors="backslashreplace").decode()


def _arguments(call: ToolCall) -> dict[str, object] | None:
    try:
        value = from_text(call.arguments)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _with_ids(calls: Sequence[ToolCall], before: Sequence[Message]) -> tuple[ToolCall, ...]:
    """Calls with ids that no call of the conversation has; those that have one keep it."""
    taken = {call.id for message in before for call in message.tool_calls}
    number = sum(len(message.tool_calls) for message in before)
    made = []
    for call in calls:
        number += 1
        name, after = call.id, number
        while not name or name in taken:
            name, after = ID.format(after), after + 1
        taken.add(name)
        made.append(replace(call, id=name))
    return tuple(made)
