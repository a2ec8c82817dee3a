"""Any server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama, hosted."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synth.engines.base import Answer, Request
from synth.engines.cut_prompt import cut_prompt
from synth.engines.endpoints import PATIENCE, Endpoint, Endpoints, pause, sentence
from synth.engines.rate import Rate, estimated_tokens
from synth.engines.server.body import NEW_LIMIT, BodyFormat
from synth.engines.server.clients import CONNECT, explain_not_found, key_in, open_clients
from synth.engines.server.context import model_context
from synth.engines.server.extras import Extras
from synth.engines.server.faults import UNKNOWN, Verdict, judge, server_words, timed_out
from synth.engines.server.headers import header_values
from synth.engines.server.likeliest import asking, refused_for_them
from synth.engines.server.reply import to_answer
from synth.engines.server.scorer import ServerScorer
from synth.errors import EngineError, RequestError, RowError, SynthError
from synth.secrets import redactor

if TYPE_CHECKING:
    import openai

# Seconds beyond the time-out, so that the client's own, which tells more, comes first.
GRACE = 0.2
# So many requests are refused, and none answered, before the fault is taken to be everybody's.
REFUSED = 20
# What `transformers serve MODEL` says, as a 400, to any other model's name.
PINNED = "Server is pinned to"


class OpenAIEngine:
    """A model behind one or several servers, asked with `concurrency` requests at once.

    Work goes to the server with the least under way. What a failure means is in `faults`, which
    server may be asked in `endpoints`; the client's own repetitions are off, for they know of
    one server and one request only.

    Args:
        model: the name the servers know the model by.
        base_url: for example `http://localhost:8000/v1`, or several; None: OpenAI's own.
        api_key_env: the environment variable that holds the key. May be unset with a `base_url`.
        concurrency: how many requests may be under way at once, at all servers together.
        timeout: seconds one request may take, without its repetitions.
        max_retries: how often a request is repeated before it is given up.
        chat_template_kwargs: arguments of the server's chat template, `enable_thinking` for one;
            vLLM, SGLang and llama.cpp take them.
        request_args: more fields of a request, or other values for those it has; null leaves one
            out.
        patience: seconds for which a server that has replied once is waited for.
        requests_per_minute: how many requests each server is sent in a minute at most.
        tokens_per_minute: how many tokens each server reads and writes in a minute at most: as
            estimated before a request is sent, and as used when it is answered.
        header_env: more headers of each request: name -> environment variable with the value.
        tokenizer: the model's, a folder or a name on the hub; with it the tokens that a server
            tells are used, and its requests are checked. "" where it is not known.

    Raises:
        EngineError: no key or header where one is needed, or one that can't be one.
    """

    def __init__(
        self,
        model: str,
        base_url: str | Sequence[str] | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 32,
        timeout: float = 600.0,
        max_retries: int = 6,
        chat_template_kwargs: dict[str, Any] | None = None,
        request_args: dict[str, Any] | None = None,
        patience: float = PATIENCE,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        header_env: Mapping[str, str] | None = None,
        tokenizer: str = "",
    ) -> None:
        self.model = model
        self._form = BodyFormat(model, chat_template_kwargs or {}, request_args or {})
        self._headers = header_values(header_env or {})
        self._extras = Extras(self._form, tokenizer, bool(base_url))
        self._limit = "max_tokens"
        self.base_urls = (base_url,) if isinstance(base_url, str) else tuple(base_url or ())
        self.api_key_env = api_key_env
        self.timeout = timeout
        self.max_retries = max_retries
        redactor.register_variable(api_key_env)
        self.patience = patience
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self._key = key_in(api_key_env, bool(self.base_urls))
        self._refusals = 0
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._endpoints: Endpoints[openai.AsyncOpenAI] | None = None

    @property
    def identity(self) -> dict[str, str]:
        """The model's name and what else goes with each request. Not the URL: the same model may
        move to another port or host."""
        more = {
            "chat_template_kwargs": self._form.chat_template_kwargs,
            "request_args": self._form.request_args,
        }
        encoded = {name: json.dumps(value, sort_keys=True) for name, value in more.items() if value}
        return {"model": self.model, **encoded}

    @property
    def capacity(self) -> int:
        """Requests under way at once, at all servers together."""
        return self._concurrency

    @property
    def waiting(self) -> str | None:
        """The servers that are waited for, since when and for how much longer."""
        return None if self._endpoints is None else self._endpoints.waiting()

    async def generate(self, request: Request) -> Answer:
        """Answer one request; see `Engine.generate` for what is raised."""
        async with self._slots:
            endpoints = self._connect()
            tokens = estimated_tokens(request)
            repeated = 0
            first_refused: float | None = None  # on the clock that stands still in outages
            failed: Endpoint[openai.AsyncOpenAI] | None = None
            while True:
                async with endpoints.least_loaded(failed, tokens) as endpoint:
                    asked = time.monotonic()
                    outcome = await self._ask(endpoint, request)
                    if isinstance(outcome, Answer):
                        endpoints.answered(endpoint, asked)
                        endpoint.rate.correct(asked, tokens, outcome.usage.total or tokens)
                        return outcome
                    if outcome.treatment == "reject":
                        raise self._refused(outcome, endpoints)
                    self._leave_out(endpoints, endpoint, asked, outcome)
                if outcome.treatment == "stop":
                    continue  # at another server
                if outcome.treatment == "wait":
                    # Others are answered, and this one is not: in an outage nobody is.
                    now = time.monotonic() - endpoints.outages()
                    first_refused = now if first_refused is None else first_refused
                    if now - first_refused > self.timeout:
                        raise RequestError(outcome.error.cause, outcome.error.cure)
                    continue
                repeated += 1
                failed = endpoint
                once = outcome.treatment == "repeat once"
                if repeated > (min(self.max_retries, 1) if once else self.max_retries):
                    raise outcome.error
                endpoints.warn(
                    endpoint, f"{sentence(outcome.error.cause)} The request is sent again."
                )
                if repeated < len(endpoints.all):
                    continue  # the others have not been asked
                wait = max(pause(repeated), outcome.seconds or 0.0)
                # Requests that failed together should not come back together.
                await asyncio.sleep(wait * random.uniform(1.0, 1.25))

    async def context(self) -> int | None:
        """What a usable server lists as the model's context."""
        return await model_context(self._usable().place, self.model)

    async def scorer(self) -> ServerScorer | None:
        """A usable server's scores, where it is one that scores given answers."""
        first = self._usable()
        scorer = ServerScorer(first.place, first.name, self._form)
        return scorer if await scorer.scores() else None

    def _usable(self) -> Endpoint[openai.AsyncOpenAI]:
        return next(one for one in self._connect().all if not one.unusable)

    async def close(self) -> None:
        """Close the connections. The engine may be used again; it then connects anew."""
        if self._endpoints is not None:
            for endpoint in self._endpoints.all:
                await endpoint.place.close()
            self._endpoints = None
            self._slots = asyncio.Semaphore(self._concurrency)

    async def _ask(
        self, endpoint: Endpoint[openai.AsyncOpenAI], request: Request, plainly: bool = False
    ) -> Answer | Verdict:
        """One server's answer, or what its failure means; `plainly` sends what all take."""
        import openai
        from openai.types.chat import ChatCompletion

        client, url, limit = endpoint.place, endpoint.name, self._limit
        timeout = min(self.timeout, request.timeout or self.timeout)
        option = "--timeout" if timeout == self.timeout else "--input-timeout"
        body: dict[str, Any] = {}
        try:
            off = {} if request.sampling.thinking else await self._extras.thinking_off(url, client)
            k = request.logprobs
            body = {**self._form.body(request, limit, off), **asking(k)}
            await self._extras.ready(k, url, client, limit, body)
            asks = not plainly and self._extras.asks_tokens(url, body)
            sent = body if plainly else self._extras.sent(url, body)
            # As `chat.completions.create` does, which first walks through every message's types
            # and takes as long for that as for all the rest. The client's own time-out is between
            # two bytes: a server that sends a blank now and then would be waited for for ever.
            async with asyncio.timeout(timeout + GRACE):
                reply = await client.post(
                    "/chat/completions",
                    cast_to=ChatCompletion,
                    body=sent,
                    options={"timeout": openai.Timeout(timeout, connect=CONNECT)},
                )
            answer = to_answer(reply, url, body)
            cut = cut_prompt(request, answer, url)
            if cut is not None:
                return Verdict("stop", cut)
            return await self._extras.checked(answer, reply, body, url, asks, k)
        except TimeoutError:
            return timed_out(url, timeout, option)
        except RowError as error:
            return Verdict("reject", error)
        except RequestError as error:
            return Verdict("repeat", error, away=True)
        except EngineError as error:
            return Verdict("stop", error)
        except (openai.APIError, ValueError) as error:
            if isinstance(error, openai.APIStatusError) and (
                error.status_code in {404, 405} or PINNED in server_words(error)
            ):
                words = server_words(error)
                return Verdict("stop", await explain_not_found(client, url, self.model, words))
            if limit != NEW_LIMIT and NEW_LIMIT in str(error):
                # Models that think take the limit under another name, and say so.
                self._limit = NEW_LIMIT
                return await self._ask(endpoint, request, plainly)
            if isinstance(error, openai.APIStatusError) and error.status_code in UNKNOWN:
                if why := refused_for_them(server_words(error), request.logprobs, url):
                    return Verdict("stop", why)
                if not plainly and self._extras.sent(url, body) != body:
                    outcome = await self._ask(endpoint, request, plainly=True)
                    if isinstance(outcome, Answer):
                        self._extras.refused(url, body)
                    return outcome
            return judge(error, url, self.api_key_env, timeout, option)

    def _connect(self) -> Endpoints[openai.AsyncOpenAI]:
        if self._endpoints is None:
            clients = open_clients(self.base_urls, self._key, self.timeout, self._headers)
            self._endpoints = Endpoints(
                clients,
                self.patience,
                rate=lambda: Rate(self.requests_per_minute, self.tokens_per_minute),
            )
        return self._endpoints

    def _leave_out(
        self,
        endpoints: Endpoints[openai.AsyncOpenAI],
        endpoint: Endpoint[openai.AsyncOpenAI],
        asked: float,
        verdict: Verdict,
    ) -> None:
        """Ask a server nothing that can't answer now, or may be gone; for a while or for good.

        Raises:
            EngineError: no server is there any more.
        """
        why = verdict.error
        assert isinstance(why, EngineError)
        waits = verdict.treatment == "wait"
        if verdict.treatment == "stop":
            endpoints.give_up(endpoint, why)
        elif waits or (verdict.away and len(endpoints.all) > 1):
            replied = not (waits and verdict.away)
            endpoints.leave_out(endpoint, asked, why, verdict.seconds, replied)

    def _refused(self, verdict: Verdict, endpoints: Endpoints[openai.AsyncOpenAI]) -> SynthError:
        """The error of a request that is not taken; of the run, where none is."""
        if verdict.everybody and not endpoints.answers:
            self._refusals += 1
            if self._refusals >= REFUSED:
                error = verdict.error
                words = getattr(error, "detail", "")
                return EngineError(
                    f"All of the first {REFUSED} requests were {error.cause}: {words}",
                    "Correct what the server names: --model, a setting of the task, or a field of "
                    "the request with --request-args, for example '{\"temperature\": null}'.",
                )
        return verdict.error
