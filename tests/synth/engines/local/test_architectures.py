"""Models whose rows share a prefix, and those that are answered by `generate`."""

from __future__ import annotations

import asyncio

import pytest

from tests.genpi_plugin.reading.families import runnable, saved
from tests.synth.engines.asking import GREEDY, PROMPT, answers, ask
from tests.synth.engines.local.models import engine, mixed_requests, plain_text
from tests.tiny import CORPUS, save_tiny

SIZES = {
    "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.2,
    "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip


async def all_answers(model, requests):
    got = await asyncio.gather(*map(model.generate, requests))
    await model.close()
    return got


@pytest.mark.parametrize(
    ("name", "changes", "shares"),
    [
        ("Qwen3", {}, True),  # normalizes queries and keys
        ("Llama", {"num_key_value_heads": 1}, True),
        ("Phi3", {}, True),
        ("GPT2", {"n_embd": 32, "n_head": 4, "n_layer": 2}, True),  # positions are learned
        ("DeepseekV3", {  # latent attention: what is cached is yet to become keys and values
            "num_key_value_heads": 4, "head_dim": 4, "kv_lora_rank": 8, "q_lora_rank": 16,
            "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "n_routed_experts": 4,
            "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
        }, False),
        ("Mistral", {"sliding_window": 16}, False),
        ("Mamba", {"state_size": 8}, False),  # no attention, nothing to cut into rows
        ("RecurrentGemma", {"attention_window_size": 2048, "lru_width": 32,
                            "block_types": ["recurrent", "attention"]}, False),  # pads badly
        ("Phi3", {"original_max_position_embeddings": 64, "max_position_embeddings": 2048,
                  "rope_scaling": {"rope_type": "longrope", "short_factor": [1.0] * 4,
                                   "long_factor": [4.0] * 4}}, False),  # by the longest row
        ("Gemma2", {"sliding_window": 16}, False),  # every other layer, and capped scores
        ("Gemma2", {"layer_types": ["full_attention"] * 2}, False),  # capped scores alone
    ],
)  # fmt: skip
def test_other_models_are_answered_as_by_plain_generate(name, changes, shares, tmp_path):
    """Where rows can't share a prefix, whole batches go through `generate`, padded."""
    import torch
    import transformers

    folder = save_tiny(tmp_path)
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**SIZES, **changes})
    kind = getattr(transformers, f"{name}{'LMHeadModel' if name == 'GPT2' else 'ForCausalLM'}")
    saved(runnable(kind(config), name), folder)
    requests = mixed_requests()[::2]
    model = engine(folder, batch_size=4)
    model._load()
    assert model._local.shares == shares
    got = asyncio.run(asyncio.wait_for(all_answers(model, requests), 120))
    assert [answer.text for answer in got] == [plain_text(folder, r) for r in requests]


def test_a_model_that_cannot_share_is_named_once(tmp_path, caplog):
    from transformers import MistralConfig, MistralForCausalLM

    folder = save_tiny(tmp_path)
    MistralForCausalLM(MistralConfig(**SIZES, sliding_window=16)).save_pretrained(folder)
    caplog.set_level("INFO", logger="synth")
    answers(engine(folder), [ask("one", GREEDY), ask("two", GREEDY)])
    told = [record.message for record in caplog.records if "plain `generate`" in record.message]
    assert len(told) == 1
    assert "mistral" in told[0]


def test_in_bfloat16_scores_differ_by_rounding_alone(tiny):
    """The shared prefix is as far from float32 as bfloat16 is by itself."""
    import torch

    from synth.engines.local.batch import Row
    from synth.engines.local.model import LocalModel

    requests = [ask(text, prompt=PROMPT) for text in CORPUS]

    @torch.inference_mode()
    def scores(dtype: str, shared: bool) -> torch.Tensor:
        local = LocalModel(str(tiny), dtype, {})
        rows = [Row(request, local.render(request), 1) for request in requests]
        if shared:
            return local._read(rows, 60)[1]
        return torch.cat([local.model(torch.tensor([row.ids])).logits[:, -1] for row in rows])

    exact = scores("float32", shared=False)
    torch.testing.assert_close(scores("float32", shared=True), exact, atol=1e-4, rtol=1e-4)
    plain = (scores("bfloat16", shared=False) - exact).norm()
    assert 0 < (scores("bfloat16", shared=True) - exact).norm() < 1.5 * plain
