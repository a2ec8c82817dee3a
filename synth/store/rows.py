"""One row of the dataset, from its input to its last field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from synth.engines.base import Message

COLUMNS = (
    "id",
    "prompt_id",
    "prompt",
    "input",
    "floor_output",
    "teacher_output",
    "reason",
    "conversation",
)


# The stages that the package brings, in order.
STAGES = ("inputs", "outputs", "reasons", "conversations")


@dataclass(frozen=True)
class Row:
    """One input and what was made of it; empty fields are not made yet.

    `position` is the input's place among all inputs and orders the dataset.
    `conversation_end` says why the conversation ended, `floor_cut` whether the token limit cut
    the floor output; both are counted, not exported.
    """

    position: int
    id: str
    prompt_id: str
    prompt: tuple[Message, ...]
    input: str
    floor_output: str = ""
    teacher_output: str = ""
    reason: str = ""
    conversation: tuple[Message, ...] = ()
    conversation_end: str = ""
    floor_cut: bool = False


@dataclass(frozen=True)
class Rejection:
    """Something that was made and is not in the dataset, with the reason.

    `position` is the row's, or for the stage `inputs` the number of the try (or the line of
    the inputs file). `made` holds what there was of the row. `filter` is the filter that rejected
    it, "" where a stage did.
    """

    stage: str
    position: int
    reason: str
    detail: str
    made: dict[str, Any]
    filter: str = ""


def as_dicts(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Messages as the dataset and every chat API hold them: `{role, content}`."""
    return [{"role": message.role, "content": message.content} for message in messages]


def as_messages(dicts: Iterable[dict[str, str]]) -> tuple[Message, ...]:
    """The inverse of `as_dicts`."""
    return tuple(Message(turn["role"], turn["content"]) for turn in dicts)


def to_record(row: Row) -> dict[str, Any]:
    """The row's columns (`COLUMNS`, in this order) as plain values."""
    values = {name: getattr(row, name) for name in COLUMNS}
    values["prompt"] = as_dicts(row.prompt)
    values["conversation"] = as_dicts(row.conversation)
    return values
