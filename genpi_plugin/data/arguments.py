"""A call's arguments as a model wrote them: JSON, or texts whose types the tool's schema tells."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from genpi_plugin.data.tools import Tool

Arguments = dict[str, Any]
# Reads what stands between a call's marks by the schemas of the parameters; None: it is malformed.
Reader = Callable[[str, Mapping[str, Any]], Arguments | None]


def json_at(text: str, place: int) -> tuple[Any, int]:
    """The JSON value at a place, and where it ends: at the place itself where there is none."""
    try:
        return _DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):
        return None, place


def from_text(text: str) -> Any:
    """The value of a JSON text; NaN and infinities, which Python reads, are no JSON.

    Raises:
        ValueError, RecursionError: it is none.
    """
    return json.loads(text, parse_constant=_refuse)


def properties(tools: Sequence[Tool], name: str) -> Mapping[str, Any]:
    """The schemas of a tool's parameters by name; none for a tool that is not there."""
    for tool in tools:
        if tool["function"]["name"] == name:
            found = (tool["function"].get("parameters") or {}).get("properties")
            return found if isinstance(found, Mapping) else {}
    return {}


def in_tags(pattern: re.Pattern[str], begin: str) -> Reader:
    """Reads a text per argument, between tags, or a JSON object in their place.

    A parameter that is a text by its schema stays as it is written; of others numbers, lists and
    the like are JSON. What stands beside the tags makes the call malformed.

    Args:
        pattern: an argument, with its name and its text as groups.
        begin: what begins one.
    """

    def read(text: str, schemas: Mapping[str, Any]) -> Arguments | None:
        value, end = json_at(text, len(text) - len(text.lstrip()))
        if isinstance(value, dict) and not text[end:].strip():
            return value
        pairs = pattern.findall(text)
        if pattern.sub("", text).strip() or any(begin in given for _, given in pairs):
            return None
        return {key: _value(given, schemas.get(key)) for key, given in pairs}

    return read


def _value(text: str, schema: Any) -> Any:
    if _is_text(schema):
        return text
    try:
        return from_text(text)
    except (ValueError, RecursionError):
        return text


def _is_text(schema: Any) -> bool:
    """Whether a schema takes texts alone."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    return kind in ("string", ["string"])


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
