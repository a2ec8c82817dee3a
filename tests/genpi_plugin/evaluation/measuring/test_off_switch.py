"""Adapters that can and can't be switched off."""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

from genpi_plugin.evaluation.measuring.off_switch import check_off_switch
from genpi_plugin.evaluation.subjects.reading import logprobs
from tests.genpi_plugin.evaluation.context_made import adapted, make_context, quiet
from tests.tiny import make_model

GENERALS = ["What is the capital?", "Tell me a joke", "17 times 23", "size of a page", "Hi"]


def _with_attention_biases():
    config = make_model().config
    config.attention_bias = True
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval()


def test_trained_biases_that_the_switch_does_not_reach_are_caught():
    model = adapted(base=_with_attention_biases(), bias="all")
    floor = make_context(model).floor
    assert check_off_switch(floor, _with_attention_biases, GENERALS, 12, quiet).identical is True
    biases = [p for n, p in model.named_parameters() if n.endswith("bias") and p.requires_grad]
    assert biases
    with torch.no_grad():
        for bias in biases:
            bias += 0.3 * torch.randn_like(bias)
    seen = check_off_switch(floor, _with_attention_biases, GENERALS, 12, quiet)
    assert seen.identical is False
    assert seen.other_tokens > 0


def test_a_difference_that_changes_no_token_is_caught():
    model = adapted()
    with torch.no_grad():
        model.base_model.model.model.norm.weight[0] *= 1.02
    seen = check_off_switch(make_context(model).floor, make_model, GENERALS, 12, quiet)
    assert (seen.other_tokens, seen.identical) == (0, False)
    assert seen.largest_kl < 0.01


def test_an_adapter_merged_and_taken_out_again_in_bf16_is_caught():
    model = adapted().to(torch.bfloat16)
    before = make_context(model, load_base_model=lambda: make_model().to(torch.bfloat16))
    assert (
        check_off_switch(before.floor, before.load_base_model, GENERALS, 12, quiet).identical
        is True
    )
    model.merge_adapter()
    model.unmerge_adapter()
    after = check_off_switch(before.floor, before.load_base_model, GENERALS, 12, quiet)
    assert after.identical is False
    assert after.largest_kl > 0


def test_a_layer_of_modules_to_save_is_switched_off_too():
    """PEFT keeps the original of such a layer; trained, it must not reach floor and teacher."""
    model = adapted(modules_to_save=["lm_head"])
    saved = model.base_model.model.lm_head.modules_to_save["default"]
    with torch.no_grad():
        saved.weight += torch.randn_like(saved.weight)
    context = make_context(model)
    assert (
        check_off_switch(context.floor, context.load_base_model, GENERALS, 12, quiet).identical
        is True
    )
    [request] = context.floor.requests(["shirt"])
    answers = [list(range(20, 25))]
    for (_, [off]), (_, [on]) in zip(
        logprobs(context.floor, [request], answers),
        logprobs(context.students[0], [request], answers),
        strict=True,
    ):
        assert not torch.allclose(off, on)
