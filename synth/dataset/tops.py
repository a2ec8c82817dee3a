"""The likeliest tokens of a dataset's answers: as columns of its file, and in numbers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from synth.engines.tops import Tops
from synth.store.rows import Row

IDS, LOGPROBS = pa.int32(), pa.float16()


def nested(of: pa.DataType) -> pa.DataType:
    """The type of a column: for each row of each answer at each token a list."""
    return pa.list_(pa.list_(pa.list_(of)))


def tops_columns(rows: Sequence[Row]) -> tuple[pa.Array, pa.Array]:
    """`top_ids` and `top_logprobs` of these rows, made of the bytes that they hold: as Python's
    numbers they would take twenty times the memory."""
    given = [row.tops if any(row.tops) else None for row in rows]
    turns = [turn for row in given if row is not None for turn in row]
    known = [turn for turn in turns if turn is not None]

    def column(of: pa.DataType, held: Callable[[Tops], bytes]) -> pa.Array:
        data = pa.py_buffer(b"".join(map(held, known)))
        count = sum(turn.tokens * turn.k for turn in known)
        values = pa.Array.from_buffers(of, count, [None, data])
        sizes = itertools.chain.from_iterable([turn.k] * turn.tokens for turn in known)
        tokens = pa.ListArray.from_arrays(_offsets(sizes), values)
        answers = _lists([None if turn is None else turn.tokens for turn in turns], tokens)
        return _lists([None if row is None else len(row) for row in given], answers)

    return column(IDS, lambda turn: turn.ids), column(LOGPROBS, lambda turn: turn.logprobs)


def _lists(sizes: Sequence[int | None], values: pa.Array) -> pa.Array:
    """Lists of so many of the values each, one after the other; None is a null."""
    mask = pa.array([size is None for size in sizes], pa.bool_())
    return pa.ListArray.from_arrays(_offsets(size or 0 for size in sizes), values, mask=mask)


def _offsets(sizes: Iterable[int]) -> pa.Array:
    return pa.array(itertools.accumulate(sizes, initial=0), pa.int32())


@dataclass
class TopsHeld:
    """How many answers have the likeliest tokens at each of theirs, and how much of the probability
    these hold.

    Args:
        answers: of the agent, all of them.
        tokens: by how many entries there are at each, the tokens of those that have them.
        held: of each token the probability that its entries hold, summed.
    """

    answers: int = 0
    known: int = 0
    tokens: Counter[int] = field(default_factory=Counter)
    held: float = 0.0

    def add(self, row: Row) -> None:
        """Count a row's answers."""
        self.answers += sum(turn.role == "assistant" for turn in row.conversation)
        for tops in filter(None, row.tops):
            self.known += 1
            self.tokens[tops.k] += tops.tokens
            self.held += tops.covered()

    def remarks(self, wanted: int) -> list[str]:
        """What there is to say, a sentence a line.

        Args:
            wanted: how many at each token were to be kept; nothing is said of 0.
        """
        if not wanted or not self.answers:
            return []
        total = self.tokens.total()
        share = f", at {total:,} tokens; they hold {self.held / total:.1%} of the probability" \
            if total else ""  # fmt: skip
        lines = [
            f"Likeliest tokens kept (`outputs.logprobs` {wanted}): of {self.known:,} of "
            f"{self.answers:,} answers{share}."
        ]
        if without := self.answers - self.known:
            lines.append(
                f"Answers without them: {without:,}. They are a log's own, or the server did not "
                "tell them, or not in tokens that can be trained; run.log says why."
            )
        return lines


def mention(row: Row) -> str:
    """What a row has of them, in words for the user; "" for none."""
    known = [one for one in row.tops if one is not None]
    if not known:
        return ""
    tokens = sum(one.tokens for one in known)
    covered = sum(one.covered() for one in known) / tokens
    return (
        f"the {known[0].k} likeliest tokens at each of {tokens:,}, in {len(known)} of "
        f"{len(row.tops)} answers; they hold {covered:.1%} of the probability"
    )
