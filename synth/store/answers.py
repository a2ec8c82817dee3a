"""An answer as the store holds it: JSON that old stores and new ones have in common."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from synth.engines.base import Answer, ToolCall, Usage
from synth.engines.tops import Tops

# What is stored where the engine reported it. The first versions knew of none of these.
SINCE = ("reasoning", "tool_calls", "token_ids", "logprobs", "tokenizer")
TOPS = "tops"  # under this key the name of what the store's table of that name holds


def answer_record(answer: Answer) -> dict[str, Any]:
    """`text`, `finish`, `prompt_tokens`, `completion_tokens`, and what else is known; of the
    likeliest tokens the name."""
    known = {name: value for name, value in asdict(replace(answer, tops=None)).items()
             if name in SINCE}  # fmt: skip
    if answer.tops is not None:
        known[TOPS] = answer.tops.digest
    return {
        "text": answer.text,
        "finish": answer.finish,
        **asdict(answer.usage),
        **{name: value for name, value in known.items() if value is not None},
    }


def to_answer(record: dict[str, Any], tops: Tops | None = None) -> Answer:
    """The inverse of `answer_record`, for records of every version.

    Args:
        record: the answer's.
        tops: what it names.
    """
    calls, ids, logprobs = (record.get(name) for name in ("tool_calls", "token_ids", "logprobs"))
    # At first a 0 stood for what was not reported; no request has so few tokens.
    counted = bool(record.get("prompt_tokens"))
    return Answer(
        text=record["text"],
        finish=record["finish"],
        reasoning=record.get("reasoning"),
        tool_calls=None if calls is None else tuple(ToolCall(**call) for call in calls),
        token_ids=None if ids is None else tuple(ids),
        tokenizer=record.get("tokenizer"),
        logprobs=None if logprobs is None else tuple(logprobs),
        usage=Usage(
            record.get("prompt_tokens") or None,
            record.get("completion_tokens") if counted else record.get("completion_tokens") or None,
        ),
        tops=tops,
    )
