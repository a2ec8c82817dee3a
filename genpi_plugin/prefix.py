"""A prompt read once: the KV cache of the tokens that many requests begin with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

# A shorter common start is not worth a pass of its own.
SHORTEST = 32


class PrefixCache:
    """The key-value cache of one common start of token sequences, reused for every batch.

    Exact up to floating point: attention over cached keys is attention over the same keys.
    """

    def __init__(self, model: Any, requests: Sequence[Sequence[int]]) -> None:
        """
        Args:
            model: a causal LM in the state (adapter on or off) it will be used in.
            requests: token ids of all requests; at least one token of each stays uncached.
        """
        start = common_prefix([request[:-1] for request in requests])
        self.ids = start if len(start) >= SHORTEST and len(requests) > 1 else []
        self._device = model.device
        self._cache: Any = None
        if self.ids:
            ids = torch.tensor([self.ids], device=model.device)
            with torch.inference_mode():
                output = model(input_ids=ids, use_cache=True, logits_to_keep=1)
            self._cache = output.past_key_values

    def __len__(self) -> int:
        return len(self.ids)

    def for_batch(self, rows: int) -> Any:
        """A copy for `rows` sequences, free to be written to; None when nothing is cached."""
        if self._cache is None:
            return None
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(rows)
        return cache

    def inputs(self, sequences: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Keyword arguments of a forward pass over whole sequences that begin with the prefix.

        What comes out is of the positions behind the prefix, padded on the right.
        """
        rests = [torch.tensor(list(sequence[len(self) :])) for sequence in sequences]
        ids = torch.nn.utils.rnn.pad_sequence(rests, batch_first=True)
        # No token looks at the padding; the mask is there for the cache's sake.
        ends = torch.tensor([len(sequence) for sequence in sequences])
        mask = (torch.arange(len(self) + ids.shape[1]) < ends[:, None]).long()
        cache = self.for_batch(len(rests))
        return {
            "input_ids": ids.to(self._device),
            "attention_mask": mask.to(self._device),
            "past_key_values": cache,
            "use_cache": cache is not None,
        }


def common_prefix(sequences: Sequence[Sequence[int]]) -> list[int]:
    """The longest start that all sequences share."""
    # Of sorted sequences, the first and the last differ earliest.
    as_lists = [list(sequence) for sequence in sequences]
    first, last = min(as_lists, default=[]), max(as_lists, default=[])
    length = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )
    return first[:length]
