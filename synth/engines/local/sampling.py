"""Sampling in which a row's draws are its own, whatever rows are beside it."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence

import torch

from synth.engines.base import Request, Sampling


def row_random(request: Request) -> random.Random:
    """The random numbers of a request: from its seed and messages, the same in every run."""
    turns = [[message.role, message.content] for message in request.messages]
    encoded = json.dumps([request.seed, turns])
    return random.Random(hashlib.sha256(encoded.encode()).digest())


def next_tokens(
    scores: torch.Tensor, sampling: Sequence[Sampling], randoms: Sequence[random.Random]
) -> torch.Tensor:
    """Each row's next token: the likeliest, or drawn with one random number of the row's own.

    The draw goes through the vocabulary in its own order, not by rank: two tokens that change
    ranks by rounding do not change it.

    Args:
        scores: (rows, vocabulary), float32.
        sampling: one entry a row; `max_tokens` is not looked at.
        randoms: one generator a row.

    Returns:
        (rows,), token ids.
    """
    chosen = scores.argmax(-1)
    drawn = [row for row, how in enumerate(sampling) if how.temperature > 0]
    if not drawn:
        return chosen

    def column(values: list[float], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=scores.device)[:, None]

    temperature = column([sampling[row].temperature for row in drawn])
    top_p = column([sampling[row].top_p for row in drawn])
    probs = (scores[drawn] / temperature).softmax(-1)
    ranked, order = probs.sort(dim=-1, descending=True)
    # A token stays when those before it do not reach top_p yet; the first always does.
    out = ranked.cumsum(-1) - ranked >= top_p
    out[:, 0] = False
    probs = probs.masked_fill(out.scatter(-1, order, out), 0.0)
    summed = probs.double().cumsum(-1)
    draws = column([randoms[row].random() for row in drawn], torch.float64)
    chosen[drawn] = torch.searchsorted(summed, draws * summed[:, -1:], right=True)[:, 0]
    return chosen
