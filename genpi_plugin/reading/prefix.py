"""A prompt read once: the KV cache of the tokens that many requests begin with."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from genpi_plugin.reading.shared_prefix import can_share, share, sharing, truncated

# Tokens; a shorter common start is not worth a forward pass.
MIN_PREFIX = 32
# An earlier cache is reused for a start of which it holds this share.
MIN_REUSED_SHARE = 0.9


class PrefixCache:
    """The key-value cache of the common start of token sequences, reused for every batch.

    All rows of a batch read the one copy, where the model's attention allows that; otherwise
    each row gets a copy. Exact up to floating point: attention over cached keys is attention over
    the same keys. Call the model inside `reading()`.
    """

    def __init__(
        self, model: Any, requests: Sequence[Sequence[int]], known: PrefixCache | None = None
    ) -> None:
        """
        Args:
            model: a causal LM in the state (adapter on or off) it will be used in.
            requests: token ids of all requests; at least one token of each stays uncached.
            known: an earlier cache of the model in the same state, reused where it has the same
                start.
        """
        start = common_prefix([request[:-1] for request in requests])
        self.ids: list[int] = []
        self._model = model
        self._device = model.device
        self._cache: Any = None
        self._shared = False
        if len(start) < MIN_PREFIX:
            return
        common = common_prefix([start, known.ids]) if known and known._shared else []
        if known and len(common) >= MIN_REUSED_SHARE * len(start):
            self.ids, self._shared = common, True
            self._cache = truncated(known._cache, len(common))
        elif len(requests) > 1:
            self.ids = start
            self._shared = can_share(model)
            ids = torch.tensor([self.ids], device=model.device)
            with torch.inference_mode():
                output = model(input_ids=ids, use_cache=True, logits_to_keep=1)
            self._cache = output.past_key_values

    def __len__(self) -> int:
        return len(self.ids)

    def for_batch(self, rows: int) -> Any:
        """A writable cache for `rows` sequences; None when nothing is cached."""
        if self._cache is None:
            return None
        if self._shared:
            return share(self._cache, self._model)
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(rows)
        return cache

    def reading(self) -> AbstractContextManager[None]:
        """Context in which to call the model with the results of `for_batch` and `inputs`."""
        return sharing(self._model) if self._shared else contextlib.nullcontext()

    def inputs(self, sequences: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Keyword arguments of a forward pass over whole sequences that begin with the prefix.

        The outputs are of the positions after the prefix, padded on the right.
        """
        rests = [torch.tensor(list(sequence[len(self) :])) for sequence in sequences]
        ids = torch.nn.utils.rnn.pad_sequence(rests, batch_first=True)
        # No token attends to the padding; the cache needs the mask.
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
    """The longest prefix that all sequences share."""
    # Of sorted sequences, the first and the last differ earliest.
    as_lists = [list(sequence) for sequence in sequences]
    first, last = min(as_lists, default=[]), max(as_lists, default=[])
    length = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )
    return first[:length]
