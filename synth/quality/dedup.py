"""Texts that say the same again: equal ones, and those that differ in a few characters.

Candidates come from MinHash (Broder 1997), whose signatures are compared all at once; whether two
texts are near duplicates is then decided by their exact similarity, so that no chance is in the
answer.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from synth.text import UNSPACED, folded

SHINGLE = 5  # characters
DENSE = 3  # characters of a script without spaces, each about half a word
NEAR = 0.8  # similarity from which on two inputs of a dataset are near duplicates
PERMUTATIONS = 64
# Candidates are looked for this much below the threshold: hardly one is then missed.
SLACK = 0.15
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
    """What is kept of a text to compare others with it.

    Attributes:
        pieces: hashes of its pieces, ascending, each once; uint64, (pieces,).
        signature: its MinHash; uint32, (PERMUTATIONS,).
    """

    pieces: Any
    signature: Any


class Seen:
    """Texts in the order they came, and which of them a new one is like.

    A new text is compared with all earlier ones at once: their signatures are one array.

    Args:
        threshold: similarity, 0 to 1, from which on two texts are near duplicates.
        pieces: what of a text is compared.
    """

    def __init__(
        self, threshold: float, pieces: Callable[[str], frozenset[str]] = shingles
    ) -> None:
        import numpy as np

        self.threshold = threshold
        self._enough = (threshold - SLACK) * PERMUTATIONS
        self._pieces = pieces
        self._taken: list[Any] = []
        self._signatures = np.empty((PERMUTATIONS, 64), np.uint32)  # one column a text

    def sketch(self, text: str) -> Sketch:
        """A text, ready to be compared and added."""
        import numpy as np
        from datasketch import MinHash

        digests = [_digest(piece) for piece in self._pieces(text)]
        minhash = MinHash(PERMUTATIONS, hashfunc=_head)
        minhash.update_batch(digests)
        pieces = np.sort(np.frombuffer(b"".join(digests), np.uint64))
        return Sketch(pieces, minhash.hashvalues.astype(np.uint32))

    def near(self, own: Sketch) -> dict[int, float]:
        """Every earlier text at or above the threshold: its number -> exact similarity."""
        import numpy as np

        same = self._signatures[:, : len(self._taken)] == own.signature[:, None]
        found = np.flatnonzero(same.sum(axis=0, dtype=np.uint8) >= self._enough)
        if not len(found):
            return {}
        others = [self._taken[number] for number in found]
        sizes = np.array([len(other) for other in others])
        pieces = np.concatenate(others)
        at = np.searchsorted(own.pieces, pieces).clip(max=len(own.pieces) - 1)
        shared = np.add.reduceat(own.pieces[at] == pieces, np.cumsum(sizes) - sizes, dtype=int)
        exact = shared / (sizes + len(own.pieces) - shared)
        return {int(number): float(value) for number, value in zip(found, exact, strict=True)
                if value >= self.threshold}  # fmt: skip

    def add(self, own: Sketch) -> None:
        """Remember a text; texts are numbered from 0."""
        import numpy as np

        if len(self._taken) == self._signatures.shape[1]:
            room = np.empty_like(self._signatures)
            self._signatures = np.concatenate([self._signatures, room], axis=1)
        self._signatures[:, len(self._taken)] = own.signature
        self._taken.append(own.pieces)


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
            sketch = self._near.sketch(text)
            near = self._near.near(sketch)
            if near:  # the most similar one; of several, the first
                twin = min(near, key=lambda number: (-near[number], number))
                return "near duplicate", f"{near[twin]:.0%} the same as {self._names[twin]}"
            self._near.add(sketch)
            self._names.append(name)
        self._exact[key] = name
        return None


def groups(texts: Sequence[str], threshold: float) -> list[int]:
    """For each text, the number of the first text of its group of near duplicates.

    Two texts are in one group when a chain of near duplicates links them. What nine tenths of the
    texts share (the form an application gives its inputs) is left out first, when there are enough
    to tell.
    """
    seen = Seen(threshold, _own_pieces(texts))
    group = list(range(len(texts)))

    def head(number: int) -> int:
        while group[number] != number:
            number = group[number]
        return number

    for number, text in enumerate(texts):
        sketch = seen.sketch(text)
        for twin in seen.near(sketch):
            first, second = sorted((head(twin), head(number)))
            group[second] = first
        seen.add(sketch)
    return [head(number) for number in range(len(texts))]


def _own_pieces(texts: Sequence[str]) -> Callable[[str], frozenset[str]]:
    if len(texts) < FEW:
        return shingles
    looked_at = texts[:: math.ceil(len(texts) / SAMPLE)]
    found = Counter(piece for text in looked_at for piece in shingles(text))
    common = {piece for piece, count in found.items() if count >= COMMON * len(looked_at)}
    # A text without anything of its own is compared as a whole.
    return lambda text: shingles(text) - common or frozenset([folded(text)])


def _digest(piece: str) -> bytes:
    return hashlib.blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _head(digest: bytes) -> int:
    return int.from_bytes(digest[:4], "little")
