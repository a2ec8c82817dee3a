"""A chat template that takes what was internalized out of a request and renders the rest.

The base model's template stands in it unchanged, behind a prelude (`prelude.jinja`) that sets
`messages` and `tools` anew. What is taken out is known by its text: Jinja can't hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from genpi_plugin.errors import TemplateError
from genpi_plugin.serving.literals import literal
from genpi_plugin.serving.patterns import Internalized, by_name, pattern

MARK = "Written by `axolotl genpi-template`"
COMMENT = "{{#- {mark}: behind the prelude stands the original, unchanged. {what} -#}}\n"
HOLDS = "The first lines hold texts of what was internalized."
HOLDS_NONE = "What was internalized is not in here."


def written(
    source: str,
    internalized: Sequence[Internalized],
    template_kwargs: Mapping[str, Any] | None = None,
    any_system: bool = False,
    any_tools: bool = False,
) -> str:
    """The template without what was internalized.

    Args:
        source: the original.
        template_kwargs: what the original was trained with; a request's own go before them.
        any_system: leave out instructions of any text, and not only those of the prompts.
        any_tools: leave out any tools.

    Raises:
        TemplateError: the original is such a template already, or the values of a prompt's slots
            could not be told from a request.
    """
    if MARK in source:
        raise TemplateError(
            "the chat template was itself written by `axolotl genpi-template`.",
            "give the config with which the adapter was trained, and the original template.",
        )
    prompts = [
        {**pattern(one, any_system), "tools": [] if any_tools else [by_name(one.tools)]}
        for one in internalized
    ]
    # One prompt may have been learned with several lists of tools.
    for one in prompts:
        one["tools"] = [
            its for two in prompts if two["turns"] == one["turns"] for its in two["tools"] if its
        ]
    # The longest first, without slots before with: one prompt may be the beginning of another.
    prompts.sort(key=lambda one: (-len(one["turns"]), len(one["firsts"]), -len(literal(one))))
    # Of a prompt that is any system message, the tools are known alone.
    tools = [its for one in prompts if not one["turns"] for its in one["tools"]]
    prompts = [one for one in prompts if one["turns"]]
    values = {
        "genpi_prompts": prompts,
        "genpi_tools": tools,
        "genpi_any_system": any_system,
        "genpi_any_tools": any_tools,
    }
    lines = [
        COMMENT.format(mark=MARK, what=HOLDS if prompts or tools else HOLDS_NONE),
        *(f"{{%- set {name} = {literal(value)} -%}}\n" for name, value in values.items()),
        *(
            f"{{%- if {name} is not defined -%}}{{%- set {name} = {literal(value)} -%}}"
            "{%- endif -%}\n"
            for name, value in (template_kwargs or {}).items()
        ),
        files(__package__).joinpath("prelude.jinja").read_text("utf-8").rstrip("\n"),
    ]
    # A block's end takes the line's end with it, so the original begins as if at a file's start.
    return "".join(lines) + "\n" + source
