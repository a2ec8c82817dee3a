"""Attention over prefixes that rows of a batch share, each stored once instead of once per row.

A long prompt in front of short requests makes decoding slow not by its arithmetic but by its
key-value cache: every step would move one copy of it per row. Here the queries of all rows with
the same prefix attend to its one copy, and the two softmaxes (over the prefix, over the row's
own tokens) are merged. The result is the ordinary attention's. The idea is Hydragen's (Juravsky
et al. 2024, arXiv 2402.05099); it uses the attention interface of transformers.
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

NAME = "genpi_shared_prefix"
# Attention scores held at once, in elements, where no kernel does without; the rest waits.
MAX_SCORES = 2**25
# Options of some models' attention: caps on the scores, sinks, windows, position biases.
UNSUPPORTED = ("softcap", "s_aux", "sliding_window", "position_bias")


@dataclass(frozen=True)
class Share:
    """Rows `first` to `end` of a batch begin with `keys` and `values`, (kv_heads, tokens, dim)."""

    first: int
    end: int
    keys: torch.Tensor
    values: torch.Tensor


class UnknownAttentionError(NotImplementedError):
    """The model's attention uses an option that is not supported here."""


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function for transformers: SDPA unless `key` comes with the attribute `shares`.

    Raises:
        UnknownAttentionError: the model uses one of the `UNSUPPORTED` options.
    """
    shares: list[Share] = getattr(key, "shares", [])
    if not shares:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
    unknown = [name for name in UNSUPPORTED if kwargs.get(name) is not None]
    if unknown:
        raise UnknownAttentionError(", ".join(unknown))
    rows, new, own = query.shape[0], query.shape[2], key.shape[2]
    if attention_mask is None:
        ones = torch.ones(new, own, dtype=torch.bool, device=key.device)
        attention_mask = ones.tril(own - new)[None, None]
    attention_mask = attention_mask.expand(rows, -1, -1, -1)
    query = query * (1 / math.sqrt(query.shape[-1]) if scaling is None else scaling)
    return attend(query, key, value, attention_mask, shares).transpose(1, 2).contiguous(), None


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
        mask: (rows, 1, new, own), True where a query sees a key. One that sees none (padding on
            the left) sees the prefix alone.
        shares: the prefixes, seen by every query of their rows.

    Returns:
        (rows, heads, new, dim of the values).
    """
    rows, heads, new, dim = query.shape
    kv_heads = key.shape[1]
    group = heads // kv_heads
    query = query.reshape(rows, kv_heads, group * new, dim)
    sees_none = ~mask.any(-1, keepdim=True)
    unseen = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device)
    # A softmax over nothing would be no number: such a query is let see all, and weighs nothing.
    unseen = unseen.masked_fill_(~(mask | sees_none), -torch.inf).repeat(1, 1, group, 1)
    out, level = _partly(query, key, value, unseen)
    level = level.masked_fill(sees_none[..., 0].repeat(1, 1, group), -torch.inf)
    for share in shares:
        here = slice(share.first, share.end)
        # All queries of a head side by side, as if they were one row's.
        together = query[here].transpose(0, 1).reshape(1, kv_heads, -1, dim)
        theirs, their_level = _partly(together, share.keys[None], share.values[None])
        theirs = theirs.view(kv_heads, share.end - share.first, group * new, -1).transpose(0, 1)
        their_level = their_level.view(kv_heads, -1, group * new).transpose(0, 1)
        weight = torch.sigmoid(level[here] - their_level)[..., None]
        out[here] = torch.lerp(theirs.float(), out[here].float(), weight).to(out.dtype)
    return out.view(rows, heads, new, -1)


def _partly(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention to some of the keys, and the log of its softmax's denominator.

    Two such parts make a whole: their mean, weighted by their denominators.

    Args:
        query: (rows, heads, new, dim), scaled.
        key, value: (rows, heads, keys, dim).
        bias: (rows, 1, new, keys), added to the scores.

    Returns:
        (rows, heads, new, dim of the values) and (rows, heads, new), float32.
    """
    if query.device.type == "cpu" and value.shape[-1] == query.shape[-1]:
        # What SDPA calls on a CPU, which keeps the denominators to itself.
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, attn_mask=bias, scale=1.0
        )
    part = max(1, MAX_SCORES // (query.shape[0] * query.shape[1] * key.shape[2]))
    out, level = [], []
    for start in range(0, query.shape[2], part):
        # Multiplied in float32: rounded scores would cost more than all the rest.
        scores = query[:, :, start : start + part].float() @ key.transpose(-1, -2).float()
        if bias is not None:
            scores += bias[:, :, start : start + part]
        total = scores.logsumexp(-1)
        out.append(scores.sub_(total[..., None]).exp_().to(value.dtype) @ value)
        level.append(total)
    return torch.cat(out, dim=2), torch.cat(level, dim=2)


AttentionInterface.register(NAME, attention_forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
