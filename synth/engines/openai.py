"""Any server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama, hosted."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Literal

from synth.engines.base import Answer, Request
from synth.errors import EngineError, RowError

if TYPE_CHECKING:
    import openai

# How servers say that a request does not fit the model: OpenAI and vLLM, SGLang, llama.cpp, TGI.
TOO_LONG = (
    "context_length_exceeded",
    "context length",
    "context size",
    "context window",
    "longer than the model",
    "prompt is too long",
    "inputs must have less than",
)


class OpenAIEngine:
    """A model behind `base_url` (None: OpenAI's own), asked with `concurrency` requests at once.

    The client of the `openai` package repeats what is worth repeating (lost connections, 408,
    409, 429, 5xx, with the server's Retry-After); there is no second loop around it.

    Args:
        model: the name the server knows the model by.
        base_url: for example `http://localhost:8000/v1`.
        api_key_env: the environment variable that holds the key. May be unset with a `base_url`.
        concurrency: how many requests may be under way at once.
        timeout: seconds one request may take, without its repetitions.
        max_retries: how often a request is repeated by the client.

    Raises:
        EngineError: no key where one is needed.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 32,
        timeout: float = 600.0,
        max_retries: int = 5,
    ) -> None:
        self.model = model
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.timeout = timeout
        self.max_retries = max_retries
        self._key = os.environ.get(api_key_env) or ("none" if base_url else "")
        if not self._key:
            raise EngineError(
                f"There is no API key: the environment variable {api_key_env} is not set.",
                f"Set it (export {api_key_env}=...), name another variable with --api-key-env, "
                "or name your own server with --base-url.",
            )
        self._slots = asyncio.Semaphore(concurrency)
        self._client: openai.AsyncOpenAI | None = None

    @property
    def identity(self) -> dict[str, str]:
        """The model's name. Not the URL: the same model may move to another port or host."""
        return {"model": self.model}

    async def generate(self, request: Request) -> Answer:
        """Answer one request; see `Engine.generate` for what is raised."""
        import openai

        async with self._slots:
            try:
                reply = await self._connect().chat.completions.create(**self._arguments(request))
            except openai.APIError as error:
                raise await self._explain(error) from error
        return _to_answer(reply)

    async def close(self) -> None:
        """Close the connections. The engine may be used again; it then connects anew."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _connect(self) -> openai.AsyncOpenAI:
        if self._client is None:
            import openai

            self._client = openai.AsyncOpenAI(
                api_key=self._key,
                base_url=self.base_url,
                timeout=self.timeout,
                max_retries=self.max_retries,
            )
        return self._client

    def _arguments(self, request: Request) -> dict[str, Any]:
        """The request as the client's `create` takes it; `top_p` and `seed` only when sampling."""
        sampling = request.sampling
        arguments: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
        }
        if sampling.temperature > 0:
            arguments |= {"top_p": sampling.top_p, "seed": request.seed % 2**31}
        return arguments

    async def _explain(self, error: openai.APIError) -> EngineError | RowError:
        """What the client's error means for the row or for the run."""
        import openai

        url = str(self._connect().base_url)
        words = _server_words(error)
        if isinstance(error, openai.APITimeoutError):
            return EngineError(
                f"{url} did not answer within {self.timeout:.0f} seconds.",
                "Lower --concurrency or max_tokens, or look at the server's log. "
                "Run the same command again to go on.",
            )
        if isinstance(error, openai.APIConnectionError):
            return EngineError(
                f"There is no server at {url} ({error.__cause__ or error}).",
                "Start it, or correct --base-url; it usually ends in /v1. "
                "Run the same command again to go on.",
            )
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return EngineError(
                f"{url} refused the API key in {self.api_key_env}: {words}",
                f"Put a valid key into {self.api_key_env}, or name another variable "
                "with --api-key-env.",
            )
        if isinstance(error, openai.NotFoundError):
            return await self._explain_not_found(url, words)
        if isinstance(error, openai.RateLimitError):
            return EngineError(
                f"{url} still refuses requests as too many: {words}",
                "Lower --concurrency, or look at your quota. Run the same command again to go on.",
            )
        code = str(getattr(error, "code", None) or "")
        if "content_filter" in code:
            return RowError("refused by the server's content filter", words)
        if any(mark in f"{code} {words}".lower() for mark in TOO_LONG):
            return RowError("longer than the model's context", words)
        return EngineError(
            f"{url} answered with an error: {words}",
            "Look at the server's log. Run the same command again to go on.",
        )

    async def _explain_not_found(self, url: str, words: str) -> EngineError:
        """A 404 is a wrong model or a wrong path; the list of models tells which."""
        import openai

        try:
            offered = [model.id for model in (await self._connect().models.list()).data]
        except openai.APIError:
            return EngineError(
                f"{url} knows no chat completions: {words}",
                "Correct --base-url; it usually ends in /v1.",
            )
        return EngineError(
            f"{url} has no model {self.model!r}: {words}",
            "Name one that it has with --model: " + (", ".join(offered[:20]) or "it lists none."),
        )


def _server_words(error: openai.APIError) -> str:
    """The server's own message, without the client's wrapping."""
    body = error.body
    if isinstance(body, dict):
        for key in ("message", "detail", "error"):
            if body.get(key):
                return str(body[key])
    return error.message


def _to_answer(reply: Any) -> Answer:
    """A chat completion as an `Answer`; an answer without text is an empty one."""
    choices = getattr(reply, "choices", None)
    if not choices:
        raise EngineError(
            "The server's reply is not a chat completion.", "Correct --base-url; see its log."
        )
    choice = choices[0]
    if choice.finish_reason == "content_filter":
        raise RowError("refused by the server's content filter")
    finish: Literal["stop", "length"] = "length" if choice.finish_reason == "length" else "stop"
    usage = reply.usage
    return Answer(
        text=choice.message.content or "",
        finish=finish,
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
    )
