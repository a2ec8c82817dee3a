"""The tools of a prompt: schemas in OpenAI's form, seen by the teacher and not by the student."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genpi_plugin.data.messages import from_json, kind
from genpi_plugin.errors import RowError

Tool = dict[str, Any]
CURE = (
    'write `tools` as the JSON of [{"type": "function", "function": {"name": ..., "description": '
    '..., "parameters": {...}}}, ...].'
)


def parse_tools(value: Any, name: str, where: str) -> list[Tool]:
    """Read the field `tools`: a JSON string of a list of schemas.

    Raises:
        RowError: it is something else, or two tools have one name.
    """
    if not isinstance(value, str):
        # As columns, schemas would be padded with other tools' nulls.
        raise RowError(f"{where}: the field `{name}` is {kind(value)}, not text.", CURE)
    tools = from_json(value, name, where)
    if not isinstance(tools, list) or not tools:
        raise RowError(f"{where}: the field `{name}` holds no list of tools.", CURE)
    names = []
    for number, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if (
            not isinstance(function, dict)
            or tool.get("type") != "function"
            or not isinstance(function.get("name"), str)
            or not function["name"]
            or not isinstance(function.get("parameters", {}), dict)
        ):
            raise RowError(f"{where}: the field `{name}[{number}]` is no tool's schema.", CURE)
        names.append(function["name"])
    if len(set(names)) < len(names):
        raise RowError(f"{where}: two tools of `{name}` have one name.", "name each differently.")
    return tools


def tools_text(tools: Sequence[Tool]) -> str:
    """The tools as one text, which recitals write: a line of JSON for each."""
    return "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)


def essentials(tool: Tool) -> Iterator[str]:
    """The texts of a schema without which a tool can't be called: names and descriptions."""
    function = tool["function"]
    yield function["name"]
    if function.get("description"):
        yield function["description"]
    properties = function.get("parameters", {}).get("properties")
    yield from properties if isinstance(properties, Mapping) else ()
