"""How varied some texts are, in figures that mean the same for 100 texts and for 100,000.

Whatever is a share of all words or pairs falls as texts are added. So each figure here is of
samples of a fixed size, which are drawn, always the same.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from synth.quality.dedup import shingles
from synth.text import words

SAMPLE = 100  # texts
SAMPLES = 10  # at most, where a figure takes time
MANY = 1000  # texts: what repeats itself more rarely shows in a sample of so many
# Texts that are kept to be measured, drawn from those that come.
KEPT = 5 * MANY


@dataclass(frozen=True)
class Variety:
    """Of some texts; None where there are fewer than a figure's sample has.

    Attributes:
        texts: how many there are.
        distinct_2: share of word pairs in `SAMPLE` texts that are different (distinct-2; Li et al.
            2016, arXiv 1510.03055).
        effective: how many texts without a word in common are as varied as `SAMPLE` of these: the
            Vendi score (Friedman and Dieng 2022, arXiv 2210.02410), see `vendi`.
        effective_of_many: the same of `MANY`. With ten times the texts a varied set has several
            times the score; one that repeats itself has hardly more.
        nearest: how much a text has in common with the most similar of `SAMPLE` - 1 others, the
            mean (Jaccard, runs of 5 characters, as near duplicates are told).
    """

    texts: int
    distinct_2: float | None
    effective: float | None
    effective_of_many: float | None
    nearest: float | None


def variety(texts: Sequence[str], count: int | None = None) -> Variety:
    """Measure texts.

    Args:
        texts: all of them, or a sample of `KEPT`.
        count: how many there are in all, where these are a sample.
    """
    return Variety(
        len(texts) if count is None else count,
        sampled(texts, lambda sample: distinct(sample, 2)),
        sampled(texts, vendi, samples=SAMPLES),
        sampled(texts, vendi, MANY, samples=1),
        sampled(texts, nearest, samples=SAMPLES),
    )


def sampled(
    texts: Sequence[str],
    measure: Callable[[Sequence[str]], float | None],
    size: int = SAMPLE,
    samples: int | None = None,
) -> float | None:
    """The mean of a figure over samples of `size` texts that divide the texts between them.

    Which texts make a sample is drawn, always the same, so that their order does not matter.

    Args:
        texts: the texts.
        measure: the figure of a sample; None where it has none.
        size: texts in a sample.
        samples: how many are measured at most; all by default.

    Returns:
        None where there are fewer texts than a sample takes.
    """
    drawn = random.Random(0).sample(texts, len(texts))
    parts = [drawn[first : first + size] for first in range(0, len(texts) - size + 1, size)]
    known = [value for part in parts[:samples] if (value := measure(part)) is not None]
    return statistics.mean(known) if known else None


def distinct(texts: Iterable[str], size: int) -> float | None:
    """Different runs of `size` words, as a share of all such runs; None where there is none."""
    runs: set[str] = set()
    total = 0
    for text in texts:
        found = _runs(text, size)
        runs.update(found)
        total += len(found)
    return len(runs) / total if total else None


def vendi(texts: Sequence[str]) -> float | None:
    """The Vendi score: exp of the entropy of the eigenvalues of K / n, from 1 (all the same) to n.

    K holds the similarity of each two texts: the cosine of their counts of words and that of their
    counts of word pairs, the mean of both (the n-gram kernel of the paper's section on text).
    """
    import numpy as np

    kernel = (_cosines(texts, 1) + _cosines(texts, 2)) / 2
    values = np.linalg.eigvalsh(kernel / len(texts))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def nearest(texts: Sequence[str]) -> float | None:
    """For each text the similarity to the most similar other one; the mean."""
    best = [0.0] * len(texts)
    pieces = [shingles(text) for text in texts]
    for (one, first), (other, second) in itertools.combinations(enumerate(pieces), 2):
        shared = len(first & second)
        alike = shared / (len(first) + len(second) - shared)
        best[one], best[other] = max(best[one], alike), max(best[other], alike)
    return statistics.mean(best) if len(best) > 1 else None


class Reservoir:
    """At most `KEPT` of the texts that come, drawn evenly and always the same (Vitter 1985,
    algorithm R)."""

    def __init__(self) -> None:
        self.count = 0
        self.texts: list[str] = []
        self._draw = random.Random(0)

    def add(self, text: str) -> None:
        """Take a text in."""
        self.count += 1
        if len(self.texts) < KEPT:
            self.texts.append(text)
        elif (place := self._draw.randrange(self.count)) < KEPT:
            self.texts[place] = text


def _runs(text: str, size: int) -> list[str]:
    found = words(text)
    return [" ".join(found[at : at + size]) for at in range(len(found) - size + 1)]


def _cosines(texts: Sequence[str], size: int) -> Any:
    """The cosine similarity of each two texts' counts of runs of `size` words; a shorter text is
    one run."""
    import numpy as np

    counts = [Counter(_runs(text, size) or [" ".join(words(text))]) for text in texts]
    of = Counter(run for found in counts for run in found)
    # What one text alone has takes no column: it only makes the text longer.
    columns = {run: place for place, run in enumerate(run for run in of if of[run] > 1)}
    matrix = np.zeros((len(texts), len(columns)), np.float32)
    for row, found in enumerate(counts):
        norm = math.sqrt(sum(count * count for count in found.values()))
        for run, count in found.items():
            if run in columns:
                matrix[row, columns[run]] = count / norm
    cosines = (matrix @ matrix.T).astype(np.float64)
    np.fill_diagonal(cosines, 1.0)
    return cosines
