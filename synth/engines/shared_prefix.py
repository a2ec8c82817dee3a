"""Attention over beginnings that rows of a batch share, each kept once instead of once per row.

A long prompt in front of short requests makes decoding slow not by its arithmetic but by its
key-value cache: every step would move one copy of it per row. Here the queries of all rows with
the same prefix meet its one copy together, and the two softmaxes (over the prefix, over the row's
own tokens) are merged. The result is the ordinary attention's. The idea is Hydragen's (Juravsky
et al. 2024, arXiv 2402.05099); it goes in through the attention interface of transformers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "synth_shared_prefix"
# Attention scores held at once, in elements; longer requests are taken in parts. On a CPU, four
# times as many leave its caches and take nearly twice the time.
MAX_SCORES = 2**23
# What some models add to the attention: caps on the scores, sinks, windows, position biases.
ELSE = ("softcap", "s_aux", "sliding_window", "position_bias")


@dataclass(frozen=True)
class Share:
    """Rows `first` to `end` of a batch begin with `keys` and `values`, (kv_heads, tokens, dim)."""

    first: int
    end: int
    keys: torch.Tensor
    values: torch.Tensor


class UnknownAttentionError(NotImplementedError):
    """The model asks for something in its attention that is not done here."""


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function for transformers: SDPA unless `key` comes with `shares`."""
    shares: list[Share] = getattr(key, "shares", [])
    if not shares:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
    unknown = [name for name in ELSE if kwargs.get(name) is not None]
    if unknown:
        raise UnknownAttentionError(", ".join(unknown))
    assert attention_mask is not None
    query = query * (1 / math.sqrt(query.shape[-1]) if scaling is None else scaling)
    keys = key.shape[2] + max(share.keys.shape[1] for share in shares)
    part = max(1, MAX_SCORES // (query.shape[0] * query.shape[1] * keys))
    out = [
        attend(new, key, value, mask, shares)
        for new, mask in zip(
            query.split(part, dim=2), attention_mask.split(part, dim=2), strict=True
        )
    ]
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    shares: Sequence[Share],
) -> torch.Tensor:
    """softmax(query [prefix, key]^T) [prefix, value], with grouped heads.

    Args:
        query: (rows, heads, new, dim), scaled.
        key, value: (rows, kv_heads, own, dim).
        mask: (rows, 1, new, own), True where a query sees a key, and it sees one at least.
        shares: the prefixes, seen by every query of their rows.

    Returns:
        (rows, heads, new, dim of the values).
    """
    rows, heads, new, dim = query.shape
    kv_heads, own = key.shape[1], key.shape[2]
    group = heads // kv_heads
    query = query.reshape(rows, kv_heads, group * new, dim)
    seen = mask[:, :, None].expand(-1, -1, group, -1, -1).reshape(rows, 1, group * new, own)
    scores = (query @ key.transpose(-1, -2)).float().masked_fill_(~seen, -torch.inf)
    mixed, total, top = _softmax_parts(scores, value)
    for share in shares:
        here = slice(share.first, share.end)
        # All queries of a head side by side, as if they were one row's.
        together = query[here].transpose(0, 1).reshape(kv_heads, -1, dim)
        scores = (together @ share.keys.transpose(-1, -2)).float()
        theirs = [
            part.view(kv_heads, share.end - share.first, group * new, -1).transpose(0, 1)
            for part in _softmax_parts(scores, share.values)
        ]
        both = torch.maximum(top[here], theirs[2])
        mine_weight, their_weight = (top[here] - both).exp_(), (theirs[2] - both).exp_()
        mixed[here] = mixed[here] * mine_weight + theirs[0] * their_weight
        total[here] = total[here] * mine_weight + theirs[1] * their_weight
    return (mixed / total).to(value.dtype).view(rows, heads, new, -1)


def _softmax_parts(
    scores: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What a softmax over more than these scores needs of them; they are used up.

    Returns:
        The mix of the values, not yet divided, the sum of the weights to divide by, and the
        highest score, which is already taken out of both.
    """
    top = scores.amax(-1, keepdim=True)
    weights = scores.sub_(top).exp_()
    return (weights.to(value.dtype) @ value).float(), weights.sum(-1, keepdim=True), top


AttentionInterface.register(NAME, attention_forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
