"""Calls of tools in an answer, compared with the teacher's by value.

Calls are read from the answer's text in the forms that chat templates have for them: JSON objects
with a name and arguments (Hermes, Qwen, Llama, Mistral), `<function=...>` with `<parameter=...>`
(Qwen 3.5, Nemotron 3), `<arg_key>` and `<arg_value>` (GLM).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema

from genpi_plugin.data.tools import Tool
from genpi_plugin.evaluation.figures.scores import Score

FUNCTION = re.compile(r"<function=([^>\s]+)>(.*?)</function>", re.DOTALL)
PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
TAGGED = re.compile(r"<tool_call>\s*([^\s<{]+)\s*((?:<arg_key>.*?)?)</tool_call>", re.DOTALL)
TAGS = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
NAMES = ("call_made", "call_tool", "call_arguments")


@dataclass(frozen=True)
class Call:
    """A call as it was written; arguments that are no object are None."""

    name: str
    arguments: dict[str, Any] | None


def call_scores(tools: Sequence[Tool]) -> dict[str, Score]:
    """Functions (answer, teacher's answer) -> 0 or 1, each stricter than the one before.

    `call_made`: the answer calls tools where the teacher's does, all calls well-formed (a known
    name, arguments that the schema allows), and calls none where that does not. `call_tool`: the
    same tools in the same order. `call_arguments`: with the same arguments, by value.
    """
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in tools}

    def made(answer: str, teacher: str) -> float:
        found = read_calls(answer)
        as_often = bool(found) == bool(read_calls(teacher))
        return float(as_often and all(well_formed(call, schemas) for call in found))

    def tool(answer: str, teacher: str) -> float:
        names, its = ([call.name for call in read_calls(text)] for text in (answer, teacher))
        return float(made(answer, teacher) and names == its)

    def arguments(answer: str, teacher: str) -> float:
        return float(made(answer, teacher) and read_calls(answer) == read_calls(teacher))

    return dict(zip(NAMES, (made, tool, arguments), strict=True))


def well_formed(call: Call, schemas: dict[str, Any]) -> bool:
    """Whether a call is of a known tool, with arguments that its schema allows."""
    if call.name not in schemas or call.arguments is None:
        return False
    try:
        jsonschema.validate(call.arguments, schemas[call.name])
    except jsonschema.ValidationError:
        return False
    except jsonschema.SchemaError:
        return True  # nothing to hold the arguments against
    return True


def read_calls(text: str) -> list[Call]:
    """The calls in an answer's text, in order."""
    found = [
        (match.start(), Call(match[1], _values(PARAMETER.findall(match[2]))))
        for match in FUNCTION.finditer(text)
    ]
    found += [
        (match.start(), Call(match[1], _values(TAGS.findall(match[2]))))
        for match in TAGGED.finditer(text)
        if not FUNCTION.search(match[0])
    ]
    taken = [span for pattern in (FUNCTION, TAGGED) for span in map(_span, pattern.finditer(text))]
    place = text.find("{")
    while place >= 0:
        value, end = _json_at(text, place)
        call = _call(value)
        if call and not any(start <= place < stop for start, stop in taken):
            found.append((place, call))
        place = text.find("{", end if call else place + 1)
    return [call for _, call in sorted(found, key=lambda one: one[0])]


def _span(match: re.Match[str]) -> tuple[int, int]:
    return match.span()


def _json_at(text: str, place: int) -> tuple[Any, int]:
    try:
        return json.JSONDecoder().raw_decode(text, place)
    except (ValueError, RecursionError):
        return None, place


def _call(value: Any) -> Call | None:
    """A JSON value as a call, where it is one."""
    if not isinstance(value, dict):
        return None
    value = value.get("function", value) if isinstance(value.get("function"), dict) else value
    given = value.get("arguments", value.get("parameters"))
    if not isinstance(value.get("name"), str) or given is None:
        return None
    if isinstance(given, str):
        given, _ = _json_at(given, 0)
    return Call(value["name"], given if isinstance(given, dict) else None)


def _values(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Arguments that are written as texts: numbers, lists and the like are JSON."""
    found: dict[str, Any] = {}
    for key, text in pairs:
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found
