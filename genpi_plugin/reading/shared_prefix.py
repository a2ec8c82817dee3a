"""A prefix that all rows of a batch share, in the model's cache once instead of once per row.

The attention that reads such a cache is `shared_attention`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from genpi_plugin.reading.agreement import base_of
from genpi_plugin.reading.shared_attention import NAME, Share


class SharedPrefixLayer(DynamicLayer):
    """One layer's cache: `prefix` (one row, never changed) and what the rows of a batch add to it.

    `update` gives back the rows' own keys only, with the prefix as their attribute `shares`. Any
    attention but `shared_attention` would silently leave it out, so that is an error.
    """

    def __init__(self, prefix: DynamicLayer, config: Any) -> None:
        super().__init__()
        self.prefix = prefix
        self.config = config

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.config._attn_implementation != NAME:
            raise RuntimeError("A shared prefix is read inside `sharing(model)` only.")
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        keys.shares = [Share(0, len(keys), self.prefix.keys[0], self.prefix.values[0])]
        return keys, values

    def get_seq_length(self) -> int:
        return self.prefix.get_seq_length() + super().get_seq_length()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return super().get_seq_length() + query_length, self.prefix.get_seq_length()


def share(prefix: DynamicCache, model: Any) -> DynamicCache:
    """A cache for a batch of any size whose rows all begin with `prefix`, `model`'s of one row."""
    cache = DynamicCache()
    config = base_of(model).config
    cache.layers = [SharedPrefixLayer(layer, config) for layer in prefix.layers]
    return cache


def truncated(prefix: DynamicCache, length: int) -> DynamicCache:
    """The cache of the first `length` tokens, which do not depend on later ones."""
    cache = DynamicCache()
    cache.layers = [copy.copy(layer) for layer in prefix.layers]
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]
    return cache


@contextlib.contextmanager
def sharing(model: Any) -> Iterator[None]:
    """The model reads shared prefixes; afterwards its attention is as it was."""
    base = base_of(model)
    before = base.config._attn_implementation
    base.set_attn_implementation(NAME)
    try:
        yield
    finally:
        base.set_attn_implementation(before)
