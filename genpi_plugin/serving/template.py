"""A chat template that takes what was internalized out of a request and renders the rest.

The base model's template stands in it unchanged, behind a prelude (`prelude.jinja`) that sets
`messages` and `tools` anew. What is taken out is known by its text: Jinja can't hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from genpi_plugin.data.messages import Message, arguments_of
from genpi_plugin.data.roles import INSTRUCTIONS
from genpi_plugin.data.tools import Tool
from genpi_plugin.errors import TemplateError
from genpi_plugin.serving.literals import literal

MARK = "Written by `axolotl genpi-template`"
COMMENT = "{{#- {mark}: behind the prelude stands the original, unchanged. {what} -#}}\n"
HOLDS = "The first lines hold texts of what was internalized."
HOLDS_NONE = "What was internalized is not in here."


@dataclass(frozen=True)
class Internalized:
    """One prompt with its tools, as an adapter has learned to do without them."""

    prompt_id: str
    prompt: Sequence[Message]
    tools: Sequence[Tool] = field(default_factory=list)


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
        TemplateError: the original is such a template already.
    """
    if MARK in source:
        raise TemplateError(
            "the chat template was itself written by `axolotl genpi-template`.",
            "give the config with which the adapter was trained, and the original template.",
        )
    prompts = [_prompt(one.prompt, any_system) for one in internalized]
    # The longest first: one prompt may be the beginning of another.
    prompts.sort(key=lambda one: (-len(one["turns"]), -len(one["head"])))
    prompts = [one for one in prompts if one["turns"] or one["head"]]
    tools = [] if any_tools else [_tools(one.tools) for one in internalized if one.tools]
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


def _prompt(prompt: Sequence[Message], any_system: bool) -> dict[str, Any]:
    """The turns that are messages of their own, and the text that the next message begins with."""
    turns = [turn for turn in prompt if not (any_system and turn["role"] in INSTRUCTIONS)]
    joined = turns.pop() if turns and turns[-1]["role"] == "user" else None
    return {
        "turns": [_turn(turn) for turn in turns],
        "head": f"{joined['content'].lstrip()}\n\n" if joined else "",
    }


def _turn(turn: Message) -> dict[str, Any]:
    return {
        "role": "system" if turn["role"] in INSTRUCTIONS else turn["role"],
        "content": turn["content"].strip(),
        "calls": [
            {
                "name": call["function"]["name"],
                "arguments": arguments_of(call),
                "json": json.dumps(arguments_of(call), ensure_ascii=False).replace(" ", ""),
            }
            for call in turn.get("tool_calls", [])
        ],
    }


def _tools(tools: Sequence[Tool]) -> dict[str, Any]:
    """The tools by their names; servers add fields of their own, so not all of a schema counts."""
    return {
        tool["function"]["name"]: {
            "description": tool["function"].get("description") or "",
            "parameters": tool["function"].get("parameters") or {},
        }
        for tool in tools
    }
