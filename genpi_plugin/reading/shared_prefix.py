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

from genpi_plugin.reading.shared_attention import NAME, Share, UnknownAttentionError

# Relative error of the logits: rounding gives 0.06 in bfloat16, leaving the prefix out gives 1.
TOLERANCE = 0.2


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
    config = _base(model).config
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
    base = _base(model)
    before = base.config._attn_implementation
    base.set_attn_implementation(NAME)
    try:
        yield
    finally:
        base.set_attn_implementation(before)


@torch.inference_mode()
def can_share(model: Any) -> bool:
    """Whether `model` gives the same answers behind a shared prefix.

    Two rows are read both ways and compared. A model that transforms its keys after caching them,
    or whose attention `shared_attention` does not support, fails.
    """
    config = _base(model).config
    if config._attn_implementation != "sdpa":
        return False
    size = config.get_text_config().vocab_size
    ids = (torch.arange(2 * 24, device=model.device).view(2, 24) * 97 + 11) % size
    ids[1, :16] = ids[0, :16]
    plain = model(input_ids=ids, use_cache=False).logits[:, 16:].float()
    prefix = model(input_ids=ids[:1, :16], use_cache=True).past_key_values
    if not all(type(layer) is DynamicLayer for layer in getattr(prefix, "layers", [None])):
        return False
    try:
        with sharing(model):
            if config._attn_implementation != NAME:
                return False
            output = model(
                input_ids=ids[:, 16:], past_key_values=share(prefix, model), use_cache=True
            )
    except UnknownAttentionError:
        return False
    error = (output.logits.float() - plain).norm()
    return bool(error / (plain - plain.mean(-1, keepdim=True)).norm() < TOLERANCE)


def _base(model: Any) -> Any:
    """The transformers model inside an adapter's wrapping."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
