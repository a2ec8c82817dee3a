"""Calls of tools in an answer, compared with the teacher's by value (`genpi_plugin.data.calls`)."""

from __future__ import annotations

from collections.abc import Sequence

from genpi_plugin.data.calls import Call, broken_call, calls_apart, read_calls
from genpi_plugin.data.schemas import Schemas
from genpi_plugin.data.tools import Tool
from genpi_plugin.evaluation.figures.scores import Score

NAMES = ("call_made", "call_tool", "call_arguments")


def call_scores(tools: Sequence[Tool]) -> dict[str, Score]:
    """Functions (answer, teacher's answer) -> 0 or 1, each stricter than the one before.

    `call_made`: the answer calls tools where the teacher's does, all calls well-formed (a known
    name, arguments that the schema allows), and calls none, nor begins one, where that does not.
    `call_tool`: the same tools in the same order. `call_arguments`: with the same arguments, by
    value.
    """
    schemas = Schemas(tools)

    def made(answer: str, teacher: str) -> float:
        found = read_calls(answer, tools)
        as_often = bool(found) == bool(read_calls(teacher, tools))
        well_formed = not broken(answer) and all(_well_formed(call, schemas) for call in found)
        return float(as_often and well_formed)

    def broken(answer: str) -> bool:
        return broken_call(calls_apart(answer, tools)[0], tools) != ""

    def tool(answer: str, teacher: str) -> float:
        names, its = ([call.name for call in read_calls(text, tools)] for text in (answer, teacher))
        return float(made(answer, teacher) and names == its)

    def arguments(answer: str, teacher: str) -> float:
        return float(made(answer, teacher) and plain(answer) == plain(teacher))

    def plain(answer: str) -> list[tuple[str, object]]:
        # Ids are drawn anew each time.
        return [(call.name, call.arguments) for call in read_calls(answer, tools)]

    return dict(zip(NAMES, (made, tool, arguments), strict=True))


def _well_formed(call: Call, schemas: Schemas) -> bool:
    """Whether a call is of a known tool, with arguments that its schema allows."""
    return schemas.fault(call.name, call.arguments) == ("", "")
