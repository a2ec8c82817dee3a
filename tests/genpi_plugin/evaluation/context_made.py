"""The context of an evaluation's section, on a tiny model with an adapter."""

from __future__ import annotations

import contextlib

import torch
from peft import LoraConfig, get_peft_model

from genpi_plugin.data.chat import ChatView
from genpi_plugin.evaluation.figures.scores import make_scores
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.measuring.measure import measure
from genpi_plugin.evaluation.subjects.inputs import HeldOut
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.tiny import make_model, make_tokenizer

PROMPT = [
    {
        "role": "system",
        "content": "You are a shop assistant.\n\n- Answer with one action only.\n"
        "- Never name a price of more than forty dollars.",
    },
    {"role": "user", "content": "a red cotton shirt in size medium"},
    {"role": "assistant", "content": "Action: search[red cotton shirt]"},
]


def quiet(label, total):
    return contextlib.nullcontext(lambda count: None)


def adapted(zeros=False, base=None, **lora):
    """A tiny model with an adapter; of zeros, it changes nothing."""
    torch.manual_seed(1)
    # peft's "init" is the other way round: True leaves B at zero.
    config = LoraConfig(
        r=4, lora_alpha=64, target_modules="all-linear", init_lora_weights=zeros, **lora
    )
    return get_peft_model(base if base is not None else make_model(), config)


def make_context(
    model, pattern=r"\w+", max_new_tokens=12, load_base_model=make_model, inputs=("shirt",)
):
    view = ChatView(make_tokenizer())
    teacher = Subject("teacher", model, view, PROMPT, batch_size=4)
    floor = Subject("floor", model, view, batch_size=4)
    student = Subject("student", model, view, adapter=True, batch_size=4)
    scores = make_scores(pattern)
    measured = measure(inputs, teacher, [floor, student], scores, max_new_tokens, quiet)
    data = HeldOut(list(inputs), PROMPT, "shop", "made", in_training=0)
    return Context(data, teacher, floor, [student], measured, scores, max_new_tokens, quiet, 0,
                   load_base_model)  # fmt: skip
