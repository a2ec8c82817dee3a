"""Scores that a task names: a regular expression, a JSON schema, or a function of the user's own.

scores:
  polite: {pattern: "(?i)thank you"}             # 1 where it is found in the answer
  well_formed: {json_schema: call.schema.json}   # 1 where the answer is JSON that it allows
  same_tool: {python: "my_scores:same_tool"}     # f(answer, teacher's answer) -> number
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from genpi_plugin.data import digests
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures import call_scores, value_scores
from genpi_plugin.evaluation.figures.names import OWN_PATH
from genpi_plugin.evaluation.figures.scores import Score

KINDS = ("pattern", "json_schema", "python")
NAME = re.compile(r"[a-z][a-z0-9_]*")
TAKEN = {"kl_to_teacher", "internalization", *OWN_PATH, "cut_answers", "thinks", "valid",
         "agreement", "exact", "chrf", *call_scores.NAMES, value_scores.NAME}  # fmt: skip


def read_scores(path: Path) -> dict[str, Any]:
    """The `scores:` of a YAML file, or its whole mapping.

    Raises:
        GenPIError: it can't be read, or is not a mapping.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise GenPIError(f"{path} can't be read: {error}", "give a YAML file of scores.") from error
    named = found.get("scores", found) if isinstance(found, dict) else None
    if not isinstance(named, dict) or not named:
        raise GenPIError(f"{path} names no scores.", "write `NAME: {pattern: ...}`, one a line.")
    return named


def task_scores(named: Mapping[str, Any], folder: Path) -> dict[str, Score]:
    """Functions (answer, teacher's answer) -> number for the scores that a task names.

    Args:
        named: by name, a mapping with one of `pattern`, `json_schema`, `python`.
        folder: where schema files are.

    Raises:
        GenPIError: a reserved name, an unknown kind, or a value that can't be used.
    """
    return {name: _score(name, described, folder) for name, described in named.items()}


def scores_digest(named: Mapping[str, Any], folder: Path) -> str:
    """A digest that also changes with the schemas and modules behind the scores."""
    files = []
    for described in named.values():
        [(kind, value)] = described.items()
        if kind == "json_schema" and isinstance(value, str):
            files.append(folder / value)
        elif kind == "python":
            source = getattr(sys.modules[value.partition(":")[0]], "__file__", None)
            files += [Path(source)] if source else []
    return digests.of([dict(named), digests.of_files(files)])


def _score(name: Any, described: Any, folder: Path) -> Score:
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in TAKEN:
        raise GenPIError(
            f"`{name}` can't be the name of a score.",
            "use lower-case letters, digits and _; these are reserved: "
            f"{', '.join(sorted(TAKEN))}.",
        )
    kinds = list(described) if isinstance(described, Mapping) else []
    if len(kinds) != 1 or kinds[0] not in KINDS:
        raise GenPIError(
            f"the score `{name}` is {described!r}.",
            "write one of `pattern: REGULAR EXPRESSION`, `json_schema: FILE or mapping`, "
            "`python: module:function`.",
        )
    [(kind, value)] = described.items()
    if kind == "pattern":
        return _pattern(name, value)
    if kind == "json_schema":
        return _schema(name, value, folder)
    return _function(name, value)


def _pattern(name: str, value: Any) -> Score:
    try:
        pattern = re.compile(str(value))
    except re.error as error:
        raise GenPIError(
            f"the score `{name}`: {value!r} is not a regular expression: {error}.", "correct it."
        ) from error
    return lambda answer, teacher: float(pattern.search(answer) is not None)


def _schema(name: str, value: Any, folder: Path) -> Score:
    try:
        schema = value
        if isinstance(value, str):
            schema = json.loads((folder / value).read_text(encoding="utf-8"))
        checker = jsonschema.validators.validator_for(schema)
        checker.check_schema(schema)
    except (OSError, ValueError, jsonschema.SchemaError) as error:
        text = str(error).splitlines()[0]
        raise GenPIError(
            f"the score `{name}`: {value!r} is not a usable JSON schema: {text}.",
            f"give a schema as a mapping, or as a file in {folder}.",
        ) from error
    validator = checker(schema)

    def allowed(answer: str, teacher: str) -> float:
        try:
            return float(validator.is_valid(json.loads(answer)))
        except json.JSONDecodeError:
            return 0.0

    return allowed


def _function(name: str, value: Any) -> Score:
    module, colon, function = str(value).partition(":")
    # An installed command does not look for modules where it was started.
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function) if colon else None
    except (ImportError, AttributeError) as error:
        raise GenPIError(
            f"the score `{name}`: {value} can't be imported: {error}.",
            "write `module:function`; the module may also be in the current folder.",
        ) from error
    finally:
        sys.path.pop(0)
    if not callable(found):
        raise GenPIError(
            f"the score `{name}`: {value} is not a function.",
            "write `module:function`, a function (answer, teacher's answer) -> number.",
        )

    def scored(answer: str, teacher: str) -> float:
        given = found(answer, teacher)
        try:
            return float(given)
        except (TypeError, ValueError) as error:
            raise GenPIError(
                f"the score `{name}`: {value} returned {given!r}.", "it must return a number."
            ) from error

    return scored
