"""Attention over a beginning that all rows of a batch share, kept once instead of once per row.

A copy of a long prompt's keys and values for every row is most of what a batch moves. Here the
rows' queries meet the one copy together, and the two softmaxes (over the prefix, over the row's own
tokens) are merged: the ordinary attention's result. The idea is Hydragen's (Juravsky et al. 2024,
arXiv 2402.05099); it goes in through the attention and cache interfaces of transformers.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "genpi_shared_prefix"
# Attention scores held at once, in elements; more queries are taken in parts, which a CPU's caches
# hold.
MAX_SCORES = 2**23
# What some models add to the attention: caps on the scores, sinks, windows, position biases.
ELSE = ("softcap", "s_aux", "sliding_window", "position_bias")
# Two ways to the same logits differ by rounding: 0.06 in bfloat16. A prefix left out makes 1.
TOLERANCE = 0.2


class SharedPrefixLayer(DynamicLayer):
    """One layer's cache: `prefix` (one row, not touched) and what the rows of a batch add to it.

    `update` gives back the rows' own keys only, with the prefix as their attribute `prefix`. Any
    attention but the one here would leave the prefix out and not say so: that is an error.
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
        keys.prefix = self.prefix
        return keys, values

    def get_seq_length(self) -> int:
        return self.prefix.get_seq_length() + super().get_seq_length()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return super().get_seq_length() + query_length, self.prefix.get_seq_length()


class UnknownAttentionError(NotImplementedError):
    """The model asks for something in its attention that is not done here."""


def share(prefix: DynamicCache, model: Any) -> DynamicCache:
    """A cache for a batch of any size whose rows all begin with `prefix`, `model`'s of one row."""
    cache = DynamicCache()
    config = _base(model).config
    cache.layers = [SharedPrefixLayer(layer, config) for layer in prefix.layers]
    return cache


def shortened(prefix: DynamicCache, length: int) -> DynamicCache:
    """The cache of the first `length` tokens: what comes later never changed them."""
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

    Two rows are read both ways and compared: a model that transforms its keys after caching them,
    or has another attention than the one here, can't.
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


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function for transformers: SDPA unless `key` comes with a prefix."""
    prefix = getattr(key, "prefix", None)
    if prefix is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
    if unknown := [name for name in ELSE if kwargs.get(name) is not None]:
        raise UnknownAttentionError(", ".join(unknown))
    new = query.shape[2]
    if attention_mask is None and new > 1:
        ones = torch.ones(new, key.shape[2], dtype=torch.bool, device=key.device)
        attention_mask = ones.tril(key.shape[2] - new)[None, None]
    query = query * (1 / math.sqrt(query.shape[-1]) if scaling is None else scaling)
    scores_per_token = query.shape[0] * query.shape[1] * (key.shape[2] + prefix.keys.shape[2])
    part = max(1, MAX_SCORES // scores_per_token)
    out = [
        attend(
            query[:, :, at : at + part],
            key,
            value,
            None if attention_mask is None else attention_mask[:, :, at : at + part],
            prefix.keys[0],
            prefix.values[0],
        )
        for at in range(0, new, part)
    ]
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    prefix_key: torch.Tensor,
    prefix_value: torch.Tensor,
) -> torch.Tensor:
    """softmax(query [prefix_key, key]^T) [prefix_value, value], with grouped heads.

    Args:
        query: [rows, heads, new, dim], scaled.
        key, value: [rows, kv_heads, own, dim].
        mask: [rows or 1, 1, new, own], True where a query sees a key; None: everywhere.
        prefix_key, prefix_value: [kv_heads, prefix, dim], seen by every query.

    Returns:
        [rows, heads, new, dim].
    """
    rows, heads, new, dim = query.shape
    kv_heads, own = key.shape[1], key.shape[2]
    group = heads // kv_heads
    query = query.reshape(rows, kv_heads, group * new, dim)

    scores = (query @ key.transpose(-1, -2)).float()
    if mask is not None:
        seen = mask[:, :, None].expand(-1, -1, group, -1, -1).reshape(-1, 1, group * new, own)
        scores = scores.masked_fill(~seen, -torch.inf)
    together = query.transpose(0, 1).reshape(kv_heads, rows * group * new, dim)
    prefix_scores = (together @ prefix_key.transpose(-1, -2)).float()

    def apart(x: torch.Tensor) -> torch.Tensor:
        """[kv_heads, rows * group * new, any] -> [rows, kv_heads, group * new, any]"""
        return x.view(kv_heads, rows, group * new, -1).transpose(0, 1)

    top = torch.maximum(scores.amax(-1, keepdim=True), apart(prefix_scores.amax(-1, keepdim=True)))
    weights = (scores - top).exp_()
    together_top = top.transpose(0, 1).reshape(kv_heads, rows * group * new, 1)
    prefix_weights = prefix_scores.sub_(together_top).exp_()

    total = weights.sum(-1, keepdim=True) + apart(prefix_weights.sum(-1, keepdim=True))
    mixed = (weights.to(value.dtype) @ value).float()
    mixed = mixed + apart((prefix_weights.to(value.dtype) @ prefix_value).float())
    return (mixed / total).to(value.dtype).view(rows, heads, new, dim)


def _base(model: Any) -> Any:
    """The transformers model inside an adapter's wrapping."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


AttentionInterface.register(NAME, attention_forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
