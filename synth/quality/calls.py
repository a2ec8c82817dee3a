"""Calls of tools in a model's answer: read from its text, checked, and as a text to look at."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from genpi_plugin.data import calls as reader
from genpi_plugin.data.schemas import NO_OBJECT, Schemas, schema_fault
from synth.engines.base import Answer, Message, Request, ToolCall
from synth.engines.messages import readable

MALFORMED = "writes a malformed call of a tool"
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
        left, read = reader.calls_apart(answer.text, schemas(request.tools).names)
        if not read:
            return answer
        calls = [ToolCall(call.id, call.name, _text(call.arguments)) for call in read]
        answer = replace(answer, text=left)
    else:
        calls = list(answer.tool_calls)
    return replace(answer, tool_calls=_with_ids(calls, request.messages))


def said(answer: Answer) -> str:
    """What an answer says and calls, as one text without white space around it; each call must
    have an object for its arguments (`unreadable`)."""
    return readable(Message("assistant", answer.text.strip(), tool_calls=answer.tool_calls or ()))


def unreadable(calls: Iterable[ToolCall] | None) -> tuple[str, str]:
    """The fault of calls that no row can hold, and its detail; two empty texts if there is none."""
    for call in calls or ():
        if _arguments(call) is None:
            return NO_OBJECT, f"It is {call.name}({call.arguments[:200]})."
    return "", ""


def call_fault(text: str, calls: Sequence[ToolCall], tools: str) -> tuple[str, str]:
    """Why calls are not well-formed, and its detail; two empty texts if they are, or are none.

    Args:
        text: the answer beside its calls.
        calls: those that were read.
        tools: the tools that there are, as JSON.
    """
    if begun := reader.broken_call(text):
        return MALFORMED, f"It begins with {begun!r}: {text.strip()[:200]!r}"
    for call in calls:
        reason, detail = schemas(tools).fault(call.name, _arguments(call))
        if reason:
            return reason, f"{detail} The call: {call.name}({call.arguments[:200]})."
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
    return Schemas(json.loads(tools))


def _arguments(call: ToolCall) -> dict[str, object] | None:
    try:
        value = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text(arguments: dict[str, object] | None) -> str:
    return "" if arguments is None else json.dumps(arguments, ensure_ascii=False)


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
