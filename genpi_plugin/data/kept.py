"""The form in which a request says the values of slots: messages with the slots' marks.

A dataset holds what is kept row by row; its form is found by putting marks where the values stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from genpi_plugin.data.messages import Message
from genpi_plugin.data.slots import Values, fill_messages, names_of, slot

# Rows whose values are tried as places of marks: in one of them no value is a piece of other words.
MOST_ROWS = 50


def default_form(names: Iterable[str], role: str = "system") -> list[Message]:
    """One message, a line `name: value` for each slot; empty without slots."""
    lines = [f"{name}: {slot(name)}" for name in names]
    return [{"role": role, "content": "\n".join(lines)}] if lines else []


def form_of(rows: Sequence[tuple[Sequence[Message], Values]]) -> list[Message] | None:
    """The form in which all rows say their values.

    Args:
        rows: what each keeps, and its values.

    Returns:
        messages with marks that give what each row keeps; None where there are no such ones.
    """
    if not rows:
        return None
    first, values = rows[0]
    role = first[0]["role"] if first else "system"
    for form in (
        default_form(values, role),
        *(_marked(*row) for row in rows[:MOST_ROWS]),
    ):
        if all(fill_messages(form, its) == list(kept) for kept, its in rows):
            return form
    return None


def unseen(messages: Sequence[Message], values: Mapping[str, str]) -> list[str]:
    """The slots whose values stand in none of the messages."""
    return [
        name
        for name, value in values.items()
        if not any(value in message["content"] for message in messages)
    ]


def said_by(form: Sequence[Message], prompt: Sequence[Message]) -> list[str]:
    """The slots of a prompt that a form does not say."""
    said = names_of(form)
    return [name for name in names_of(prompt) if name not in said]


def _marked(kept: Sequence[Message], values: Values) -> list[Message]:
    """What a row keeps with marks in place of its values, the longest first."""
    names = sorted((name for name in values if values[name]), key=lambda name: -len(values[name]))
    if not names:
        return list(kept)
    places = re.compile("|".join(f"({re.escape(values[name])})" for name in names))

    def mark(found: re.Match[str]) -> str:
        assert found.lastindex is not None
        return slot(names[found.lastindex - 1])

    return [{**message, "content": places.sub(mark, message["content"])} for message in kept]
