"""The likeliest tokens at each token that a row is given, from the scores it is drawn from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from synth.engines.local.batch import Row
from synth.engines.tops import ID, LOGPROB, Tops


def likeliest(scores: torch.Tensor, k: int) -> list[tuple[bytes, bytes]]:
    """Each row's `k` likeliest next tokens and their log-probabilities, as `Tops` holds them.

    Args:
        scores: (rows, vocabulary), as the model gives them: before temperature and `top_p`.
        k: at most the vocabulary's size.
    """
    scores = scores.float()
    best, ids = scores.topk(k, dim=-1)
    # By rounding a token that is almost sure may come out above 0.
    nats = (best - scores.logsumexp(-1, keepdim=True)).clamp(max=0.0).cpu().numpy().astype(LOGPROB)
    tokens = ids.cpu().numpy().astype(ID)
    return [(one.tobytes(), held.tobytes()) for one, held in zip(tokens, nats, strict=True)]


def note_likeliest(scores: torch.Tensor, rows: Sequence[Row]) -> None:
    """Note in each row whose request asks for them the likeliest next tokens, before one is drawn.

    Args:
        scores: (rows, vocabulary), as the model gives them.
        rows: one for each; those that are over take none.
    """
    asked: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        if row.request.logprobs and not row.over:
            asked.setdefault(row.request.logprobs, []).append(place)
    for k, places in asked.items():
        for place, found in zip(places, likeliest(scores[places], k), strict=True):
            rows[place].tops.append(found)


def tops_of(row: Row, tokens: int) -> Tops | None:
    """The likeliest tokens at each of a row's first `tokens`; None where they are not asked for."""
    if not row.request.logprobs:
        return None
    held = row.tops[:tokens]
    return Tops(
        row.request.logprobs, b"".join(ids for ids, _ in held), b"".join(nats for _, nats in held)
    )
