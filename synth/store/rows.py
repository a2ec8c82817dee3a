"""One row of the dataset, from its input to its last field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from synth.engines.base import Message
from synth.engines.messages import as_dicts
from synth.engines.tops import Tops
from synth.errors import RowError

COLUMNS = (
    "id",
    "prompt_id",
    "prompt",
    "tools",
    "slots",
    "kept",
    "request",
    "input",
    "floor_output",
    "teacher_output",
    "reason",
    "conversation",
    "token_ids",
    "top_ids",
    "top_logprobs",
    "tokenizer",
)
# Those that `Row.tops` becomes.
TOPS = ("top_ids", "top_logprobs")
# What no row needs.
OPTIONAL = ("tools", "slots", "kept", "request", "token_ids", *TOPS, "tokenizer")
# What a recital alone needs: a row without is a good one. `floor_cut` tells of the first.
RECITED = ("floor_output", "floor_cut", "reason")
# What is shown of a row of which something was rejected.
TEXTS = ("floor_output", "teacher_output", "reason")

# Why a conversation ended whose answers are those of the user's log: nobody was asked for them.
FROM_LOG = "end of the log"
# The stages that the package brings, in order.
STAGES = ("inputs", "outputs", "reasons", "conversations")


@dataclass(frozen=True)
class Rejection:
    """Something that was made and is not in the dataset, with the reason.

    `position` is the row's, or for the stage `inputs` the number of the try (or the line of
    the inputs file). `made` holds what there was of the row. `filter` is the filter that rejected
    it, "" where a stage did. `kept`: the row itself is in the dataset, without its reason.
    """

    stage: str
    position: int
    reason: str
    detail: str
    made: dict[str, Any]
    filter: str = ""
    kept: bool = False


@dataclass(frozen=True)
class Row:
    """One input and what was made of it; empty fields are not made yet.

    `position` is the input's place among all inputs and orders the dataset. `tools` is the JSON
    text of the schemas that the teacher sees, `slots` of an object with the values of the prompt's
    slots. `kept` is what student and teacher see before the `request`, which holds everything
    before the first answer; without one it is the input, as a user's message. `token_ids` has an
    entry for each assistant turn of the conversation, None where its tokens are not known, and
    `tokenizer` says of which they are. `tops` has as many, or none: the likeliest tokens at each of
    these, None where they were not told.
    `conversation_end` says why the conversation ended, `floor_cut` whether the token limit cut
    the floor output, `lost` why there is no reason though one was to be made; they are counted,
    not exported.
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
    lost: Rejection | None = None
    tools: str = ""
    slots: str = ""
    kept: tuple[Message, ...] = ()
    request: tuple[Message, ...] = ()
    token_ids: tuple[tuple[int, ...] | None, ...] = ()
    tokenizer: str = ""
    tops: tuple[Tops | None, ...] = ()


def made_of(row: Row) -> dict[str, Any]:
    """What there is of a row of which something is rejected, without the prompt."""
    texts = {name: getattr(row, name) for name in TEXTS if getattr(row, name)}
    return {"id": row.id, "input": row.input, **texts}


def without_reason(row: Row, stage: str, error: RowError, fields: Iterable[str] = RECITED) -> Row:
    """The row without what a stage or filter took from it, and why.

    Args:
        row: as it was.
        stage: where.
        error: what was the matter.
        fields: what the row loses, of `RECITED`; by default all.
    """
    lost = Rejection(
        stage, row.position, error.reason, error.detail, made_of(row) | error.made, error.filter,
        kept=True,
    )  # fmt: skip
    empty: dict[str, Any] = {name: "" for name in fields if name != "floor_cut"}
    if "floor_output" in empty:
        empty["floor_cut"] = False
    return replace(row, **empty, lost=lost)


def to_record(row: Row) -> dict[str, Any]:
    """The row's columns (`COLUMNS`, in this order) as plain values; None for what it lacks."""
    values = {name: getattr(row, name) for name in COLUMNS if name not in TOPS}
    tops = [None if one is None else one.arrays() for one in row.tops]
    for place, name in enumerate(TOPS):
        values[name] = [None if one is None else one[place].tolist() for one in tops]
    values = {name: values[name] for name in COLUMNS}
    for name in ("prompt", "kept", "request", "conversation"):
        values[name] = as_dicts(values[name])
    if not any(row.token_ids):  # of no turn are they known
        values["token_ids"] = None
    if not any(row.tops):
        values |= dict.fromkeys(TOPS)
    for name in (*RECITED, *OPTIONAL):
        if name in values:
            values[name] = values[name] or None
    return values
