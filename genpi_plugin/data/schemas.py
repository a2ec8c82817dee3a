"""Whether a call fits the tools that there are, and whether their schemas can say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jsonschema

from genpi_plugin.data.tools import Tool

NOT_THERE = "calls a tool that is not there"
NO_OBJECT = "calls a tool with arguments that are no JSON object"
NO_FIT = "calls a tool with arguments that do not fit its schema"
SHOWN = 200


class Schemas:
    """The parameters' schemas of some tools, by name; one that is no schema allows everything."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._validators = {tool["function"]["name"]: _validator(tool) for tool in tools}

    @property
    def names(self) -> tuple[str, ...]:
        """The tools' names, in their order."""
        return tuple(self._validators)

    def fault(self, name: str, arguments: dict[str, Any] | None) -> tuple[str, str]:
        """Why a call is not well-formed, and its detail; two empty texts if it is.

        Args:
            name: of the tool that is called.
            arguments: by name; None where they are no object.
        """
        if name not in self._validators:
            known = ", ".join(self._validators) or "none"
            return f"{NOT_THERE} ({name[:60]})", f"There are: {known}."
        if arguments is None:
            return NO_OBJECT, f"The tool is {name}."
        validator = self._validators[name]
        error = None if validator is None else next(validator.iter_errors(arguments), None)
        if error is None:
            return "", ""
        return f"{NO_FIT} ({name})", f"{error.json_path}: {error.message[:SHOWN]}"


def schema_fault(tool: Tool) -> str:
    """What is wrong with the schema of a tool's parameters; "" if it can be used."""
    parameters = tool["function"].get("parameters") or {}
    try:
        jsonschema.validators.validator_for(parameters).check_schema(parameters)
    except jsonschema.SchemaError as error:
        return f"{error.json_path.replace('$', 'parameters', 1)}: {error.message[:SHOWN]}"
    return ""


def _validator(tool: Tool) -> Any:
    """What checks a tool's arguments; None where its schema is none."""
    if schema_fault(tool):
        return None
    parameters = tool["function"].get("parameters") or {}
    return jsonschema.validators.validator_for(parameters)(parameters)
