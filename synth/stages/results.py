"""The results of tools, made up by the generator: what it is sent, and which can't be used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from genpi_plugin.data.text import folded
from synth.engines.base import Message, ToolCall
from synth.engines.messages import readable
from synth.quality.filters import PLAYS_AGENT, REFUSES
from synth.quality.refusals import refuses
from synth.stages.environment import marker_fault
from synth.stages.requests import asked
from synth.stages.slots import filled_prompt
from synth.store.rows import Row
from synth.task.taskfile import Task
from synth.task.templates import instructed

TOOLS = """\
Play a tool that an AI agent calls. You are shown the conversation so far, and the call that the \
agent makes now. Write what the tool gives back: a result that the call asks for and that agrees \
with all that was said and given back before, as JSON, or {{"error": "..."}} where the tool can't \
do what it is asked. Write the tool's result and nothing else.
The tool:
{schema}"""
EXAMPLES = "## Earlier conversations"
NOW = "## The conversation now"
CALL = "## The call now"
SPEAKER = {"user": "User", "assistant": "Agent", "tool": "Tool"}
FENCE = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.DOTALL)


def result_messages(
    row: Row, turns: Sequence[Message], call: ToolCall, task: Task
) -> tuple[Message, ...]:
    """What the generator is sent for the result of a call.

    The prompt's instruction stays out. Its other turns show how the tools answer.

    Args:
        row: with the tools, and its request.
        turns: the conversation from the first answer on, with the results of earlier calls.
        call: what is answered.
        task: whose `prompt_role` says how an instruction is sent.
    """
    tools = {tool["function"]["name"]: tool for tool in json.loads(row.tools)}
    schema = tools.get(call.name, {"type": "function", "function": {"name": call.name}})
    shown = _turns(_examples(row))
    parts = [f"{EXAMPLES}\n{shown}"] if shown else []
    parts.append(f"{NOW}\n{_turns((*asked(row), *turns))}")
    parts.append(f"{CALL}\n{_call(call)}\nWhat does the tool give back?")
    system = TOOLS.format(schema=json.dumps(schema, ensure_ascii=False))
    return instructed(task.config.prompt_role, system, [Message("user", "\n\n".join(parts))])


def result_of(text: str) -> str:
    """A result without white space and a code fence around it."""
    text = text.strip()
    fenced = FENCE.match(text)
    return fenced[1].strip() if fenced else text


def result_end(row: Row, turns: Sequence[Message], call: ToolCall, text: str, task: Task) -> str:
    """Why a result can't be used, and the conversation ends before it; "" if it can.

    Args:
        row: whose prompt may show how the tool answers.
        turns: as in `result_messages`.
        call: what is answered.
        text: the result.
        task: says what is looked at.
    """
    if folded(text) in {folded(_call(call)), *(folded(readable(one)) for one in _agent(turns))}:
        return f"tool's result {PLAYS_AGENT}"
    if marker := marker_fault(text, task):
        return f"tool's result {marker}"
    if "conversations" in task.config.reject_refusals and refuses(text):
        return f"tool's result {REFUSES}"
    before = list(_results((*_examples(row), *asked(row), *turns), call.name))
    if before and all(map(_is_json, before)) and not _is_json(text):
        return "tool's result is no JSON"
    return ""


def _examples(row: Row) -> tuple[Message, ...]:
    """The prompt's turns behind its instruction, which show how conversations go."""
    return filled_prompt(row)[1:]


def _agent(turns: Sequence[Message]) -> list[Message]:
    return [turn for turn in turns if turn.role == "assistant"]


def _results(turns: Sequence[Message], name: str) -> Iterator[str]:
    """The results of a tool in a conversation."""
    called: dict[str, str] = {}
    for turn in turns:
        called |= {call.id: call.name for call in turn.tool_calls}
        if turn.role == "tool" and called.get(turn.tool_call_id) == name:
            yield turn.content


def _turns(turns: Sequence[Message]) -> str:
    return "\n".join(
        f"{SPEAKER[turn.role]}: {readable(turn)}" for turn in turns if turn.role in SPEAKER
    )


def _call(call: ToolCall) -> str:
    return readable(Message("assistant", "", tool_calls=(call,)))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
