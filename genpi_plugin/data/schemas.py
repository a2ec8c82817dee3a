"""Whether a call fits the tools that there are, and whether their schemas can say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema
import referencing
from referencing.exceptions import CannotDetermineSpecification, Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

from genpi_plugin.data.tools import Tool

NOT_THERE = "calls a tool that is not there"
NO_OBJECT = "calls a tool with arguments that are no JSON object"
NO_FIT = "calls a tool with arguments that do not fit its schema"
DEEP = "It is nested too deep to be checked."
SHOWN = 200
# Other documents are not looked for: neither on the web, nor anywhere else.
REGISTRY: Any = referencing.Registry()


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
        try:
            error = None if validator is None else next(validator.iter_errors(arguments), None)
        except RecursionError:
            return f"{NO_FIT} ({name})", DEEP
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
    return next(_unusable(parameters), "")


def _unusable(parameters: Mapping[str, Any]) -> Iterator[str]:
    """The references of a schema that lead nowhere."""
    kind = specification_with(str(parameters.get("$schema", "")), default=DRAFT202012)
    root = kind.create_resource(parameters)
    try:
        yield from _unusable_in(root, REGISTRY.resolver_with_root(root))
    except (CannotDetermineSpecification, RecursionError) as error:
        yield f"parameters: {type(error).__name__}: {str(error)[:SHOWN]}"


def _unusable_in(schema: Any, resolver: Any) -> Iterator[str]:
    held = schema.contents if isinstance(schema.contents, Mapping) else {}
    for key in ("$ref", "$dynamicRef"):
        if isinstance(named := held.get(key), str):
            try:
                resolver.lookup(named)
            except Unresolvable:
                yield f"its {key} {named!r} leads nowhere, and no other document is looked for"
    for inner in schema.subresources():
        yield from _unusable_in(inner, resolver.in_subresource(inner))


def _validator(tool: Tool) -> Any:
    """What checks a tool's arguments; None where its schema is none."""
    if schema_fault(tool):
        return None
    parameters = tool["function"].get("parameters") or {}
    return jsonschema.validators.validator_for(parameters)(parameters, registry=REGISTRY)
