"""The user's own inputs, read: each as the application sends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from genpi_plugin.data import digests
from genpi_plugin.data.inputs.turns import ASK
from genpi_plugin.data.messages import Message
from genpi_plugin.data.text import folded


@dataclass(frozen=True)
class Reading:
    """How a file is to be read, as far as it does not say so itself.

    Attributes:
        column: the column of a table, or the key of an object, that holds the input.
        split: of a dataset.
        answers: which inputs a log gives; see `asked_in`.
    """

    column: str = ""
    split: str = ""
    answers: str = ASK


@dataclass(frozen=True)
class GivenInput:
    """One input.

    Attributes:
        text: what is asked, as one text for people: the request's last message.
        number: where it stands in the file, counted as `GivenInputs.unit` says.
        place: a number of its own, where several inputs have one `number`.
        id: the user's own name of it; "" if it has none.
        request: the messages before the answer, without prompt; empty: `text` as the user's.
        conversation: from the answer on, where the log's answers are kept.
        goes_on: it is out of a conversation, whose other answers are inputs of their own.
        values: what stood in the slots of the log's prompt; None where the log had no prompt.
    """

    text: str
    number: int = 0
    place: int = 0
    id: str = ""
    request: tuple[Message, ...] = ()
    conversation: tuple[Message, ...] = ()
    values: Mapping[str, str] | None = None
    goes_on: bool = False

    @property
    def messages(self) -> list[Message]:
        """The request, whatever the input was."""
        return list(self.request) or [{"role": "user", "content": self.text}]

    @property
    def texts(self) -> list[str]:
        """Every text in it, of every message."""
        return [text for one in (*self.messages, *self.conversation) for text in _texts(one)]

    @property
    def mark(self) -> str:
        """The same for inputs that ask the same; case and white space tell nothing."""
        plain = [
            {**one, "content": folded(one["content"])} if one["role"] == "user" else one
            for one in self.messages
        ]
        values = dict(sorted((self.values or {}).items()))
        return digests.of([plain, values, list(self.conversation)])


@dataclass(frozen=True)
class Duplicate:
    """An input that repeats the one with the number `of`."""

    number: int
    of: int
    text: str
    place: int = 0


@dataclass(frozen=True)
class GivenInputs:
    """Distinct inputs in the file's order, those that repeat an earlier one, and in words what of
    the file was not used, or was taken out.

    Numbers count what `unit` says, in the file `source`. `kept`: the inputs hold the answers of
    logs, which nobody is asked for again.
    """

    inputs: tuple[GivenInput, ...]
    duplicates: tuple[Duplicate, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = ""
    unit: str = "line"
    kept: bool = field(default=False)

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> GivenInputs:
        """Inputs that are texts, counted from 1."""
        return cls(
            tuple(GivenInput(text, number, number) for number, text in enumerate(texts, start=1))
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """Each input as one text for people."""
        return tuple(one.text for one in self.inputs)

    def first(self, count: int | None) -> GivenInputs:
        """The first so many of them; all for None."""
        return replace(self, inputs=self.inputs[:count])


def _texts(message: Message) -> list[str]:
    calls: list[dict[str, Any]] = message.get("tool_calls", [])
    return [
        message["content"],
        message.get("reasoning_content", ""),
        *(call["function"]["arguments"] for call in calls),
    ]
