"""A prompt read once: the start that many requests have in common, where the model allows that."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from genpi_plugin.reading import capabilities
from genpi_plugin.reading.start import Start

# Tokens; a shorter common start is not worth a forward pass.
MIN_PREFIX = 32
# An earlier cache is reused for a start of which it holds this share.
MIN_REUSED_SHARE = 0.9
# Groups with a start of their own are sought behind so many places at which requests part.
MOST_BRANCHES = 50


class PrefixCache:
    """The key-value cache of the common start of token sequences, reused for every batch.

    All rows of a batch read the one copy, where the model's attention allows that; otherwise
    each row gets a copy; where neither is exact (`capabilities`), nothing is held and whole rows
    are read. Call the model inside `reading()`.
    """

    def __init__(
        self,
        model: Any,
        requests: Sequence[Sequence[int]],
        known: PrefixCache | None = None,
        longest: int = 0,
        generating: bool = False,
    ) -> None:
        """
        Args:
            model: a causal LM in the state (adapter on or off) it will be used in.
            requests: token ids of all requests; at least one token of each stays uncached.
            known: an earlier cache of the model in the same state, reused where it has the same
                start.
            longest: tokens of the longest row, its answer included; at least the longest
                request's.
            generating: answers will be written behind the cache, not only read.
        """
        start = common_prefix([request[:-1] for request in requests])
        self._model = model
        self._start = Start(model, [], "plain")
        if len(start) < MIN_PREFIX or (len(requests) < 2 and known is None):
            return
        longest = max(longest, *map(len, requests))
        find = capabilities.generating_way if generating else capabilities.reading_way
        way = find(model, longest)
        common = common_prefix([start, known.ids]) if known and known.way == way == "shared" else []
        if known and len(common) >= MIN_REUSED_SHARE * len(start):
            self._start = known._start.shortened(len(common))
        elif len(requests) > 1:
            self._start = Start(model, start, way)

    def __len__(self) -> int:
        return len(self._start)

    @property
    def ids(self) -> list[int]:
        """The tokens held."""
        return self._start.ids

    @property
    def way(self) -> str:
        """How rows get at them."""
        return self._start.way

    def reading(self) -> AbstractContextManager[None]:
        """Context in which to call the model with the results of `inputs`."""
        return self._start.reading()

    def inputs(self, sequences: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Keyword arguments of a forward pass over whole sequences; see `Start.inputs`."""
        return self._start.inputs(sequences)

    def inputs_to_generate(self, requests: Sequence[Sequence[int]], pad_id: int) -> dict[str, Any]:
        """Keyword arguments of `generate` for whole requests; see `Start.inputs_to_generate`."""
        return self._start.inputs_to_generate(requests, pad_id)

    def calls(self, lengths: Sequence[int]) -> list[list[int]]:
        """Which of a batch's rows (indices) are read in one call of the model."""
        if len(lengths) < 2 or self.ids:
            # A held start has been tried with rows of all lengths.
            return [list(range(len(lengths)))]
        together = capabilities.reading_together(self._model)
        return capabilities.split(self._model, lengths, together)

    def calls_to_generate(self, lengths: Sequence[int], written: int) -> list[list[int]]:
        """Which of a batch's rows, by length without the answer, are answered in one call."""
        if len(lengths) < 2 or self.ids:
            return [list(range(len(lengths)))]
        together = capabilities.generating_together(self._model)
        whole = [length + written for length in lengths]
        return capabilities.split(self._model, whole, together, [written] * len(whole))


def shared_starts(requests: Sequence[Sequence[int]]) -> list[list[int]]:
    """Which requests (indices) are best read behind one cache.

    All of them, but for those that have so much more in common that a cache of their own saves
    more than it costs: those with equal values in a prompt with slots.
    """
    as_lists = [list(request) for request in requests]
    groups: list[list[int]] = []
    rest = _apart(as_lists, list(range(len(as_lists))), 0, 0, groups)
    return sorted([*groups, rest] if rest else groups)


def _apart(
    requests: list[list[int]], these: list[int], held: int, depth: int, groups: list[list[int]]
) -> list[int]:
    """Move requests that are best read apart from `these` to `groups`; returns the others.

    Args:
        held: tokens of the start that the group around them reads once.
        depth: of the calls so far.
    """
    first, last = min(requests[i] for i in these), max(requests[i] for i in these)
    length = len(common_prefix([first, last]))
    gain = length - held
    own = gain >= MIN_PREFIX and len(these) * gain > 2 * length
    by_next: dict[int, list[int]] = {}
    for i in these:
        token = requests[i][length] if len(requests[i]) > length else -1
        by_next.setdefault(token, []).append(i)
    rest = []
    for token, some in by_next.items():
        if token < 0 or len(some) < 2 or depth == MOST_BRANCHES:
            rest += some
        else:
            rest += _apart(requests, some, length if own else held, depth + 1, groups)
    if own and len(rest) > 1:
        groups.append(sorted(rest))
        return []
    return sorted(rest)


def common_prefix(sequences: Sequence[Sequence[int]]) -> list[int]:
    """The longest prefix that all sequences share."""
    # Of sorted sequences, the first and the last differ earliest.
    as_lists = [list(sequence) for sequence in sequences]
    first, last = min(as_lists, default=[]), max(as_lists, default=[])
    length = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )
    return first[:length]
