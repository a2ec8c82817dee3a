"""How varied a dataset is: distinct words and word pairs, near duplicates, lengths."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from synth.quality.dedup import NEAR, groups
from synth.store.rows import Row
from synth.text import words


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
    """Of a dataset's inputs, without what all of them begin and end with.

    `distinct_1` and `distinct_2` are the shares of words and of word pairs that are different
    (Li et al. 2016, arXiv 1510.03055), None where there is none. They fall as a dataset grows:
    compare equal sizes.
    `near_duplicates` is the share of inputs that are at least 80 % the same as an earlier one.
    `lengths` holds, by part of a row, its length in characters.
    """

    distinct_1: float | None
    distinct_2: float | None
    near_duplicates: float
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
    for row in rows:
        inputs.append(row.input)
        for name, found in sizes.items():
            found.append(len(getattr(row, name.replace(" ", "_"))))
    if not inputs:
        return None
    own = without_form(inputs)
    if heads is None:
        heads = groups(inputs, NEAR)
    return Diversity(
        distinct(own, 1),
        distinct(own, 2),
        sum(head != number for number, head in enumerate(heads)) / len(heads),
        {name: lengths(found) for name, found in {"input": [*map(len, own)], **sizes}.items()},
    )


def distinct(texts: Sequence[str], size: int) -> float | None:
    """Different runs of `size` words, as a share of all such runs; None where there is none."""
    runs = [
        tuple(found[at : at + size])
        for found in map(words, texts)
        for at in range(len(found) - size + 1)
    ]
    return len(set(runs)) / len(runs) if runs else None


def without_form(texts: Sequence[str]) -> list[str]:
    """The texts without the words that all begin with, and those that all end with."""
    split = [text.split() for text in texts]
    if len(split) < 2:
        return list(texts)
    begin = _in_common(split)
    rest = [words[begin:] for words in split]
    end = _in_common([words[::-1] for words in rest])
    return [" ".join(words[: len(words) - end]) for words in rest]


def lengths(sizes: Sequence[int]) -> Lengths:
    """The least, the median and the most of one size or more."""
    return Lengths(min(sizes), round(statistics.median(sizes)), max(sizes))


def _in_common(texts: Sequence[Sequence[str]]) -> int:
    """How many words all texts begin with."""
    columns = zip(*texts, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
