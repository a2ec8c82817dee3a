"""Slots: the places in a prompt, `{{ name }}`, that an application fills in per request.

A dataset holds the prompt as a template, one for all rows, and each row's values beside it. The
teacher reads the prompt with the values filled in; the student reads them in the row's `kept`
messages, and learns to follow whatever stands there. Values are text: nothing is executed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from genpi_plugin.data.messages import Message, check_text, from_json, kind
from genpi_plugin.errors import RowError

Values = dict[str, str]
NAME = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*"
SLOT = re.compile(r"\{\{\s*(" + NAME + r")\s*\}\}")
# Places tried to tell which values a text was filled with, where names repeat.
MOST_TRIES = 10_000


def slot(name: str) -> str:
    """The mark of a slot."""
    return f"{{{{ {name} }}}}"


def names_in(text: str) -> list[str]:
    """The names of a text's slots, once each and in their order."""
    return list(dict.fromkeys(SLOT.findall(text)))


def names_of(messages: Iterable[Message]) -> list[str]:
    """The names of the slots in messages: in their contents, thoughts and calls' arguments."""
    found = [name for message in messages for text in _texts(message) for name in names_in(text)]
    return list(dict.fromkeys(found))


def fill(text: str, values: Mapping[str, str]) -> str:
    """A text with the slots filled that have a value; all else stays as it is, values too."""
    return SLOT.sub(lambda match: values.get(match[1], match[0]), text)


def fill_messages(messages: Sequence[Message], values: Mapping[str, str]) -> list[Message]:
    """Messages with the slots filled that have a value; in arguments of calls, as JSON texts."""
    return [_mapped(message, lambda text: fill(text, values)) for message in messages]


def parse_values(value: Any, name: str, where: str) -> Values:
    """Read the values of a row's slots.

    Args:
        value: the JSON text of an object, or a mapping; nulls in one are Arrow's padding.
        name: the field's name, for messages.
        where: file and row.

    Raises:
        RowError: it is something else, or a value is no text.
    """
    given = from_json(value, name, where) if isinstance(value, str) else value
    if not isinstance(given, Mapping):
        raise RowError(
            f"{where}: the field `{name}` is {kind(given)}, not an object of values.",
            f'write `{name}` as the JSON text of an object: {{"name": "Ada", ...}}.',
        )
    values = {}
    for one, text in given.items():
        if text is None and not isinstance(value, str):
            continue
        if not re.fullmatch(NAME, str(one)):
            raise RowError(
                f"{where}: the field `{name}` has a value for {one!r}, which is no slot's name.",
                "a name has letters, digits and _, and begins with no digit.",
            )
        if not (isinstance(text, str) and not text):  # a value may be empty
            _check_value(text, f"{name}.{one}", where)
        values[str(one)] = text
    return values


def check_values(prompt: Sequence[Message], values: Mapping[str, str], where: str) -> None:
    """Each slot of the prompt has a value, and each value a slot.

    Raises:
        RowError: names those that have none.
    """
    names = names_of(prompt)
    missing = [name for name in names if name not in values]
    if missing:
        raise RowError(
            f"{where}: the prompt has the slot{_s(missing)} {_listed(missing)}, for which the "
            "field `slots` holds no value.",
            "add the value; a mark that is meant as it stands has itself as its value.",
        )
    unknown = [name for name in values if name not in names]
    if unknown:
        raise RowError(
            f"{where}: the field `slots` has a value for {_listed(unknown)}, and the prompt has no "
            f"such slot ({_listed(names) or 'it has none'}).",
            "write the slot into the prompt, or take the value out.",
        )


def values_in(template: str, text: str) -> Values | None:
    """The values with which a template gives a text.

    Returns:
        name -> value; None where the template does not give the text, or where several values
        would give it, so that they can't be told.
    """
    found = _Search(template, text).solutions()
    return found[0] if len(found) == 1 else None


def may_give(template: str, text: str) -> Values | None:
    """Values with which a template gives a text, perhaps one way of several; None if it can't."""
    search = _Search(template, text)
    found = search.solutions()
    return found[0] if found else {} if search.tries > MOST_TRIES else None


def dumps(values: Mapping[str, str]) -> str:
    """Values as the JSON text that a row holds."""
    return json.dumps(dict(values), ensure_ascii=False)


class _Search:
    """Where the slots of a template may end in a text; at most two ways are looked for."""

    def __init__(self, template: str, text: str) -> None:
        pieces = SLOT.split(template)
        self.literals, self.names = pieces[::2], pieces[1::2]
        self.text = text
        self.tries = 0
        # Behind a slot, the last place at which the rest can still follow.
        self.latest: list[int] | None = self._latest()

    def solutions(self) -> list[Values]:
        if self.latest is None or not self.text.startswith(self.literals[0]):
            return []
        found: list[Values] = []
        self._from(0, len(self.literals[0]), {}, found)
        return [] if self.tries > MOST_TRIES else found

    def _latest(self) -> list[int] | None:
        """For each slot, the last place in the text at which the literal behind it can begin."""
        if not self.names:
            return []
        end = len(self.text) - len(self.literals[-1])
        if end < 0 or not self.text.endswith(self.literals[-1]):
            return None
        places = [end]
        for literal in reversed(self.literals[1:-1]):
            place = self.text.rfind(literal, 0, places[0])
            if place < 0:
                return None
            places.insert(0, place)
        return places

    def _from(self, number: int, start: int, values: Values, found: list[Values]) -> None:
        """Fill slot `number`, whose value begins at `start`."""
        if number == len(self.names):
            if start == len(self.text) and values not in found:
                found.append(dict(values))
            return
        assert self.latest is not None
        name, literal = self.names[number], self.literals[number + 1]
        last = number + 1 == len(self.names)
        known = values.get(name)
        if known is not None:
            place = start + len(known)
            if self.text.startswith(known + literal, start):
                self._from(number + 1, place + len(literal), values, found)
            return
        place = self.latest[-1] if last else self.text.find(literal, start)
        while start <= place <= self.latest[number] and len(found) < 2:
            self.tries += 1
            if self.tries > MOST_TRIES:
                return
            values[name] = self.text[start:place]
            self._from(number + 1, place + len(literal), values, found)
            del values[name]
            place = -1 if last else self.text.find(literal, place + 1)


def _texts(message: Message) -> list[str]:
    calls = message.get("tool_calls", [])
    arguments = [call["function"]["arguments"] for call in calls]
    return [message["content"], message.get("reasoning_content", ""), *arguments]


def _mapped(message: Message, change: Callable[[str], str]) -> Message:
    """A message with its texts changed; those in the arguments of calls one by one."""
    found = {**message, "content": change(message["content"])}
    if "reasoning_content" in message:
        found["reasoning_content"] = change(message["reasoning_content"])
    if any("{{" in call["function"]["arguments"] for call in message.get("tool_calls", [])):
        found["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": _arguments(call, change)}}
            for call in message["tool_calls"]
        ]
    return found


def _arguments(call: Mapping[str, Any], change: Callable[[str], str]) -> str:
    def inside(value: Any) -> Any:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, list):
            return [inside(one) for one in value]
        return (
            {key: inside(one) for key, one in value.items()} if isinstance(value, dict) else value
        )

    return json.dumps(inside(json.loads(call["function"]["arguments"])), ensure_ascii=False)


def _check_value(value: Any, name: str, where: str) -> None:
    if isinstance(value, bool | int | float):
        raise RowError(
            f"{where}: the field `{name}` is a number, not text.",
            f'write it as the application does: "{value}".',
        )
    if not (isinstance(value, str) and value):
        check_text(value, name, where)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _s(names: Sequence[str]) -> str:
    return "s" if len(names) > 1 else ""
