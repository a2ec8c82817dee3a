"""Attention in two parts is the ordinary attention."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("value_dim", [8, 10], ids=["kernel", "by hand"])
def test_attention_over_shared_prefixes_is_the_ordinary_one(value_dim):
    """Three rows share one prefix, one has none, two share another; a CPU's kernel takes values
    as wide as the keys, other values and devices go the other way."""
    import torch

    from genpi_plugin.reading.shared_attention import Share, attend

    torch.manual_seed(0)
    rows, heads, kv_heads, new, own, dim = 6, 6, 2, 4, 7, 8
    query = torch.randn(rows, heads, new, dim)
    key = torch.randn(rows, kv_heads, own, dim)
    value = torch.randn(rows, kv_heads, own, value_dim)
    shares = [
        Share(first, end, torch.randn(kv_heads, n, dim), torch.randn(kv_heads, n, value_dim))
        for first, end, n in ((0, 3, 11), (4, 6, 5))
    ]
    mask = torch.ones(new, own, dtype=torch.bool).tril(own - new).expand(rows, 1, new, own).clone()
    mask[1, :, :, :3] = False
    got = attend(query, key, value, mask, shares)
    for row in range(rows):
        prefix = next((share for share in shares if share.first <= row < share.end), None)
        keys, values, seen = key[row], value[row], mask[row]
        if prefix:
            keys = torch.cat([prefix.keys, keys], dim=1)
            values = torch.cat([prefix.values, values], dim=1)
            ones = torch.ones(1, new, prefix.keys.shape[1], dtype=torch.bool)
            seen = torch.cat([ones, seen], dim=-1)
        expected = torch.nn.functional.scaled_dot_product_attention(
            query[row], *(part.repeat_interleave(heads // kv_heads, 0) for part in (keys, values)),
            attn_mask=seen, scale=1.0,
        )  # fmt: skip
        torch.testing.assert_close(got[row], expected)
