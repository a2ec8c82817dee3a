"""Texts that say the same again: equal ones, and those that differ in a few characters.

Candidates come from an index of MinHashes (Broder 1997; `datasketch.MinHashLSH`); whether two texts
are near duplicates is then decided by their exact similarity. The index misses a pair that is just
near enough with a probability below 0.5 %, always the same ones.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from genpi_plugin.data.text import folded
from synth.text import UNSPACED

SHINGLE = 5  # characters
DENSE = 3  # characters of a script without spaces, each about half a word
NEAR = 0.8  # similarity from which on two inputs of a dataset are near duplicates
# Values of a MinHash: the share that two texts have in common estimates their similarity, with a
# standard deviation of 0.03 at most.
PERMUTATIONS = 256
# What the index finds is a candidate when that estimate is up to so much below the threshold:
# hardly one is then missed, and few are compared exactly.
SLACK = 0.1
FIRST = 64  # values that are compared first, with twice the deviation and twice the slack
# So many of the values are in the index, which takes most of the memory.
INDEXED = 128
# The probability that it misses a pair that is just near enough.
MISSED = 0.005
# For whole inputs: shingles of at least this share of them are the application's form.
COMMON = 0.9
FEW = 10
SAMPLE = 500  # inputs in which that is counted: enough to tell, and little memory


def shingles(text: str) -> frozenset[str]:
    """All runs of 5 characters, case and white space folded; of 3 where most are of a script
    without spaces.

    The text is padded with spaces, so that its first and last characters count like the others.
    """
    text = folded(text)
    size = DENSE if 2 * len(re.findall(f"[{UNSPACED}]", text)) > len(text) else SHINGLE
    pad = " " * (size - 1)
    text = f"{pad}{text}{pad}"
    return frozenset(text[at : at + size] for at in range(len(text) - size + 1))


def similarity(one: Iterable[str], other: Iterable[str]) -> float:
    """Jaccard similarity of two sets, 0 to 1; two empty ones are the same."""
    one, other = set(one), set(other)
    return len(one & other) / len(one | other) if one or other else 1.0


@dataclass(frozen=True)
class Sketch:
    """What a text is compared by.

    Attributes:
        pieces: what of it is compared.
        minhash: of its pieces; `PERMUTATIONS` values.
    """

    pieces: frozenset[str]
    minhash: Any


class NearIndex:
    """Texts in the order they came, and which of them a new one is like.

    Of each text it keeps the text, its MinHash and its places in the index, not its pieces: those
    of the few candidates are made again.

    Args:
        threshold: similarity, 0 to 1, from which on two texts are near duplicates.
        pieces: what of a text is compared.
    """

    def __init__(
        self, threshold: float, pieces: Callable[[str], frozenset[str]] = shingles
    ) -> None:
        import numpy as np
        from datasketch import MinHash, MinHashLSH

        self.threshold = threshold
        self._pieces = pieces
        self._texts: list[str] = []
        # One row a text. A byte of each value: 1 of 256 that differ is taken to be equal.
        self._signatures = np.empty((64, PERMUTATIONS), np.uint8)
        self._empty = MinHash(PERMUTATIONS, hashfunc=_hash32)
        self._index = MinHashLSH(num_perm=PERMUTATIONS, params=bands(threshold), hashfunc=_hash64)

    def sketch(self, text: str) -> Sketch:
        """A text, ready to be compared and added."""
        pieces = self._pieces(text)
        minhash = self._empty.copy()
        minhash.update_batch([piece.encode("utf-8", "surrogatepass") for piece in pieces])
        return Sketch(pieces, minhash)

    def candidates(self, own: Sketch) -> list[int]:
        """The numbers of earlier texts that may be near duplicates, ascending; few others."""
        import numpy as np

        near = np.fromiter(self._index.query(own.minhash), dtype=int)
        signature = own.minhash.hashvalues.astype(np.uint8)
        # Where all texts are somewhat alike, the index names many: a first look leaves most out.
        for values, slack in ((FIRST, 2 * SLACK), (PERMUTATIONS, SLACK)):
            same = (self._signatures[near, :values] == signature[:values]).sum(axis=1)
            near = near[same >= (self.threshold - slack) * values]
        numbers: list[int] = np.sort(near).tolist()
        return numbers

    def similarity_to(self, number: int, own: Sketch) -> float:
        """The exact similarity to an earlier text."""
        return similarity(own.pieces, self._pieces(self._texts[number]))

    def near(self, own: Sketch) -> dict[int, float]:
        """Every earlier text at or above the threshold: its number -> exact similarity."""
        exact = {number: self.similarity_to(number, own) for number in self.candidates(own)}
        return {number: value for number, value in exact.items() if value >= self.threshold}

    def add(self, text: str, own: Sketch) -> None:
        """Remember a text and its sketch; texts are numbered from 0."""
        import numpy as np

        number = len(self._texts)
        if number == len(self._signatures):
            room = np.empty_like(self._signatures)
            self._signatures = np.concatenate([self._signatures, room])
        self._signatures[number] = own.minhash.hashvalues.astype(np.uint8)
        self._texts.append(text)
        self._index.insert(number, own.minhash, check_duplication=False)


def bands(threshold: float) -> tuple[int, int]:
    """How a MinHash is cut for the index: (bands, values in each).

    Two texts of similarity s share a band with the probability 1 - (1 - s^values)^bands (Leskovec,
    Rajaraman, Ullman, Mining of Massive Datasets, 3.4.2). The most values in a band, and so the
    fewest candidates in vain, with which a pair at the threshold is missed with a probability of at
    most `MISSED`; a pair above it is missed more rarely.
    """
    for values in range(INDEXED // 2, 1, -1):
        count = INDEXED // values
        if (1 - threshold**values) ** count <= MISSED:
            return count, values
    return INDEXED, 1


class KnownTexts:
    """The texts that were taken, by name ("try 7", "a seed"); refuses what repeats one."""

    def __init__(self, threshold: float) -> None:
        self._exact: dict[str, str] = {}
        self._names: list[str] = []
        # Equal texts need no MinHash.
        self._near = NearIndex(threshold) if threshold < 1 else None

    def add(self, text: str, name: str, sent: str | None = None) -> tuple[str, str] | None:
        """Take a text in, or say why not: (reason, which earlier one).

        Args:
            text: the text, as it is compared with others.
            name: what it is called when a later one repeats it.
            sent: the text as the application sends it, which must be new, too.
        """
        key = folded(text if sent is None else sent)
        if key in self._exact:
            return "duplicate", f"the same as {self._exact[key]}"
        if self._near is not None:
            sketch = self._near.sketch(text)
            near = self._near.near(sketch)
            if near:  # the most similar one; of several, the first
                twin = min(near, key=lambda number: (-near[number], number))
                return "near duplicate", f"{near[twin]:.0%} the same as {self._names[twin]}"
            self._near.add(text, sketch)
            self._names.append(name)
        self._exact[key] = name
        return None


def groups(texts: Sequence[str], threshold: float) -> list[int]:
    """For each text, the number of the first text of its group of near duplicates.

    Two texts are in one group when a chain of near duplicates links them. What nine tenths of the
    texts share (the form an application gives its inputs) is left out first, when there are enough
    to tell.
    """
    index = NearIndex(threshold, own_pieces(texts))
    group = list(range(len(texts)))

    def head(number: int) -> int:
        while group[number] != number:
            number = group[number]
        return number

    for number, text in enumerate(texts):
        sketch = index.sketch(text)
        for other in index.candidates(sketch):
            first, second = sorted((head(other), head(number)))
            # In a large group, one near duplicate is enough.
            if first != second and index.similarity_to(other, sketch) >= threshold:
                group[second] = first
        index.add(text, sketch)
    return [head(number) for number in range(len(texts))]


def joined(heads: Sequence[int], keys: Sequence[object]) -> list[int]:
    """For each text the number of the first of its group, where texts of one key are in one group,
    too.

    Args:
        heads: as `groups` gives them.
        keys: of the texts.
    """
    group = list(heads)
    first: dict[object, int] = {}

    def head(number: int) -> int:
        while group[number] != number:
            number = group[number]
        return number

    for number, key in enumerate(keys):
        one, other = sorted((head(first.setdefault(key, number)), head(number)))
        group[other] = one
    return [head(number) for number in range(len(group))]


def own_pieces(texts: Sequence[str]) -> Callable[[str], frozenset[str]]:
    """`shingles` without those that nine tenths of the texts have."""
    if len(texts) < FEW:
        return shingles
    looked_at = texts[:: math.ceil(len(texts) / SAMPLE)]
    found = Counter(piece for text in looked_at for piece in shingles(text))
    common = {piece for piece, count in found.items() if count >= COMMON * len(looked_at)}
    # A text without anything of its own is compared as a whole.
    return lambda text: shingles(text) - common or frozenset([folded(text)])


def _hash32(data: bytes) -> int:
    return int.from_bytes(_hash64(data)[:4], "little")


def _hash64(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()
