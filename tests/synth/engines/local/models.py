"""Engines of tiny models, and what transformers' own `generate` answers."""

from __future__ import annotations

from pathlib import Path

from synth.engines.base import Request, Sampling
from synth.engines.local.engine import TransformersEngine
from tests.synth.engines.asking import GREEDY, PROMPT, ask
from tests.tiny import CORPUS


def engine(folder: Path, **arguments) -> TransformersEngine:
    return TransformersEngine(str(folder), dtype="float32", **arguments)


def plain_tokens(folder: Path, request: Request) -> list[int]:
    """What `generate` writes for this request alone, without anything of ours."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    messages = [{"role": m.role, "content": m.content} for m in request.messages]
    inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**inputs, max_new_tokens=request.sampling.max_tokens, do_sample=False)
    return out[0, inputs["input_ids"].shape[1] :].tolist()


def plain_text(folder: Path, request: Request) -> str:
    """The text of `plain_tokens` up to the end token, special tokens inside included."""
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer, tokens = AutoTokenizer.from_pretrained(folder), plain_tokens(folder, request)
    ends = GenerationConfig.from_pretrained(folder).eos_token_id
    if tokens and tokens[-1] in (ends if isinstance(ends, list) else [ends]):
        tokens = tokens[:-1]
    return tokenizer.decode(tokens, skip_special_tokens=False)


def mixed_requests(sampling: Sampling = GREEDY) -> list[Request]:
    """With the prompt and without, short and long, more than fit a batch, unlike limits."""
    texts = [CORPUS[i % 5][: 5 + 7 * i] for i in range(10)]
    with_prompt = [
        ask(text, Sampling(sampling.temperature, sampling.top_p, 10 + 8 * i), i, PROMPT)
        for i, text in enumerate(texts)
    ]
    return with_prompt + [ask(text, sampling, i) for i, text in enumerate(texts)]
