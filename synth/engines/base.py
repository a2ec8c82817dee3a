"""What a stage may ask of a model, and what it gets back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

# Why a row is rejected whose request no answer fits behind.
OVERLONG = "longer than the model's context"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation, as every chat template takes it."""

    role: str
    content: str


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn.

    `temperature` 0 is greedy decoding, and `top_p` is then without effect.
    `max_tokens` bounds the answer, in tokens of the answering model.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024


@dataclass(frozen=True)
class Request:
    """One question to a model: the same request to the same model is asked once.

    `seed` tells requests apart that should be drawn anew, and makes each repeatable. `timeout` is
    how many seconds a server has for it, where that is less than it has for each.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    seed: int = 0
    timeout: float | None = None


@dataclass(frozen=True)
class Answer:
    """A model's answer. `finish` is "length" when `max_tokens` cut it.

    Token counts are the answering model's own; 0 where the engine does not tell.
    """

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Engine(Protocol):
    """A model that answers. Many `generate` calls may be under way at once."""

    @property
    def identity(self) -> dict[str, str]:
        """What tells this model's answers from another's: model, revision, dtype."""

    @property
    def waiting(self) -> str | None:
        """What it waits for, in words for the user; None while it answers."""

    async def generate(self, request: Request) -> Answer:
        """Answer one request.

        Raises:
            synth.errors.RowError: this request can't be answered (too long, refused).
            synth.errors.RequestError: it was not answered this time (a time-out, a server's
                error that stayed): its row is left pending.
            synth.errors.SynthError: no request can be answered (no server, no such model).
        """

    async def close(self) -> None:
        """Let go of connections, threads and memory."""
