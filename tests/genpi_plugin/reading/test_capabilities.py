"""What a model is found able to do, and what is read in spite of what it is not able to do."""

from __future__ import annotations

import logging

import pytest
import torch

from genpi_plugin.reading import capabilities, trials
from genpi_plugin.reading.agreement import TOLERANCE, disagreement, divergence, steady, tolerance
from genpi_plugin.reading.capabilities import generating_way, reading_way, split, training_layout
from genpi_plugin.reading.prefix import PrefixCache
from tests.genpi_plugin.reading.families import tiny_model
from tests.tiny import make_model

START = [7 + i * 13 % 400 for i in range(60)]
ROWS = [[*START, 70, 71, 72], [*START, 80, 81]]


def test_a_ten_thousandth_of_a_nat_is_seen_in_float32_and_rounding_is_not():
    torch.manual_seed(0)
    model, right = make_model(), torch.randn(8, 512)
    noise = torch.randn(8, 512)
    assert not disagreement(model, right + 1e-4 * noise, right)
    # Half the mean square of what is added, near a distribution.
    found = right + 0.0142 * noise
    assert divergence(found, right) == pytest.approx(1e-4, rel=0.1)
    assert "nats a token off" in disagreement(model, found, right)
    assert disagreement(model, right + torch.nan, right)


def test_how_finely_a_model_computes_shows_in_its_weights_and_in_its_numbers():
    logits = make_model()(torch.tensor([[1, 2, 3]])).logits[0]
    assert tolerance(make_model(), logits) == TOLERANCE[torch.float32]
    assert tolerance(make_model().bfloat16(), logits) == TOLERANCE[torch.bfloat16]
    rounded = logits.bfloat16().float()  # as under autocast
    assert tolerance(make_model(), rounded) == TOLERANCE[torch.bfloat16]


def test_a_cache_that_cannot_be_copied_row_by_row_holds_nothing(caplog):
    """The short convolutions of LFM2: whole rows are read, and the log says why, once."""
    model = tiny_model("lfm2")
    with caplog.at_level(logging.INFO, logger="axolotl.genpi"):
        prefix = PrefixCache(model, ROWS)
        PrefixCache(model, ROWS)
    assert len(prefix) == 0
    [line] = [r.message for r in caplog.records if "common start" in r.message]
    assert "lfm2" in line
    with prefix.reading(), torch.no_grad():
        found = model(**prefix.inputs(ROWS)).logits
        for place, row in enumerate(ROWS):
            plain = model(torch.tensor([row]), use_cache=False).logits[0]
            torch.testing.assert_close(found[place, : len(row)], plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["bamba", "jamba"])
def test_a_cache_of_the_right_size_that_is_read_wrong_is_not_used(family):
    """One row each, so that nothing has to be copied: several tokens behind it are still wrong."""
    model = tiny_model(family)
    model_row = torch.tensor([ROWS[0]])
    with torch.no_grad():
        cache = model(model_row[:, :60], use_cache=True).past_key_values
        behind = model(model_row[:, 60:], past_key_values=cache, use_cache=True).logits[0]
        plain = model(model_row, use_cache=False).logits[0, 60:]
    wrong = divergence(behind, plain)
    assert reading_way(model, 64) == "plain"
    assert trials.reads_behind(model, "copied", 64)
    if family == "jamba" and wrong < 1e-4:
        pytest.skip("this release of transformers reads it right")


def test_a_window_shorter_than_the_row_is_read_from_the_cache_but_not_written_behind_it():
    model = tiny_model("mistral", sliding_window=128)
    assert trials.window(model) == 128
    assert reading_way(model, 200) == "copied"
    assert generating_way(model, 128) == "copied"
    assert generating_way(model, 129) == "plain"


def test_rows_on_both_sides_of_a_rope_switch_are_never_in_one_call():
    model = tiny_model("phi3, longrope", original_max_position_embeddings=128, sliding_window=None)
    assert trials.rope_switch(model.config) == 128
    assert reading_way(model, 128) == "shared"
    assert reading_way(model, 129) == "plain"
    assert split(model, [10, 150, 128, 129], "padded") == [[0, 2], [1, 3]]
    dynamic = tiny_model("llama, dynamic rope")  # grows with the longest row
    assert split(dynamic, [10, 60, 50, 60], "padded") == [[0, 2], [1], [3]]


def test_rows_share_a_call_as_far_as_the_model_lets_them():
    model = make_model()
    assert split(model, [5, 9, 5], "padded") == [[0, 1, 2]]
    assert split(model, [5, 9, 5], "equal") == [[0, 2], [1]]
    assert split(model, [5, 9, 5], "alone") == [[0], [1], [2]]


def test_packing_gives_way_to_padding_where_sequences_would_see_each_other(caplog):
    assert training_layout(make_model(), "packed") == ("packed", "padded")
    with caplog.at_level(logging.INFO, logger="axolotl.genpi"):
        assert training_layout(tiny_model("jamba"), "packed") == ("bucketed", "padded")
    assert any("padded instead of packed" in record.message for record in caplog.records)


def test_eager_attention_with_sinks_leaks_and_is_found_out():
    model = tiny_model("gpt_oss")
    model.set_attn_implementation("eager")
    assert "nats" in trials.separates_packed(model)


def test_a_trial_in_training_is_without_dropout_and_leaves_no_trace():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=512, n_embd=32, n_head=4, n_layer=2, resid_pdrop=0.5)
    model = GPT2LMHeadModel(config).train()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert training_layout(model, "packed")[0] == "packed"
    torch.testing.assert_close(torch.rand(3), expected)
    assert all(module.training for module in model.modules())
    with steady(model):
        row = torch.tensor([[1, 2, 3]])
        assert torch.equal(model(row).logits, model(row).logits)


def test_what_was_found_is_remembered_for_the_model_and_forgotten_with_it():
    model = make_model()
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    reading_way(model, 64)
    tried = len(calls)
    assert tried
    reading_way(model, 2000)  # nothing in a Llama depends on how long a row is
    assert len(calls) == tried
    held = len(capabilities._found)
    del model
    import gc

    gc.collect()
    assert len(capabilities._found) < held
