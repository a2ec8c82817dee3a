"""FLOPs and cache bytes by calculation, against what the model does."""

from __future__ import annotations

import contextlib

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, MixtralConfig

from genpi_plugin.evaluation.sections.cost.flops import (
    UnknownShapeError,
    cache_bytes,
    shape_of,
)
from tests import ROOT
from tests.genpi_plugin.evaluation.sections.cost.cost_made import (
    USER,
    forward,
    small,
    tiny_adapter,
)
from tests.tiny import make_model

SMOLLM2 = ROOT / "models" / "smollm2"


@pytest.mark.parametrize(("new", "cached"), [(150, 0), (20, 130), (1, 149)])
@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("kind", ["llama", "own head size", "sliding window"])
def test_flops_on_paper_are_those_that_the_model_does(kind, adapter, new, cached):
    model = {
        "llama": lambda: small(LlamaConfig),
        "own head size": lambda: small(LlamaConfig, head_dim=16),
        "sliding window": lambda: small(MistralConfig, sliding_window=40, head_dim=8),
    }[kind]()
    model = tiny_adapter(model)
    shape = shape_of(model)
    with contextlib.nullcontext() if adapter else model.disable_adapter():
        seen, cache = forward(model, new, cached)
    assert seen == pytest.approx(shape.flops(new, cached, adapter), rel=0.01)
    window = 40 if kind == "sliding window" else None
    # transformers keeps one token less than the window, once the window is full
    kept = shape.kv_bytes(150 if window is None else window - 1)
    assert cache_bytes(cache) == kept


def test_flops_and_bytes_by_hand():
    """One of everything, counted with a pencil."""
    model = small(LlamaConfig, torch_dtype=torch.bfloat16).to(torch.bfloat16)
    shape = shape_of(model)
    per_layer = 48 * 48 * 2 + 48 * 16 * 2 + 48 * 64 * 3  # q, o; k, v; gate, up, down
    assert shape.linear == 3 * per_layer
    assert shape.kv_bytes(10) == 10 * 3 * 2 * 8 * 2 * 2
    attention = 3 * 2 * (6 * 8) * 7 * (7 + 5)  # scores and values
    assert shape.flops(7, 5) == 2 * (7 * 3 * per_layer + 48 * 300 + attention)
    assert shape.decode_flops(12, 3) == sum(shape.flops(1, n) for n in (12, 13, 14))


def test_an_unmerged_adapter_costs_its_matrices():
    model = tiny_adapter(small(LlamaConfig))
    matrices = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    shape = shape_of(model)
    assert shape.flops(9, 4, adapter=True) - shape.flops(9, 4) == 2 * 9 * matrices
    assert shape.linear == shape_of(small(LlamaConfig)).linear


def test_a_head_with_an_adapter_is_used_once_a_request():
    config = LoraConfig(r=4, target_modules=["lm_head", "q_proj"], init_lora_weights=False)
    model = get_peft_model(small(LlamaConfig), config).eval()
    seen, _ = forward(model, 100)
    assert seen == pytest.approx(shape_of(model).flops(100, adapter=True), rel=0.01)


def test_what_is_not_known_is_not_guessed():
    experts = small(MixtralConfig, num_local_experts=2, num_experts_per_tok=1)
    with pytest.raises(UnknownShapeError, match="experts"):
        shape_of(experts)
    dora = LoraConfig(r=4, target_modules=["q_proj"], use_dora=True)
    with pytest.raises(UnknownShapeError, match="DoRA"):
        shape_of(get_peft_model(make_model(), dora))


def test_the_cache_on_paper_is_the_models_own(subjects):
    teacher = subjects[0]
    ids = torch.tensor([teacher.request(USER)])
    with teacher.switched(), torch.inference_mode():
        cache = teacher.model(input_ids=ids, use_cache=True).past_key_values
    assert shape_of(teacher.model).kv_bytes(ids.shape[1]) == cache_bytes(cache)


@pytest.mark.slow
@pytest.mark.skipif(not SMOLLM2.is_dir(), reason="no models/smollm2: `make demo` fetches it")
def test_flops_of_smollm2_on_paper_and_seen():
    model = AutoModelForCausalLM.from_pretrained(SMOLLM2, dtype=torch.bfloat16).eval()
    model = tiny_adapter(model)
    shape = shape_of(model)
    for adapter, new, cached in ((True, 40, 0), (False, 600, 0), (False, 40, 560)):
        with contextlib.nullcontext() if adapter else model.disable_adapter():
            seen, cache = forward(model, new, cached)
        assert seen == pytest.approx(shape.flops(new, cached, adapter), rel=0.001)
        assert cache_bytes(cache) == shape.kv_bytes(new + cached)
