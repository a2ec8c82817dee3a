"""Headers whose values stay in the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from synth.errors import EngineError, SynthError
from synth.secrets import check_variable, redactor

# A header's name (RFC 9110).
NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def parse_header_env(option: str, given: Iterable[str]) -> dict[str, str]:
    """Headers of the command line: name -> environment variable.

    Args:
        option: as it is typed, for messages.
        given: `NAME=VARIABLE` each.

    Raises:
        SynthError: one is not of this form. What stands in the variable's place may be the secret
            itself and is not shown.
    """
    headers: dict[str, str] = {}
    for text in given:
        name, equals, variable = text.partition("=")
        if not equals or not NAME.fullmatch(name):
            raise SynthError(
                f"{option} takes NAME=VARIABLE: a header's name, and the environment variable that "
                "holds its value.",
                f"For example {option} X-Organization=MY_ORGANIZATION",
            )
        check_variable(option, variable)
        headers[name] = variable
    return headers


def header_values(header_env: Mapping[str, str]) -> dict[str, str]:
    """The headers with their values.

    Args:
        header_env: name -> environment variable.

    Raises:
        EngineError: a variable is not set, or holds what no header can.
    """
    values = {}
    for name, variable in header_env.items():
        value = os.environ.get(variable, "")
        if not value:
            raise EngineError(
                f"There is no value for the header {name}: the environment variable {variable} is "
                "not set.",
                f"Set it (export {variable}=...), or correct --header-env.",
            )
        if not (value.isascii() and value.isprintable()):
            raise EngineError(
                f"The header {name} from {variable} holds characters that no header has.",
                f"Set it again (export {variable}=...), without a line break.",
            )
        redactor.register(value, f"the value of {variable}")
        values[name] = value
    return values
