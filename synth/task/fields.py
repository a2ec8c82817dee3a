"""The types of task.yml's fields: texts, patterns, templates, names of filters and stages."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from synth.errors import TaskError
from synth.task.templates import compile_wrap


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


def wrap_template(template: str) -> str:
    try:
        compile_wrap(template)
    except TaskError as error:
        raise ValueError(error.cause) from None
    return template


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds the character NUL (U+0000), which no text file can")
    return text


Regex = Annotated[str, AfterValidator(_regex)]
Text = Annotated[str, Field(min_length=1), AfterValidator(_without_nul)]
Refusing = Literal["inputs", "outputs", "reasons", "conversations"]

# The filters that the package brings (`synth/quality/shipped.py`), in order.
FILTERS = (
    "tool_calls",
    "role_markers",
    "input_refusals",
    "require_action",
    "output_refusals",
    "reason_length",
    "reason_refusals",
    "reason_actions",
)
REFERENCE = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*:[A-Za-z_]\w*")


def known(names: tuple[str, ...], what: str) -> AfterValidator:
    """Take the names of what is shipped, and `module:name` for what is the user's own."""

    def check(name: str) -> str:
        if name not in names and not REFERENCE.fullmatch(name):
            raise ValueError(
                f"there is no such {what}; known are {', '.join(names)}, and one of your own is "
                "written module:name"
            )
        return name

    return AfterValidator(check)
