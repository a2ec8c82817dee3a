"""The four settings, and the requests that they are measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from genpi_plugin.data.rows import Message

PROMPT_COLD, PROMPT_CACHED = "prompt_cold", "prompt_cached"
ADAPTER_UNMERGED, ADAPTER_MERGED = "adapter_unmerged", "adapter_merged"
SETTINGS = (PROMPT_COLD, PROMPT_CACHED, ADAPTER_UNMERGED, ADAPTER_MERGED)

# The grid: turns of the conversation, and requests at once.
TURNS = (1, 3)
BATCH_SIZES = (1, 4)
REPEATS = 3
# Inputs with nothing in common: their requests share what every request begins with, no more.
PROBES = ("a", "1")
# Longer answers are measured up to here: every further token costs what the last one did.
LONGEST_ANSWER = 64


@dataclass(frozen=True)
class Run:
    """One setting at one point of the grid.

    Attributes:
        request_tokens: of one request, as the model gets it.
        cached_tokens: of these, the prefix that was read before.
        answer_tokens: generated for each request.
        ttft_seconds, latency_seconds: to the first token and to the last, one entry a repeat. At
            the same place stand repeats of all settings that were measured one after the other.
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
    inputs: Sequence[str],
    conversations: Sequence[Sequence[Message]],
    answers: Sequence[str],
    turns: int,
) -> list[list[Message]]:
    """What is sent in a conversation's turn number `turns`: ends with that turn of the user.

    Where no conversation is so long, inputs and the teacher's answers to them are strung together:
    what a request costs is a matter of its length.

    Args:
        conversations: how it goes on after each input, in the dataset; may be empty.
        answers: the teacher's, one an input.
    """
    length = 2 * turns - 1
    whole = [
        [{"role": "user", "content": text}, *conversation]
        for text, conversation in zip(inputs, conversations, strict=False)
    ]
    if long_enough := [messages[:length] for messages in whole if len(messages) >= length]:
        return long_enough
    strung = []
    for start in range(len(inputs)):
        places = [(start + step) % len(inputs) for step in range(turns)]
        messages: list[Message] = []
        for place in places:
            messages += [
                {"role": "user", "content": inputs[place]},
                {"role": "assistant", "content": answers[place]},
            ]
        strung.append(messages[:-1])
    return strung


def typical(
    found: Sequence[list[Message]], length: Callable[[list[Message]], int], count: int
) -> list[list[Message]]:
    """The `count` of them nearest to the median length, the nearest first; fewer if there are."""
    by_length = sorted(found, key=length)
    middle = length(by_length[len(by_length) // 2])
    return sorted(by_length, key=lambda messages: abs(length(messages) - middle))[:count]


def answer_length(lengths: Sequence[int]) -> int:
    """Tokens that every setting generates: the teacher's median, at least 2, not over the limit."""
    return max(2, min(sorted(lengths)[len(lengths) // 2], LONGEST_ANSWER))
