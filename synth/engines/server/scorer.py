"""How likely a model behind a server holds a given answer: vLLM's `prompt_logprobs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from synth.engines.base import Divergence, Message, Request, Sampling
from synth.engines.server.body import BodyFormat, with_both_names
from synth.errors import EngineError

if TYPE_CHECKING:
    import openai

PROBE = Request((Message("user", "Hello."),), Sampling())


class ServerScorer:
    """A `Scorer` whose divergences are estimates: how much likelier the prompt makes the answer's
    own tokens.

    Args:
        client: of the server that is asked.
        url: its address, for messages.
        form: what goes with every request.
    """

    exact = False

    def __init__(self, client: openai.AsyncOpenAI, url: str, form: BodyFormat) -> None:
        self._client = client
        self._url = url
        self._form = form

    async def scores(self) -> bool:
        """Whether the server scores given answers at all."""
        try:
            return bool(await self._scored(PROBE, "Hello."))
        except EngineError:
            return False

    async def divergence(
        self, teacher: Request, floor: Request, answer: Message, sampled: Sequence[int] | None
    ) -> Divergence | None:
        """How much likelier the prompt makes the answer, and whether its tokens are the same."""
        text = answer.content
        if answer.tool_calls or answer.reasoning_content:
            return None  # how the server writes them, nobody tells
        with_prompt, without = [await self._scored(view, text) for view in (teacher, floor)]
        if not with_prompt or not without:
            raise EngineError(f"{self._url} does not score a given answer: {text[:80]!r}.")
        same = [token for token, _, _ in with_prompt] == [token for token, _, _ in without]
        text = "".join(text for _, text, _ in with_prompt)
        likelier = sum(found for *_, found in with_prompt) - sum(found for *_, found in without)
        return Divergence(likelier, len(with_prompt), "" if same else repr(text[:80]))

    async def tokens(self, request: Request, answer: str = "") -> int:
        """How many tokens a request takes, with a given answer behind it."""
        reply = await (self._ask(request, answer) if answer else self._ask(request))
        count = (reply.get("usage") or {}).get("prompt_tokens")
        if not isinstance(count, int):
            raise EngineError(f"{self._url} does not count a request's tokens.")
        return count

    async def _scored(self, request: Request, answer: str) -> list[tuple[int, str, float]]:
        """Id, text and log-probability (nats) of each token of an answer; [] where the server
        does not score."""
        begin = await self.tokens(request)
        entries = (await self._ask(request, answer, prompt_logprobs=0)).get("prompt_logprobs")
        try:
            tail = [next(iter(entry.items())) for entry in (entries or [])[begin:] if entry]
            return [
                (int(number), one.get("decoded_token") or "", float(one["logprob"]))
                for number, one in tail
            ]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise EngineError(f"{self._url} scores answers in a form of its own.") from None

    async def _ask(self, request: Request, answer: str = "", **more: Any) -> dict[str, Any]:
        import openai

        one = replace(request, sampling=replace(request.sampling, temperature=0.0, max_tokens=1))
        body = with_both_names(self._form.body(one, "max_tokens"))
        if answer:
            body["messages"] = [*body["messages"], {"role": "assistant", "content": answer}]
            more |= {"add_generation_prompt": False, "continue_final_message": True}
        try:
            reply: Any = await self._client.post(
                "/chat/completions", cast_to=object, body={**body, **more}
            )
        except (openai.APIError, ValueError) as error:
            raise EngineError(f"{self._url} does not score a given answer: {error}") from None
        return reply if isinstance(reply, dict) else {}
