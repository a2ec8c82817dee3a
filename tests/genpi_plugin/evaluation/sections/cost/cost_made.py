"""Tiny models, systems and a context to measure cost on."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from genpi_plugin.evaluation.figures.measured import Generated, Measured
from genpi_plugin.evaluation.measuring.context import Context, Options
from genpi_plugin.evaluation.sections.cost import measure_cost
from genpi_plugin.evaluation.sections.cost.flops import (
    flop_counter,
)
from genpi_plugin.evaluation.subjects.inputs import HeldOut
from tests.tiny import make_model

PROMPT = [{"role": "system", "content": "You are a shop assistant. Answer with one action. " * 20}]
INPUTS = ["a red shirt", "I need a cotton shirt in size medium", "shirt", "results page, Buy Now"]
USER = [{"role": "user", "content": INPUTS[0]}]


def tiny_adapter(model=None):
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(model or make_model(), config).eval()


def context_of(subjects):
    teacher, floor, student = subjects
    answers = [Generated(list(range(5)), f"Action: search[{text}]", False) for text in INPUTS]
    return Context(
        data=HeldOut(INPUTS, PROMPT, "p", "test", 0),
        teacher=teacher,
        floor=floor,
        students=[student],
        measured=Measured(INPUTS, {"teacher": answers}, {}, [5] * len(INPUTS), {}, {}),
        scores={},
        max_new_tokens=8,
        progress=lambda label, total: contextlib.nullcontext(lambda n: None),
        seed=0,
    )


def small(kind, **more):
    sizes = {
        "vocab_size": 300, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 512,
    }  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(kind(**sizes, **more)).eval()


def forward(model, new, cached=0):
    """(FLOPs seen in a pass over `new` tokens behind `cached`, the cache after it)."""
    ids = torch.randint(1, 290, (1, cached + new), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        cache = None
        if cached:
            cache = model(input_ids=ids[:, :cached], use_cache=True).past_key_values
        with flop_counter() as counter:
            output = model(
                input_ids=ids[:, cached:], past_key_values=cache, use_cache=True, logits_to_keep=1
            )
    return counter.get_total_flops(), output.past_key_values


def measure_cost_here(context, server=None):
    """With nothing left behind by synthesis and training."""
    return measure_cost(
        context,
        Options(
            dataset=Path("nowhere"),
            adapter=Path("nowhere"),
            base_model="base",
            server=server,
            server_adapter="adapter",
        ),
    )
