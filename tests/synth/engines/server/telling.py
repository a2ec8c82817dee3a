"""Replies that tell an answer's tokens and the likeliest at each, in the forms of servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.synth.server import Reply


def entry(tokenizer: Any, form: str, token: int, nats: float) -> dict[str, Any]:
    """A token with its log-probability: as "vllm", "llama.cpp", or by its text alone ("text")."""
    if form == "vllm":
        return {"token": f"token_id:{token}", "logprob": nats, "bytes": None}
    named = {"token": tokenizer.decode([token]), "logprob": nats, "bytes": None}
    return {"id": token, **named} if form == "llama.cpp" else named


def told(
    tokenizer: Any, form: str, ids: Sequence[int], places: Sequence[Sequence[tuple[int, float]]]
) -> dict[str, Any]:
    """The `logprobs` of a choice.

    Args:
        tokenizer: whose texts the tokens have.
        form: see `entry`.
        ids: the sampled tokens.
        places: for each of them the likeliest tokens, with their log-probabilities.
    """
    return {
        "content": [
            {
                **entry(tokenizer, form, token, dict(place).get(token, -9.0)),
                "top_logprobs": [entry(tokenizer, form, *one) for one in place],
            }
            for token, place in zip(ids, places, strict=True)
        ]
    }


def whole_reply(tokenizer: Any, text: str, k: int, form: str = "vllm", **choice: Any) -> Reply:
    """A scripted answer with its tokens, each likely and `k - 1` others less."""
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    count = len(tokenizer)
    places = [
        [((token + step) % count, -0.25 if step == 0 else -2.5 - step) for step in range(k)]
        for token in ids
    ]
    logprobs = told(tokenizer, form, ids, places) if k else None
    asked = {"token_ids": ids, "logprobs": logprobs, **choice}
    return Reply(text, choice={name: one for name, one in asked.items() if one is not None},
                 usage={})  # fmt: skip
