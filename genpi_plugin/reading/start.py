"""The start that many rows have in common, read once and held in the model's cache."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

from genpi_plugin.reading.agreement import keep
from genpi_plugin.reading.shared_prefix import share, sharing, truncated

# How rows get at the start: all from the one copy, each from a copy of its own, or by reading it.
Way = Literal["shared", "copied", "plain"]


class Start:
    """Token ids that rows begin with, and the cache of them; no ids where nothing is held.

    Call the model with its `inputs`, inside `reading()`.
    """

    def __init__(self, model: Any, ids: Sequence[int], way: Way, cache: Any = None) -> None:
        """
        Args:
            model: a causal LM in the state (adapter on or off) it will be used in.
            ids: the start.
            way: "plain" holds nothing.
            cache: of these ids, where there is one already.
        """
        self.ids = [] if way == "plain" else list(ids)
        self.way: Way = way if self.ids else "plain"
        self._model = model
        self._cache = cache
        if self.ids and cache is None:
            tokens = torch.tensor([self.ids], device=model.device)
            with torch.no_grad():
                self._cache = model(
                    input_ids=tokens, use_cache=True, **keep(model, 1)
                ).past_key_values

    def __len__(self) -> int:
        return len(self.ids)

    def shortened(self, length: int) -> Start:
        """The first `length` tokens of a shared start, without reading them again."""
        return Start(self._model, self.ids[:length], self.way, truncated(self._cache, length))

    def for_batch(self, rows: int) -> Any:
        """A writable cache for `rows` sequences; None when nothing is held."""
        if not self.ids:
            return None
        if self.way == "shared":
            return share(self._cache, self._model)
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(rows)
        return cache

    def reading(self) -> AbstractContextManager[None]:
        """Context in which to call the model with the results of `inputs`."""
        return sharing(self._model) if self.way == "shared" else contextlib.nullcontext()

    def inputs(self, sequences: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Keyword arguments of a forward pass over whole sequences that begin with the start.

        The outputs are of the positions after the start, padded on the right.
        """
        rests = [torch.tensor(list(sequence[len(self) :])) for sequence in sequences]
        ids = torch.nn.utils.rnn.pad_sequence(rests, batch_first=True)
        # No token attends to the padding; the cache needs the mask.
        ends = torch.tensor([len(sequence) for sequence in sequences])
        mask = (torch.arange(len(self) + ids.shape[1]) < ends[:, None]).long()
        cache = self.for_batch(len(rests))
        return {
            "input_ids": ids.to(self._model.device),
            "attention_mask": mask.to(self._model.device),
            "past_key_values": cache,
            "use_cache": cache is not None,
        }

    def inputs_to_generate(self, requests: Sequence[Sequence[int]], pad_id: int) -> dict[str, Any]:
        """Keyword arguments of `generate` for whole requests that begin with the start.

        [start | padding | rest]: what is held stays at the positions it was computed for.
        """
        width = max(len(request) for request in requests)
        ids = torch.full((len(requests), width), pad_id)
        mask = torch.zeros_like(ids)
        for row, request in enumerate(requests):
            rest = list(request[len(self) :])
            for part, first in ((self.ids, 0), (rest, width - len(rest))):
                ids[row, first : first + len(part)] = torch.tensor(part, dtype=torch.long)
                mask[row, first : first + len(part)] = 1
        device = self._model.device
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        cache = self.for_batch(len(requests))
        return inputs if cache is None else {**inputs, "past_key_values": cache}
