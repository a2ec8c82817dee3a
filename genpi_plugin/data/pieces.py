"""What of a message has to be found again in what a template wrote: texts, and calls by value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genpi_plugin.data.messages import Message, arguments_of
from genpi_plugin.data.tools import Tool, essentials
from genpi_plugin.data.written import missing


def lost_calls(message: Message, written: str) -> str:
    """The first value of a message's calls that is not in the rendered text; "" if all are there.

    Looked for are names and values, in any form that a template has for them, without white space.
    """
    bare = _bare(written)
    for call in message.get("tool_calls", []):
        arguments = arguments_of(call)
        if not _found((call["function"]["name"],), bare):
            return str(call["function"]["name"])
        if _found(_as_json(arguments), bare):
            continue
        for value in leaves(arguments):
            if not _found(_forms(value), bare):
                return value if isinstance(value, str) else json.dumps(value)
    return ""


def lost_tool(tools: Sequence[Tool], written: str) -> tuple[str, str]:
    """The first tool whose name, description or parameters are not in the rendered text, and what
    of it is not; two empty texts if all are there."""
    bare = _bare(written)
    for tool in tools:
        for text in essentials(tool):
            if not _found(_forms(text), bare):
                return tool["function"]["name"], text
    return "", ""


def lost_result(content: str, written: str) -> str:
    """The part of a tool's result that is not in the rendered text, as it is or as JSON writes it;
    "" if all is there."""
    lost = missing(content, written)
    return lost if lost and not _found(_forms(content), _bare(written)) else ""


def leaves(value: Any) -> Iterator[Any]:
    """The keys and the values in JSON that are no collections themselves."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def _forms(value: Any) -> tuple[str, ...]:
    """How templates write a value: as JSON, with or without ASCII only, or as Python."""
    if isinstance(value, str):
        return (value, *(text[1:-1] for text in _as_json(value)))
    return (json.dumps(value), str(value))


def _as_json(value: Any) -> tuple[str, ...]:
    return json.dumps(value, ensure_ascii=False), json.dumps(value)


def _found(forms: Sequence[str], bare: str) -> bool:
    return any(_bare(form) in bare for form in forms)


def _bare(text: str) -> str:
    return "".join(text.split())
