"""How varied a dataset is: its inputs, reasons and turns; near duplicates; lengths."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from synth.engines.messages import readable
from synth.quality.dedup import NEAR, groups
from synth.quality.variety import Reservoir, Variety, distinct, variety
from synth.store.rows import Row


@dataclass(frozen=True)
class Lengths:
    """Of some texts, in characters."""

    least: int
    median: int
    most: int

    def __str__(self) -> str:
        return f"{self.median:,} ({self.least:,} to {self.most:,})"


@dataclass(frozen=True)
class Diversity:
    """Of a dataset's texts, without what all of a kind begin and end with.

    `distinct_1` and `distinct_2` are the shares of words and of word pairs that are different, in
    all inputs (Li et al. 2016, arXiv 1510.03055), None where there is none. They fall as a dataset
    grows: compare equal sizes.
    `near_duplicates` is the share of inputs that are at least 80 % the same as an earlier one.
    `kinds` has figures that can be compared whatever the size: of the inputs, the reasons, the
    agent's turns and its environment's, where there are any.
    `lengths` holds, by part of a row, its length in characters, of the rows that have it.
    """

    distinct_1: float | None
    distinct_2: float | None
    near_duplicates: float
    kinds: dict[str, Variety]
    lengths: dict[str, Lengths]


def diversity(rows: Iterable[Row], heads: Sequence[int] | None = None) -> Diversity | None:
    """Measure a dataset, read row by row; None where there is no row.

    Args:
        rows: the dataset's.
        heads: for each row the number of the first row of its group of near duplicates; looked for
            by default.
    """
    inputs: list[str] = []
    sizes: dict[str, list[int]] = {"floor output": [], "teacher output": [], "reason": []}
    kinds = {name: Reservoir() for name in ("inputs", "reasons", "agent turns",
                                            "environment turns")}  # fmt: skip
    for row in rows:
        inputs.append(row.input)
        for name, found in sizes.items():
            text = getattr(row, name.replace(" ", "_"))
            found.extend([len(text)] if text else [])
        kinds["inputs"].add(row.input)
        if row.reason:
            kinds["reasons"].add(row.reason)
        for turn in row.conversation:
            if said := readable(turn):
                who = "agent" if turn.role == "assistant" else "environment"
                kinds[f"{who} turns"].add(said)
    if not inputs:
        return None
    own = without_form(inputs)
    if heads is None:
        heads = groups(inputs, NEAR)
    return Diversity(
        distinct(own, 1),
        distinct(own, 2),
        sum(head != number for number, head in enumerate(heads)) / len(heads),
        {
            name: variety(without_form(kept.texts), kept.count)
            for name, kept in kinds.items()
            if kept.texts
        },
        {
            name: lengths(found)
            for name, found in {"input": [*map(len, own)], **sizes}.items()
            if found
        },
    )


def without_form(texts: Sequence[str]) -> list[str]:
    """The texts without the words that all begin with, and those that all end with."""
    if len(texts) < 2:
        return list(texts)
    begin = _in_common(text.split() for text in texts)
    end = _in_common(text.split()[begin:][::-1] for text in texts)
    return [" ".join(found[begin : len(found) - end]) for found in map(str.split, texts)]


def lengths(sizes: Sequence[int]) -> Lengths:
    """The least, the median and the most of one size or more."""
    return Lengths(min(sizes), round(statistics.median(sizes)), max(sizes))


def _in_common(texts: Iterable[list[str]]) -> int:
    """How many words all texts begin with; there is at least one text."""
    rest = iter(texts)
    common = next(rest)
    for found in rest:
        pairs = zip(common, found, strict=False)
        common = common[
            : sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        ]
    return len(common)
