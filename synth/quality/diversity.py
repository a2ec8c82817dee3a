"""How varied a dataset is: distinct words and word pairs, near duplicates, lengths."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from synth.quality.dedup import NEAR, groups
from synth.store.rows import Row
from synth.text import words

SAMPLE = 100  # inputs


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
    `distinct_1_of_100` and `distinct_2_of_100` are the same of 100 inputs, as a mean over samples
    that divide the dataset between them. They can be compared whatever the size; None below 100
    inputs.
    `near_duplicates` is the share of inputs that are at least 80 % the same as an earlier one.
    `lengths` holds, by part of a row, its length in characters, of the rows that have it.
    """

    distinct_1: float | None
    distinct_2: float | None
    distinct_1_of_100: float | None
    distinct_2_of_100: float | None
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
            text = getattr(row, name.replace(" ", "_"))
            found.extend([len(text)] if text else [])
    if not inputs:
        return None
    own = without_form(inputs)
    if heads is None:
        heads = groups(inputs, NEAR)
    return Diversity(
        distinct(own, 1),
        distinct(own, 2),
        sampled_distinct(own, 1),
        sampled_distinct(own, 2),
        sum(head != number for number, head in enumerate(heads)) / len(heads),
        {
            name: lengths(found)
            for name, found in {"input": [*map(len, own)], **sizes}.items()
            if found
        },
    )


def distinct(texts: Iterable[str], size: int) -> float | None:
    """Different runs of `size` words, as a share of all such runs; None where there is none."""
    runs: set[str] = set()
    total = 0
    for found in map(words, texts):
        count = max(len(found) - size + 1, 0)
        runs.update(" ".join(found[at : at + size]) for at in range(count))
        total += count
    return len(runs) / total if total else None


def sampled_distinct(texts: Sequence[str], size: int) -> float | None:
    """`distinct` of samples of `SAMPLE` texts, the mean; None where there are fewer texts.

    Which texts make a sample is drawn, always the same, so that their order does not matter.
    """
    drawn = random.Random(0).sample(texts, len(texts))
    samples = [drawn[first : first + SAMPLE] for first in range(0, len(texts), SAMPLE)]
    shares = [distinct(sample, size) for sample in samples if len(sample) == SAMPLE]
    known = [share for share in shares if share is not None]
    return statistics.mean(known) if known else None


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
