"""Prompts as the prelude looks for them: their literal pieces, and what stands between them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genpi_plugin.data.messages import Message, arguments_of
from genpi_plugin.data.roles import INSTRUCTIONS
from genpi_plugin.data.tools import Tool
from genpi_plugin.errors import TemplateError

CURE = (
    "serve the adapter with the original template, and let the application send the short request."
)


@dataclass(frozen=True)
class Internalized:
    """One prompt with its tools, as an adapter has learned to do without them.

    `slots` are the names of its slots, `{{ name }}`, and `kept` the messages that tell their values
    in the student's request, with slots in their places; None where they have no common form.
    """

    prompt_id: str
    prompt: Sequence[Message]
    tools: Sequence[Tool] = field(default_factory=list)
    slots: Sequence[str] = ()
    kept: Sequence[Message] | None = ()


def pattern(one: Internalized, any_system: bool) -> dict[str, Any]:
    """What the prelude compares with a request, as a literal.

    Its values are counted through all turns, and `firsts` has for each the place of the first one
    of the same slot. Where the last turn goes on in the input, that is the last value.

    Raises:
        TemplateError: the values of slots could not be told from a request.
    """
    skipped = [turn for turn in one.prompt if any_system and turn["role"] in INSTRUCTIONS]
    if one.slots and skipped:
        raise _error(one, "are lost where any system message is left out")
    if one.slots and one.kept is None:
        raise _error(one, "are said in no common form by the rows of the dataset")
    turns = [turn for turn in one.prompt if turn not in skipped]
    names: list[str] = []
    found = []
    for number, turn in enumerate(turns):
        goes_on = turn["role"] == "user" and number == len(turns) - 1
        content = turn["content"].lstrip() + "\n\n" if goes_on else turn["content"].strip()
        pieces, own = split(content, one.slots)
        if "" in pieces[1:-1]:
            raise _error(one, "stand side by side, with nothing between them")
        if any(split(call["function"]["arguments"], one.slots)[1] for call in _calls(turn)):
            raise _error(one, "stand in the arguments of a call")
        names += own
        found.append({
            "role": "system" if turn["role"] in INSTRUCTIONS else turn["role"],
            "pieces": [*pieces, ""] if goes_on else pieces,
            "goes_on": goes_on,
            "calls": [_call(call) for call in _calls(turn)],
        })  # fmt: skip
    goes_on = bool(found) and found[-1]["goes_on"]
    return {
        "turns": found,
        "least": len(found) if goes_on else len(found) + 1,
        "goes_on": goes_on,
        "firsts": [names.index(name) for name in names],
        "kept": [_kept(message, one, names) for message in one.kept or ()],
    }


def split(text: str, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """A text's pieces around its slots, and the names of these.

    >>> split("Dear {{ name }}!", ["name"])
    (['Dear ', '!'], ['name'])
    """
    if not names:
        return [text], []
    slot = re.compile(r"\{\{\s*(" + "|".join(map(re.escape, names)) + r")\s*\}\}")
    parts = slot.split(text)
    return parts[::2], parts[1::2]


def by_name(tools: Sequence[Tool]) -> dict[str, Any]:
    """The tools by their names; servers add fields of their own, so not all of a schema counts."""
    return {
        tool["function"]["name"]: {
            "description": tool["function"].get("description") or "",
            "parameters": tool["function"].get("parameters") or {},
        }
        for tool in tools
    }


def _kept(message: Message, one: Internalized, names: Sequence[str]) -> dict[str, Any]:
    pieces, own = split(message["content"], one.slots)
    places = [names.index(name) for name in own]
    return {"role": message["role"], "pieces": pieces, "places": places}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    arguments = arguments_of(call)
    text = json.dumps(arguments, ensure_ascii=False).replace(" ", "")
    return {"name": call["function"]["name"], "arguments": arguments, "json": text}


def _calls(turn: Message) -> Sequence[Mapping[str, Any]]:
    return turn.get("tool_calls", [])


def _error(one: Internalized, why: str) -> TemplateError:
    names = ", ".join(f"`{name}`" for name in one.slots)
    return TemplateError(
        f"the values of the slots of the prompt {one.prompt_id!r} ({names}) can't be picked out of "
        f"a request: they {why}.",
        CURE,
    )
