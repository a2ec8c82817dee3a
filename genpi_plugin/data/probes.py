"""Messages that no template can know: what it writes of them tells how it takes others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genpi_plugin.data.messages import Message

ANSWER = "Zanswerq"
NAME, KEY, VALUE = "zfindq", "zkeyq", "Zvalueq"
ARGUMENTS = f'{{"{KEY}": "{VALUE}"}}'
CALLS = "+"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": NAME,
        "description": "Finds.",
        "parameters": {
            "type": "object",
            "properties": {KEY: {"type": "string", "description": "What."}},
            "required": [KEY],
        },
    },
}


def probe(turn: int) -> str:
    """The content of a turn when a template is measured."""
    return f"Zturn{turn}q"


def call(turn: int, number: int = 0) -> dict[str, Any]:
    """A call with an id that every template takes: Mistral's want nine letters and digits."""
    function = {"name": NAME, "arguments": ARGUMENTS}
    return {"id": f"c{turn % 1000:03d}n{number:04d}", "type": "function", "function": function}


def kinds(messages: Sequence[Message]) -> tuple[str, ...]:
    """The roles, with the number of calls behind an assistant's that makes some."""
    return tuple(
        f"{one['role']}{CALLS}{len(one['tool_calls'])}" if "tool_calls" in one else one["role"]
        for one in messages
    )


def turns(kinds: Sequence[str]) -> list[Message]:
    """A probe for each of `kinds`."""
    made: list[Message] = []
    pending: list[str] = []
    for turn, kind in enumerate(kinds):
        role, _, count = kind.partition(CALLS)
        message: Message = {"role": role, "content": probe(turn)}
        if count:
            message |= {"content": "", "tool_calls": [call(turn, n) for n in range(int(count))]}
            pending = [one["id"] for one in message["tool_calls"]]
        if role == "tool":
            # Answers out of order, or to calls of no turn, are the template's to refuse.
            message["tool_call_id"] = pending.pop(0) if pending else call(turn)["id"]
        made.append(message)
    return made
