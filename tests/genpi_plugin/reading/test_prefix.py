"""A prompt read once for all rows: the same logits as reading it before each row."""

from __future__ import annotations

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from genpi_plugin.reading.capabilities import reading_way
from genpi_plugin.reading.prefix import PrefixCache, common_prefix
from genpi_plugin.reading.shared_attention import Share, attend
from tests.tiny import make_model

START = [7 + i * 13 % 400 for i in range(48)]
ROWS = [[*START, *range(20 + n, 20 + 2 * n)] for n in (3, 9, 5)]
SMALL = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}  # fmt: skip


def make_gemma2():
    """Caps its attention scores and has windows: nothing that a shared prefix can do."""
    torch.manual_seed(0)
    return Gemma2ForCausalLM(Gemma2Config(**SMALL, sliding_window=16)).eval()


def make_qwen3():
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**SMALL)).eval()


@torch.inference_mode()
def read(model, prefix):
    with prefix.reading():
        return model(**prefix.inputs(ROWS)).logits


@torch.inference_mode()
def check(model, prefix, rows=ROWS):
    found = read(model, prefix)
    for place, row in enumerate(rows):
        plain = model(torch.tensor([row]), use_cache=False).logits[0, len(prefix) :]
        torch.testing.assert_close(
            found[place, : len(row) - len(prefix)], plain, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("make", "shared"), [(make_model, True), (make_qwen3, True), (make_gemma2, False)]
)
def test_rows_behind_a_cached_start_are_read_as_whole_rows(make, shared):
    model = make()
    assert (reading_way(model) == "shared") is shared
    prefix = PrefixCache(model, ROWS)
    assert len(prefix) == len(START)
    check(model, prefix)
    check(model, prefix)  # the cache is as it was
    assert model.config._attn_implementation == "sdpa"


def test_attention_behind_a_prefix_is_attention_over_both():
    torch.manual_seed(0)
    rows, heads, kv_heads, new, own, dim, length = 3, 6, 2, 4, 5, 8, 11
    query = torch.randn(rows, heads, new, dim)
    key, value = torch.randn(2, rows, kv_heads, own, dim)
    prefix_key, prefix_value = torch.randn(2, kv_heads, length, dim)
    mask = torch.rand(rows, 1, new, own) > 0.4
    mask[1, :, :2] = False  # padding on the left: these see the prefix alone
    found = attend(query, key, value, mask, [Share(0, rows, prefix_key, prefix_value)])
    keys = torch.cat([prefix_key.expand(rows, -1, -1, -1), key], dim=2)
    values = torch.cat([prefix_value.expand(rows, -1, -1, -1), value], dim=2)
    seen = torch.cat([torch.ones(rows, 1, new, length, dtype=torch.bool), mask], dim=-1)
    plain = torch.nn.functional.scaled_dot_product_attention(
        query, keys, values, seen, scale=1.0, enable_gqa=True
    )
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)


def test_a_start_read_before_is_taken_again_and_shortened():
    model = make_model()
    calls = []
    hook = model.register_forward_pre_hook(lambda *_: calls.append(1))
    first = PrefixCache(model, ROWS)
    made = len(calls)
    longer = PrefixCache(model, [[*row[:48], 9, 9, *row[48:]] for row in ROWS], first)
    assert len(longer) == 48
    shorter_rows = [[*START[:46], 5, 6], [*START[:46], 6]]
    shorter = PrefixCache(model, shorter_rows, first)
    assert len(shorter) == 46
    alone = PrefixCache(model, [ROWS[0]], first)
    assert len(alone) == 48
    assert len(calls) == made
    other = PrefixCache(model, [[1, *row] for row in ROWS], first)
    assert len(other) == 49
    assert len(calls) > made
    hook.remove()
    check(model, longer)
    with torch.inference_mode(), shorter.reading():
        found = model(**shorter.inputs(shorter_rows)).logits
    plain = model(torch.tensor(shorter_rows[:1]), use_cache=False).logits[0, 46:]
    torch.testing.assert_close(found[0], plain, rtol=1e-4, atol=1e-4)


def test_common_prefix():
    assert common_prefix([[1, 2, 3], [1, 2], [1, 2, 9]]) == [1, 2]
    assert common_prefix([[1], [2]]) == []
    assert common_prefix([]) == []


def test_a_shared_prefix_outside_of_its_attention_is_an_error():
    model = make_model()
    prefix = PrefixCache(model, ROWS)
    with pytest.raises(RuntimeError, match="inside `sharing"):
        model(**prefix.inputs(ROWS))
