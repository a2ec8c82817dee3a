"""A given answer's likelihood, from a server that tells it: vLLM's `prompt_logprobs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synth.engines.base import Message

if TYPE_CHECKING:
    import openai


@dataclass(frozen=True)
class ScoredToken:
    """A token of an answer, and the log of its probability, in nats."""

    id: int
    text: str
    logprob: float


async def score(
    client: openai.AsyncOpenAI, model: str, messages: Sequence[Message], answer: str
) -> list[ScoredToken] | None:
    """The tokens of `answer` behind the request `messages`; None where the server does not score.

    Raises:
        openai.APIError: it does not answer.
    """
    begin = await request_length(client, model, messages)
    turns = [*_turns(messages), {"role": "assistant", "content": answer}]
    reply = await _ask(
        client, model, turns,
        prompt_logprobs=0, add_generation_prompt=False, continue_final_message=True,
    )  # fmt: skip
    entries = reply.get("prompt_logprobs")
    if not entries:
        return None
    tail = [next(iter(entry.items())) for entry in entries[begin:] if entry]
    return [
        ScoredToken(int(number), one.get("decoded_token") or "", float(one["logprob"]))
        for number, one in tail
    ]


async def request_length(
    client: openai.AsyncOpenAI, model: str, messages: Sequence[Message]
) -> int:
    """A request's tokens; 0 where the server does not count them."""
    reply = await _ask(client, model, _turns(messages))
    return int((reply.get("usage") or {}).get("prompt_tokens") or 0)


async def context(client: openai.AsyncOpenAI) -> int | None:
    """How many tokens the server's first model takes; None where it does not tell."""
    import openai

    try:
        reply: Any = await client.get("/models", cast_to=object)
    except openai.APIError:
        return None
    offered = reply.get("data") if isinstance(reply, dict) else None
    return offered[0].get("max_model_len") if offered else None


async def _ask(
    client: openai.AsyncOpenAI, model: str, turns: list[dict[str, str]], **more: Any
) -> dict[str, Any]:
    body = {"model": model, "messages": turns, "max_tokens": 1, "temperature": 0, **more}
    reply: Any = await client.post("/chat/completions", cast_to=object, body=body)
    return reply if isinstance(reply, dict) else {}


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
