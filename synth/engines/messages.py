"""Messages as plain dictionaries, which datasets and chat APIs hold, and as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from genpi_plugin.data import messages as plugin
from synth.engines.base import Message, ToolCall


def as_dicts(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as the dataset and every chat API hold them, with the fields that they have."""
    return [_as_dict(message) for message in messages]


def as_messages(dicts: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """The inverse of `as_dicts`; fields that are there and empty are none."""
    return tuple(
        Message(
            turn["role"],
            turn.get("content") or "",
            turn.get("reasoning_content") or "",
            tuple(
                ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
                for call in turn.get("tool_calls") or ()
            ),
            turn.get("tool_call_id") or "",
            turn.get("name") or "",
        )
        for turn in dicts
    )


def readable(message: Message) -> str:
    """A message as one text for people: its content, then each call as a line of JSON."""
    return plugin.readable(_as_dict(message))


def _as_dict(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    more = {
        "reasoning_content": message.reasoning_content,
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ],
        "tool_call_id": message.tool_call_id,
        "name": message.name,
    }
    return found | {name: value for name, value in more.items() if value}
