"""Answers drawn from a model's own distribution, in batches: each row's draws are its own.

A row is drawn with random numbers that its seed alone decides, whatever rows stand beside it, so
that neither batches nor processes change what is written, but for rounding.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from genpi_plugin.data.chat import ChatView
from genpi_plugin.reading.agreement import base_of
from genpi_plugin.reading.prefix import PrefixCache
from genpi_plugin.reading.writing import answers

# Rows that are answered in one call.
BATCH = 32


def sampled(
    model: Any,
    requests: Sequence[list[int]],
    seeds: Sequence[str | bytes],
    max_new_tokens: int,
    end_ids: Sequence[int],
    pad_id: int,
    temperature: float = 1.0,
    batch_size: int = BATCH,
    done: Callable[[int, list[int]], Any] = lambda place, ids: None,
) -> list[list[int]]:
    """Draw one answer to each request, from the whole vocabulary, without dropout; none of the
    settings that the model's folder recommends for generation has a part in it.

    Args:
        model: a causal LM, not wrapped for training, its adapter on or off as it is to answer; its
            mode and settings are put back.
        requests: token ids up to where the answer begins.
        seeds: one a request.
        max_new_tokens: an answer is cut there.
        end_ids: tokens that end an answer.
        pad_id: stands where there is no token.
        temperature: 0 takes the likeliest token.
        done: called with a request's place and its answer as soon as that is there.

    Returns:
        token ids of the answers, in the order of the requests: with the token that ended it as the
        last, or `max_new_tokens` others.
    """
    base = base_of(model)
    longest = max(map(len, requests), default=0) + max_new_tokens

    def how(batch: list[int]) -> dict[str, Any]:
        draws = _Draws([seeds[place] for place in batch], max_new_tokens, temperature)
        return {"do_sample": False, "logits_processor": LogitsProcessorList([draws])}

    found: dict[int, list[int]] = {}
    with answering(model):
        prefix = PrefixCache(base, requests, longest=longest, generating=True)
        for made in answers(
            base, prefix, requests, max_new_tokens, end_ids, pad_id, batch_size, how
        ):
            found |= made
            for place, ids in made.items():
                done(place, ids)
    return [found[place] for place in range(len(requests))]


def end_tokens(model: Any, view: ChatView) -> list[int]:
    """Tokens that end an answer: the model's own, the tokenizer's, the template's end of turn."""
    configured = base_of(model).generation_config.eos_token_id
    configured = configured if isinstance(configured, list) else [configured]
    ends = [*configured, view.tokenizer.eos_token_id, view.end_of_turn()]
    return sorted({token for token in ends if token is not None})


def pad_token(tokenizer: Any) -> int:
    """A token to stand where there is none; nothing attends to it."""
    return next(i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if i is not None)


class _Draws(LogitsProcessor):
    """Leaves one token a row: the one that the row's next random number falls on.

    A draw goes through the vocabulary in its own order, not by rank: two tokens that change ranks
    by rounding do not change it.
    """

    def __init__(self, seeds: Sequence[str | bytes], length: int, temperature: float) -> None:
        rows = [random.Random(seed) for seed in seeds]
        self.numbers = torch.tensor(
            [[row.random() for _ in range(length)] for row in rows], dtype=torch.float64
        )
        self.temperature = temperature
        self.step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Args: scores: (rows, vocabulary), logits."""
        if not self.temperature:
            return scores
        summed = (scores.float() / self.temperature).softmax(-1).double().cumsum(-1)
        numbers = self.numbers[:, self.step, None].to(scores.device)
        chosen = torch.searchsorted(summed, numbers * summed[:, -1:], right=True)
        self.step += 1
        # Rounding may put a number behind the last token.
        chosen = chosen.clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen, 0.0)


@contextlib.contextmanager
def answering(model: Any) -> Iterator[None]:
    """No dropout, no gradients, none of the settings of generation that its folder recommends."""
    base, training = base_of(model), model.training
    recommended, base.generation_config = base.generation_config, GenerationConfig()
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        base.generation_config = recommended
        model.train(training)
