"""Texts that say the same again: equal ones, and those that differ in a few characters.

Candidates come from MinHash (Broder 1997) with locality-sensitive hashing; whether two texts are
near duplicates is then decided by their exact similarity, so that no chance is in the answer.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from synth.filters import folded

SHINGLE = 5  # characters
NEAR = 0.8  # similarity from which on two inputs of a dataset are near duplicates
PERMUTATIONS = 64
# Candidates are looked for this much below the threshold: hardly one is then missed.
SLACK = 0.15
# For whole inputs: shingles of more than this share of them are the application's form.
COMMON = 0.2
FEW = 20
SAMPLE = 500  # inputs in which that is counted: enough to tell, and little memory


def shingles(text: str) -> frozenset[str]:
    """All runs of 5 characters, case and white space folded.

    The text is padded with spaces, so that its first and last characters count like the others.
    """
    pad = " " * (SHINGLE - 1)
    text = f"{pad}{folded(text)}{pad}"
    return frozenset(text[at : at + SHINGLE] for at in range(len(text) - SHINGLE + 1))


def similarity(one: Iterable[str], other: Iterable[str]) -> float:
    """Jaccard similarity of two sets, 0 to 1; two empty ones are the same."""
    one, other = set(one), set(other)
    return len(one & other) / len(one | other) if one or other else 1.0


class Seen:
    """Texts in the order they came, and which of them a new one is like.

    Args:
        threshold: similarity, 0 to 1, from which on two texts are near duplicates.
        pieces: what of a text is compared.
    """

    def __init__(
        self, threshold: float, pieces: Callable[[str], frozenset[str]] = shingles
    ) -> None:
        from datasketch import MinHashLSH

        self.threshold = threshold
        self._pieces = pieces
        lowest = max(0.05, threshold - SLACK)
        self._index = MinHashLSH(lowest, PERMUTATIONS, weights=(0.3, 0.7))
        self._texts: list[str] = []  # a tenth of the memory that their pieces would take

    def near(self, text: str) -> dict[int, float]:
        """Every earlier text at or above the threshold: its number -> similarity."""
        own = self._pieces(text)
        found = self._index.query(_minhash(own))
        alike = {number: similarity(own, self._pieces(self._texts[number])) for number in found}
        return {number: value for number, value in alike.items() if value >= self.threshold}

    def add(self, text: str) -> None:
        """Remember a text; texts are numbered from 0."""
        self._index.insert(len(self._texts), _minhash(self._pieces(text)), check_duplication=False)
        self._texts.append(text)


class KnownTexts:
    """The texts that were taken, by name ("try 7", "a seed"); refuses what repeats one."""

    def __init__(self, threshold: float) -> None:
        self._exact: dict[str, str] = {}
        self._names: list[str] = []
        # Equal texts need no MinHash.
        self._near = Seen(threshold) if threshold < 1 else None

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
            near = self._near.near(text)
            if near:  # the most similar one; of several, the first
                twin = min(near, key=lambda number: (-near[number], number))
                return "near duplicate", f"{near[twin]:.0%} the same as {self._names[twin]}"
            self._near.add(text)
            self._names.append(name)
        self._exact[key] = name
        return None


def groups(texts: Sequence[str], threshold: float) -> list[int]:
    """For each text, the number of the first text of its group of near duplicates.

    Two texts are in one group when a chain of near duplicates links them. What more than a
    fifth of the texts share (the form an application gives its inputs) is left out first, when
    there are enough to tell.
    """
    seen = Seen(threshold, _own_pieces(texts))
    group = list(range(len(texts)))

    def head(number: int) -> int:
        while group[number] != number:
            number = group[number]
        return number

    for number, text in enumerate(texts):
        for twin in seen.near(text):
            first, second = sorted((head(twin), head(number)))
            group[second] = first
        seen.add(text)
    return [head(number) for number in range(len(texts))]


def _own_pieces(texts: Sequence[str]) -> Callable[[str], frozenset[str]]:
    if len(texts) < FEW:
        return shingles
    looked_at = texts[:SAMPLE]
    found = Counter(piece for text in looked_at for piece in shingles(text))
    common = {piece for piece, count in found.items() if count > COMMON * len(looked_at)}
    # A text without anything of its own is compared as a whole.
    return lambda text: shingles(text) - common or frozenset([folded(text)])


def _minhash(pieces: frozenset[str]) -> Any:
    from datasketch import MinHash

    made = MinHash(PERMUTATIONS, hashfunc=_hash)
    made.update_batch([piece.encode("utf-8", "surrogatepass") for piece in sorted(pieces)])
    return made


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "little")
