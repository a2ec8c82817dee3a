"""The four settings, and the requests that they are measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from genpi_plugin.data.messages import Message
from genpi_plugin.data.requests import Input, Valued, continued, under

PROMPT_COLD, PROMPT_CACHED = "prompt_cold", "prompt_cached"
ADAPTER_UNMERGED, ADAPTER_MERGED = "adapter_unmerged", "adapter_merged"
SETTINGS = (PROMPT_COLD, PROMPT_CACHED, ADAPTER_UNMERGED, ADAPTER_MERGED)

# The grid: turns of the conversation, and requests at once.
TURNS = (1, 3)
BATCH_SIZES = (1, 4)
REPEATS = 3
# Inputs with nothing in common: their requests share only what every request begins with.
PROBES = ("a", "1")
# Longer answers are measured up to here: each further token costs about the same.
LONGEST_ANSWER = 64


@dataclass(frozen=True)
class Run:
    """One setting at one point of the grid.

    Attributes:
        request_tokens: of one request, as the model receives it.
        cached_tokens: of these, the prefix that is already in the cache.
        answer_tokens: generated for each request.
        ttft_seconds, latency_seconds: to the first token and to the last, one entry per repeat.
            Entries of all settings with the same index were measured one after the other.
    """

    setting: str
    turns: int
    batch_size: int
    request_tokens: int
    cached_tokens: int
    answer_tokens: int
    ttft_seconds: list[float]
    latency_seconds: list[float]


def histories(
    requests: Sequence[Input],
    conversations: Sequence[Sequence[Message]],
    answers: Sequence[str],
    turns: int,
) -> list[Input]:
    """The requests of a conversation's turn number `turns`; each ends before the answer.

    Where no conversation is that long, requests and the teacher's answers to them are joined: the
    cost of a request depends on its length alone.

    Args:
        requests: what is asked, without prompt and tools.
        conversations: what follows each request in the dataset; may be empty.
        answers: the teacher's, one per request.
    """
    long_enough: list[Input] = [
        continued(request, conversation[:before])
        for request, conversation in zip(requests, conversations, strict=False)
        for before in assistant_turns(conversation)[turns - 1 : turns]
    ]
    if long_enough:
        return long_enough
    joined: list[Input] = []
    for start in range(len(requests)):
        messages: list[Message] = []
        for step in range(1, turns):
            before, place = ((start + one) % len(requests) for one in (step - 1, step))
            messages += [{"role": "assistant", "content": answers[before]}, *_own(requests[place])]
        joined.append(continued(requests[start], messages))
    return joined


def probes_like(asked: Input) -> list[Input]:
    """Requests that share only what every request begins with: of a prompt with slots, what stands
    before the first."""
    if not isinstance(asked, Valued):
        return list(PROBES)
    return [
        Valued(
            [{**message, "content": text} for message in asked.kept],
            [{"role": "user", "content": text}],
            dict.fromkeys(asked.values, text),
        )
        for text in PROBES
    ]


def _own(asked: Input) -> list[Message]:
    """The messages of a request, without what is kept where it has values."""
    return asked.messages if isinstance(asked, Valued) else under([], asked)


def assistant_turns(messages: Sequence[Message]) -> list[int]:
    """The places of the assistant's turns."""
    return [place for place, message in enumerate(messages) if message["role"] == "assistant"]


def typical(found: Sequence[Input], length: Callable[[Input], int], count: int) -> list[Input]:
    """The `count` requests nearest to the median length, nearest first; all if there are fewer."""
    by_length = sorted(found, key=length)
    middle = length(by_length[len(by_length) // 2])
    return sorted(by_length, key=lambda messages: abs(length(messages) - middle))[:count]


def answer_length(lengths: Sequence[int]) -> int:
    """Tokens that every setting generates: the teacher's median, at least 2, not over the limit."""
    return max(2, min(sorted(lengths)[len(lengths) // 2], LONGEST_ANSWER))
