"""What a stage may ask of a model, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from synth.engines.tops import Tops

# Why a row is rejected whose request no answer fits behind.
OVERLONG = "longer than the model's context"


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool; `arguments` is a JSON string, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Message:
    """One message of a conversation: OpenAI's fields, those that it has not are empty.

    `reasoning_content` are an assistant's thoughts before `content`, `tool_calls` what it calls
    behind it. A message of the role `tool` names the call that it answers in `tool_call_id`.
    """

    role: str
    content: str
    reasoning_content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn.

    `temperature` 0 is greedy decoding, and `top_p` is then without effect.
    `max_tokens` bounds the answer, in tokens of the answering model. `request_args` are fields of
    a server's request and `chat_template_kwargs` arguments of the chat template; key by key they
    go over those that the engine was opened with. With `thinking` off the engine asks the model
    not to think, as far as it knows how; whether it does is for who asks to see.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    # Equal values hash alike without them, so a `Request` is still a key.
    request_args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    thinking: bool = True


@dataclass(frozen=True)
class Request:
    """One question to a model: the same request to the same model is asked once.

    `seed` tells requests apart that should be drawn anew, and makes each repeatable. `timeout` is
    how many seconds a server has for it, where that is less than it has for each. `tools` is the
    JSON text of a list of schemas in OpenAI's form, "" where there are none. `logprobs` is how many
    of the likeliest tokens are to be told at each token of the answer, with their
    log-probabilities: which answer is given does not depend on it.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    seed: int = 0
    timeout: float | None = None
    tools: str = ""
    logprobs: int = 0


@dataclass(frozen=True)
class Usage:
    """Tokens read and written, as the answering model counts them; None where it is not told.

    `prompt_tokens` are those of the whole request, also where a cache held some of them.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def total(self) -> int:
        """Tokens read and written, as far as they are known."""
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)


@dataclass(frozen=True)
class Answer:
    """A model's answer. What the engine does not tell is None.

    Args:
        text: what is said to the user, without reasoning and tool calls that the engine has set
            apart.
        finish: "length" when `max_tokens` cut it.
        reasoning: the thoughts before the text; "" where there were some and nobody tells what.
        tool_calls: the tools that are called, in order.
        token_ids: the answer's tokens as sampled, the end token included where one was.
        tokenizer: the mark (`genpi_plugin.data.tokenizers`) of the tokenizer that these are of.
        logprobs: the log-probability of each of these tokens, in nats.
        usage: tokens read and written.
        written: the whole text, where thoughts that stood in it were taken out of `text`.
        behind: what of `text` stood behind its first call, where calls were taken out of it.
        tops: the likeliest tokens at each of `token_ids`, where a request asked for them.
    """

    text: str
    finish: Literal["stop", "length"]
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    tokenizer: str | None = None
    logprobs: tuple[float, ...] | None = None
    usage: Usage = Usage()
    written: str | None = None
    behind: str = ""
    tops: Tops | None = None


@dataclass(frozen=True)
class Divergence:
    """What a prompt does to one given answer.

    Args:
        nats: KL(teacher‖floor) or its estimate (`Scorer.exact`), summed over the answer's tokens.
        tokens: how many these are.
        other_tokens: the answer's beginning where the chat template gives it other tokens with
            the prompt than without; "" where they are the same.
    """

    nats: float
    tokens: int
    other_tokens: str


class Scorer(Protocol):
    """Says how likely a model holds an answer that is given to it."""

    @property
    def exact(self) -> bool:
        """Whether divergences are over the whole vocabulary, or an estimate from the answer's own
        tokens: how much likelier the prompt makes them."""

    async def divergence(
        self, teacher: Request, floor: Request, answer: Message, sampled: Sequence[int] | None
    ) -> Divergence | None:
        """Compare what the model holds likely with a prompt and without.

        Args:
            teacher: a request with the prompt.
            floor: the same request without it.
            answer: what was answered to `teacher`; not empty.
            sampled: the answer's tokens, where they are known.

        Returns:
            None where answers with calls or thoughts are not scored, and this is one.

        Raises:
            synth.errors.SynthError: the model does not score this.
        """

    async def tokens(self, request: Request, answer: str = "") -> int:
        """How many tokens a request takes, with a given answer behind it.

        Raises:
            synth.errors.SynthError: the model does not count them.
        """


class Engine(Protocol):
    """A model that answers. Many `generate` calls may be under way at once."""

    @property
    def identity(self) -> dict[str, str]:
        """What tells this model's answers from another's: model, revision, dtype."""

    @property
    def capacity(self) -> int:
        """How many requests it can work on at once, all its servers and workers together."""

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

    async def context(self) -> int | None:
        """How many tokens the model takes, request and answer together; None where this is not
        told.

        Raises:
            synth.errors.SynthError: there is no such model.
        """

    async def scorer(self) -> Scorer | None:
        """What scores given answers; None where the model is not asked for that.

        Raises:
            synth.errors.SynthError: there is no such model.
        """

    async def close(self) -> None:
        """Let go of connections, threads and memory."""
