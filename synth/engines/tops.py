"""The likeliest tokens at each token of an answer, and how likely: what a teacher held possible.

As bytes, six for each token and entry: so they stay small from the engine to the dataset's file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synth.errors import EngineError

if TYPE_CHECKING:
    import numpy as np

# How an id and a log-probability are written, and in how many bytes.
ID, LOGPROB = "<i4", "<f2"
ID_BYTES, LOGPROB_BYTES = 4, 2


@dataclass(frozen=True)
class Tops:
    """The `k` likeliest tokens at each token of an answer, the likeliest first.

    Args:
        k: how many at each.
        ids: the tokens, as little-endian int32; empty where they were asked for and not told.
        logprobs: their log-probabilities at temperature 1, in nats, as little-endian float16.
    """

    k: int
    ids: bytes = b""
    logprobs: bytes = b""

    @classmethod
    def of(cls, k: int, places: Sequence[Mapping[int, float]]) -> Tops:
        """From a mapping of token -> nats for each token of the answer, `k` or more entries each:
        the likeliest stay."""
        import numpy as np

        # Tokens that are as likely as each other stand in the order of their ids.
        best = [sorted(place.items(), key=lambda one: (-one[1], one[0]))[:k] for place in places]
        ids = np.array([[token for token, _ in place] for place in best], ID)
        # By rounding a token that is almost sure may be told above 0.
        nats = np.array([[min(found, 0.0) for _, found in place] for place in best], LOGPROB)
        return cls(k, ids.tobytes(), nats.tobytes())

    @property
    def known(self) -> bool:
        """Whether there are any."""
        return bool(self.ids)

    @property
    def tokens(self) -> int:
        """Of how many tokens of the answer they are."""
        return len(self.ids) // (ID_BYTES * self.k)

    @property
    def digest(self) -> str:
        """A name that equal ones have in common, and no others."""
        data = b"%d %d " % (self.k, len(self.ids)) + self.ids + self.logprobs
        return hashlib.sha256(data).hexdigest()[:32]

    def first(self, k: int) -> Tops:
        """The same with fewer at each token: the `k` likeliest."""
        if k == self.k or not self.known:
            return Tops(k, self.ids, self.logprobs)
        ids, logprobs = self.arrays()
        return Tops(k, ids[:, :k].tobytes(), logprobs[:, :k].tobytes())

    def arrays(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Tokens and log-probabilities, (tokens, k) each."""
        import numpy as np

        shape = (self.tokens, self.k)
        return (
            np.frombuffer(self.ids, ID).reshape(shape),
            np.frombuffer(self.logprobs, LOGPROB).reshape(shape),
        )

    def covered(self) -> float:
        """How much of the probability the entries hold, summed over the tokens."""
        import numpy as np

        return float(np.exp(self.arrays()[1].astype(np.float64)).sum())


def check_vocabulary(k: int, vocabulary: int, model: str) -> None:
    """Check that a model in this process has so many tokens.

    Raises:
        EngineError: it has fewer.
    """
    if k > vocabulary:
        raise EngineError(
            f"--logprobs {k}: the vocabulary of {model} has {vocabulary:,} tokens.",
            f"Give --logprobs {vocabulary} at most; 20 are usual.",
        )


def enough(tops: Tops | None, k: int) -> bool:
    """Whether what is known of an answer serves where the `k` likeliest tokens are asked for: there
    are as many, or they were asked for and not told."""
    return k == 0 or (tops is not None and tops.k >= k)


def wanted(tops: Tops | None, k: int) -> Tops | None:
    """Of what is known the `k` likeliest; None where none are asked for."""
    return None if tops is None or k == 0 else tops.first(k)
