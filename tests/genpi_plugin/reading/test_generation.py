"""Answers that are drawn: from the model's own distribution, each by its own seed."""

from __future__ import annotations

import random

import pytest
import torch
from peft import LoraConfig, get_peft_model

from genpi_plugin.data.chat import ChatView
from genpi_plugin.reading.generation import _Draws, end_tokens, pad_token, sampled
from tests.tiny import make_model, make_tokenizer

REQUESTS = [[5, 6, 7], [9] * 40 + [8], [9] * 40 + [3, 4], [11, 12], [9] * 40 + [8, 8, 8]]
SEEDS = [f"seed {place}" for place in range(len(REQUESTS))]


def plainly_sampled(model, request, seed, limit, end_ids):
    """One answer from whole forward passes, without a cache or a batch."""
    numbers, ids = random.Random(seed), list(request)
    for _ in range(limit):
        with torch.no_grad():
            probs = model(torch.tensor([ids]), use_cache=False).logits[0, -1].softmax(-1)
        summed = probs.double().cumsum(-1)
        ids.append(int((summed <= numbers.random() * summed[-1]).sum()))
        if ids[-1] in end_ids:
            break
    return ids[len(request) :]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_row_is_drawn_by_its_own_seed_whatever_is_beside_it(batch_size):
    model = make_model()
    ends = list(range(100, 140))
    found = sampled(model, REQUESTS, SEEDS, 12, ends, 0, batch_size=batch_size)
    expected = [plainly_sampled(model, *one, 12, ends) for one in zip(REQUESTS, SEEDS, strict=True)]
    assert found == expected
    assert any(len(ids) < 12 and ids[-1] in ends for ids in found)
    assert any(len(ids) == 12 for ids in found)
    backwards = sampled(model, REQUESTS[::-1], SEEDS[::-1], 12, ends, 0, batch_size=batch_size)
    assert backwards[::-1] == found
    others = sampled(model, REQUESTS, [seed + "!" for seed in SEEDS], 12, ends, 0)
    assert all(one != other for one, other in zip(found, others, strict=True))


def test_draws_have_the_probabilities_of_the_model_and_of_the_temperature():
    logits = torch.tensor([2.0, -1.0, 0.5, 0.0])
    rows = 20_000
    for temperature in (1.0, 0.5):
        draws = _Draws([str(row) for row in range(rows)], 1, temperature)
        chosen = draws(torch.zeros(rows, 1), logits.expand(rows, -1)).argmax(-1)
        shares = torch.bincount(chosen, minlength=4) / rows
        expected = (logits / temperature).softmax(-1)
        torch.testing.assert_close(shares, expected, atol=0.015, rtol=0)


def test_what_a_folder_recommends_for_generation_has_no_part_in_it():
    model = make_model()
    plain = sampled(model, REQUESTS, SEEDS, 8, [2], 0)
    model.generation_config.update(repetition_penalty=50.0, no_repeat_ngram_size=1, min_length=90)
    saved = model.generation_config
    assert sampled(model, REQUESTS, SEEDS, 8, [2], 0) == plain
    assert model.generation_config is saved


def test_a_number_behind_the_last_token_by_rounding_draws_the_last():
    draws = _Draws(["a", "b"], 1, 1.0)
    draws.numbers[:] = 1.0
    chosen = draws(torch.zeros(2, 1), torch.randn(2, 30)).argmax(-1)
    assert chosen.tolist() == [29, 29]


def test_a_model_in_training_answers_without_dropout_and_is_as_it_was():
    config = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.5, init_lora_weights=False)
    torch.manual_seed(0)
    model = get_peft_model(make_model(), config)
    plain = sampled(model.eval(), REQUESTS, SEEDS, 6, [2], 0)
    recommended = model.get_base_model().generation_config
    assert sampled(model.train(), REQUESTS, SEEDS, 6, [2], 0) == plain

    def full(place, ids):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        sampled(model, REQUESTS, SEEDS, 6, [2], 0, done=full)
    assert model.training
    assert model.get_base_model().generation_config is recommended


def test_temperature_0_is_greedy():
    model = make_model()
    [found] = sampled(model, REQUESTS[:1], SEEDS[:1], 8, [2], 0, temperature=0.0)
    ids = list(REQUESTS[0])
    for _ in found:
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert found == ids[3:]


def test_each_answer_is_told_as_soon_as_it_is_there():
    told = {}
    found = sampled(
        make_model(), REQUESTS, SEEDS, 4, [2], 0, batch_size=2, done=told.__setitem__
    )  # fmt: skip
    assert [told[place] for place in range(len(REQUESTS))] == found


def test_ends_are_the_models_and_the_templates():
    tokenizer, model = make_tokenizer("llama3"), make_model()
    model.generation_config.eos_token_id = [7, 9]
    end = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    tokenizer.eos_token = "!"
    ends = sorted([7, 9, end, tokenizer.eos_token_id])
    assert len(set(ends)) == 4
    assert end_tokens(model, ChatView(tokenizer)) == ends
    assert pad_token(tokenizer) == tokenizer.pad_token_id
