"""Sampling in which a row's draws are its own, whatever rows are beside it."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from synth.engines.base import Request, Sampling


def row_random(request: Request) -> random.Random:
    """The random numbers of a request: from its seed and messages, the same in every run."""
    turns = [[message.role, message.content] for message in request.messages]
    told = json.dumps([request.seed, turns])
    return random.Random(hashlib.sha256(told.encode()).digest())


class SeededSampler(LogitsProcessor):
    """Draws each row's next token with one random number of the row's own.

    The drawn token is the only one left possible, so `generate` is used with greedy decoding.
    Rows with temperature 0 pass as they are. The draw goes through the vocabulary in its own
    order, not by rank: two tokens that change ranks by rounding do not change it.

    Args:
        sampling: one entry a row; `max_tokens` is not looked at.
        randoms: one generator a row.
    """

    def __init__(self, sampling: Sequence[Sampling], randoms: Sequence[random.Random]) -> None:
        self.rows = [row for row, how in enumerate(sampling) if how.temperature > 0]
        self.randoms = [randoms[row] for row in self.rows]
        self.temperature = torch.tensor([sampling[row].temperature for row in self.rows])
        self.top_p = torch.tensor([sampling[row].top_p for row in self.rows])

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary), float32, with one finite entry in each sampled row."""
        if not self.rows:
            return scores
        temperature = self.temperature.to(scores.device)[:, None]
        probs = (scores[self.rows] / temperature).softmax(-1)
        ranked, order = probs.sort(dim=-1, descending=True)
        # A token stays when those before it do not reach top_p yet; the first always does.
        out = ranked.cumsum(-1) - ranked >= self.top_p.to(scores.device)[:, None]
        out[:, 0] = False
        probs = probs.masked_fill(out.scatter(-1, order, out), 0.0)
        summed = probs.double().cumsum(-1)
        draws = torch.tensor([own.random() for own in self.randoms], dtype=torch.float64)
        aims = draws.to(scores.device)[:, None] * summed[:, -1:]
        chosen = torch.searchsorted(summed, aims, right=True)
        scores = scores.clone()
        scores[self.rows] = torch.full_like(probs, -torch.inf).scatter(-1, chosen, 0.0)
        return scores
