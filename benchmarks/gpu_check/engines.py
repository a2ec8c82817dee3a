"""The synthesizer's engines on this machine: tokens a second, and the same answers."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.checks import Check, Finding, Machine
from benchmarks.gpu_check.made import base_model
from benchmarks.gpu_check.packages import need, need_gpu
from synth.engines.base import Answer, Engine, Message, Request, Sampling
from tests.tiny import make_tokenizer

# About 0.15 billion parameters with the made-up tokenizer's vocabulary.
SHAPE = {
    "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12,
    "num_attention_heads": 16, "num_key_value_heads": 4, "initializer_range": 0.03,
}  # fmt: skip
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
WORDS = ("red", "blue", "cotton", "shirt", "medium", "price", "lower", "than", "search", "click")
# Of the answers; greedy, so that only a near tie may fall either way.
LEAST_ALIKE = 0.9
# A cache that holds a few short rows: a CPU's memory, a share of which is the default, is others'.
SMALL_CACHE = {"num_blocks": 128, "block_size": 16, "max_batch_tokens": 64}
# A part of the card, so that what an earlier check left is enough, and no minute of compiling.
VLLM_ARGS = {"gpu_memory_utilization": 0.3, "max_model_len": 2048, "enforce_eager": True}


def checks(machine: Machine) -> list[Check]:
    """Of the group, in order."""
    continuous = True if machine.gpu else SMALL_CACHE
    return [
        Check("engine transformers, static batching",
              lambda here: speed(here, lambda folder: local(folder, "auto", False)), "tokens/s"),
        Check("engine transformers, continuous batching",
              lambda here: speed(here, lambda folder: local(folder, "auto", continuous)),
              "tokens/s"),
        Check("engine transformers, answers of continuous = static batching, float32",
              lambda here: alike(here, lambda folder: local(folder, "float32", continuous),
                                 "float32"),
              "of the answers", LEAST_ALIKE, True),
    ]  # fmt: skip


def vllm_checks(machine: Machine) -> list[Check]:
    """Of vLLM, which takes its share of the card until its process ends."""
    return [
        Check("engine vllm", lambda here: vllm_speed(here), "tokens/s"),
        Check("engine vllm, first tokens = transformers', bfloat16",
              lambda here: vllm_alike(here), "of the answers", LEAST_ALIKE, True),
    ]  # fmt: skip


def local(folder: Path, dtype: str, continuous: bool | dict[str, int]) -> Engine:
    """The engine in this process.

    Args:
        continuous: whether transformers' continuous batching is used; or its settings.
    """
    from synth.engines.local.engine import TransformersEngine

    return TransformersEngine(str(folder), dtype, continuous_batching=continuous)


def vllm(folder: Path) -> Engine:
    """vLLM in this process."""
    from synth.engines.vllm import VLLMEngine

    return VLLMEngine(str(folder), "bfloat16", engine_args=VLLM_ARGS)


def vllm_speed(machine: Machine) -> Finding:
    """Tokens a second of vLLM, its start left out."""
    need_gpu(machine.gpu, "the check of vLLM")
    need("vllm")
    return speed(machine, vllm)


def vllm_alike(machine: Machine) -> Finding:
    """vLLM is given the tokens that the other engine reads."""
    need_gpu(machine.gpu, "the check of vLLM")
    need("vllm")
    return alike(machine, vllm, "bfloat16", first=1)


def speed(machine: Machine, opened: Callable[[Path], Engine]) -> Finding:
    """Answers to requests that begin alike, drawn, all there at once."""
    count, tokens = (128, 128) if machine.gpu else (8, 16)
    with folder_of_model(machine) as folder:
        requests = made_requests(count, tokens, temperature=1.0)
        _, seconds, answers = asyncio.run(answered(opened(folder), requests))
    written = sum(answer.usage.completion_tokens or 0 for answer in answers)
    return Finding(written / seconds, f"{count} requests, {written} tokens")


def alike(
    machine: Machine, opened: Callable[[Path], Engine], dtype: str, first: int | None = None
) -> Finding:
    """The share of greedy answers that are those of our static batching.

    Args:
        first: tokens compared; None for all.
    """
    count, tokens = (32, 32) if machine.gpu else (4, 8)
    with folder_of_model(machine) as folder:
        requests = made_requests(count, tokens, temperature=0.0)
        name, _, found = asyncio.run(answered(opened(folder), requests))
        _, _, right = asyncio.run(answered(local(folder, dtype, False), requests))
    same = [
        (one.token_ids or ())[:first] == (other.token_ids or ())[:first]
        for one, other in zip(found, right, strict=True)
    ]
    return Finding(sum(same) / len(same), name)


async def answered(engine: Engine, requests: list[Request]) -> tuple[str, float, list[Answer]]:
    """How the engine batches, seconds from when it is loaded and warm, and the answers.

    Raises:
        RuntimeError: the engine was asked for continuous batching and could not.
    """
    try:
        await engine.generate(requests[0])
        started = time.perf_counter()
        answers = await asyncio.gather(*map(engine.generate, requests))
        seconds = time.perf_counter() - started
        inside: Any = engine
        if getattr(inside, "_wanted", None) and not inside._continuous:
            raise RuntimeError("continuous batching failed its trial on this model")
        return type(getattr(inside, "_batching", inside)).__name__, seconds, list(answers)
    finally:
        await engine.close()


def made_requests(count: int, tokens: int, temperature: float) -> list[Request]:
    """Requests behind one long prompt, no two alike."""
    prompt = "You are a shop assistant. " + " ".join(WORDS * 8)
    how = Sampling(temperature=temperature, max_tokens=tokens)
    return [
        Request(
            (Message("system", prompt),
             Message("user", f"{WORDS[n % 10]} {WORDS[n // 10 % 10]} {n} please")),
            how, seed=n,
        )
        for n in range(count)
    ]  # fmt: skip


@contextmanager
def folder_of_model(machine: Machine) -> Iterator[Path]:
    """A folder with a random model and a tokenizer made in code, gone afterwards."""
    tokenizer = make_tokenizer()
    shape = {**(SHAPE if machine.gpu else TINY), "vocab_size": len(tokenizer)}
    with tempfile.TemporaryDirectory() as name:
        model = base_model(shape)
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        model.bfloat16().save_pretrained(name)
        tokenizer.save_pretrained(name)
        yield Path(name)
