"""A vLLM server: adapters loaded into it and taken out, requests answered as token ids.

What is asked of it are vLLM's own additions to the OpenAI API: `/v1/load_lora_adapter`,
`/v1/unload_lora_adapter`, and in `/v1/completions` `return_token_ids` and `stop_token_ids`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from genpi_plugin.errors import ConfigError, GenPIError
from genpi_plugin.on_policy.refusals import not_told, refused, refused_adapter

KEY = "OPENAI_API_KEY"
# Seconds for a request, and in which a server that is there takes a connection.
TIMEOUT, CONNECT = 600.0, 10.0


@dataclass(frozen=True)
class Answer:
    """Token ids of an answer, its end included, and where they were asked for, their
    log-probabilities."""

    ids: list[int]
    logprobs: list[float]


def base_url(address: str) -> str:
    """The address of a server's API, with or without its /v1.

    Raises:
        ConfigError: no address, or one that holds a login or a query, which is not repeated.
    """
    parts = urlsplit(address)
    if parts.username or parts.password or parts.query:
        raise ConfigError(
            "the address in `genpi.on_policy.server` holds a login or a query, and settings are "
            "written to disk.",
            f"leave it out; a key is taken from the environment variable {KEY}.",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"`genpi.on_policy.server: {address}` is not a server's address.",
            "write it as in http://localhost:8000.",
        )
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}/v1"


class Server:
    """A vLLM server with a base model and room for adapters."""

    def __init__(self, address: str) -> None:
        """
        Args:
            address: as `genpi.on_policy.server` has it.

        Raises:
            ConfigError: not an address, or a key with characters that no key has.
        """
        import openai

        self.url = base_url(address)
        key = os.environ.get(KEY) or "none"
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(
                f"the API key in {KEY} holds characters that no key has.",
                f"set it again (export {KEY}=...), without a line break.",
            )
        timeout = openai.Timeout(TIMEOUT, connect=CONNECT)
        self._client = openai.OpenAI(base_url=self.url, api_key=key, timeout=timeout)

    def context(self) -> int | None:
        """Tokens of a request and its answer at most; None where the server does not say.

        Raises:
            GenPIError: there is no server that lists models.
        """
        import openai

        try:
            listed = [card.model_extra or {} for card in self._client.models.list().data]
        except (openai.APIError, ValueError) as error:
            raise refused(self.url, KEY, "to list its models", error) from error
        lengths = [card["max_model_len"] for card in listed if card.get("max_model_len")]
        return min(lengths, default=None)

    def load(self, name: str, folder: Path) -> None:
        """Load the adapter in a folder, which the server must see under the same path.

        Raises:
            GenPIError: it can't, with what to do.
        """
        import openai

        body = {"lora_name": name, "lora_path": str(folder)}
        # A refusal comes as a server's error, and is the same the second time.
        once = self._client.with_options(max_retries=0)
        try:
            once.post("/load_lora_adapter", cast_to=str, body=body)
        except (openai.APIError, ValueError) as error:
            raise refused_adapter(self.url, KEY, folder, error) from error

    def unload(self, name: str) -> None:
        """Take an adapter out. One that can't be taken out does no harm: its name never returns."""
        import openai

        once = self._client.with_options(max_retries=0)
        with contextlib.suppress(openai.APIError):
            once.post("/unload_lora_adapter", cast_to=str, body={"lora_name": name})

    def answer(
        self,
        name: str,
        request: Sequence[int],
        ends: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        seed: int,
        told: bool = False,
    ) -> Answer:
        """One answer, drawn from the whole vocabulary. None of the settings that the model's folder
        recommends for generation has a part in it.

        Args:
            name: of the adapter.
            ends: tokens that end an answer, and no others.
            seed: of its random numbers, from 0 to 2**63 - 1.
            told: whether log-probabilities are wanted.

        Raises:
            GenPIError: no answer, one without token ids, one to other tokens, or one that does not
                end where it should.
        """
        import openai

        try:
            reply = self._client.completions.create(
                model=name,
                prompt=list(request),
                max_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed,
                top_p=1.0,
                frequency_penalty=0.0,
                presence_penalty=0.0,
                logprobs=0 if told else None,
                extra_body={
                    "top_k": -1,
                    "min_p": 0.0,
                    "repetition_penalty": 1.0,
                    "stop_token_ids": list(ends),
                    "ignore_eos": True,  # but for those above
                    "return_token_ids": True,
                },
            )
        except (openai.APIError, ValueError) as error:
            raise refused(self.url, KEY, "to answer a request", error) from error
        choice = reply.choices[0] if reply.choices else None
        extra = (choice and choice.model_extra) or {}
        ids = extra.get("token_ids")
        read = extra.get("prompt_token_ids")
        logprobs: Any = choice and choice.logprobs and choice.logprobs.token_logprobs
        if not ids or read is None or (told and len(logprobs or ()) != len(ids)):
            raise not_told(self.url)
        if list(read) != list(request):
            raise GenPIError(
                f"{self.url} was sent a request of {len(request)} tokens and read {len(read)} "
                "tokens that are not the same.",
                "start it without anything that changes or cuts requests.",
            )
        _check_end(self.url, ids, ends, max_new_tokens)
        return Answer(list(ids), [float(one) for one in logprobs or ()])


def _check_end(url: str, ids: Sequence[int], ends: Sequence[int], limit: int) -> None:
    """An answer has `limit` tokens, or fewer of which the last, and no other, ends it."""
    if any(token in ends for token in ids[:-1]):
        what = f"goes on behind token {next(one for one in ids if one in ends)}, which ends it"
    elif len(ids) > limit:
        what = f"is longer than `max_new_tokens: {limit}`"
    elif len(ids) < limit and ids[-1] not in ends:
        what = (
            f"stops before `max_new_tokens: {limit}` with token {ids[-1]}, which is none of those "
            f"that end an answer ({', '.join(map(str, ends))})"
        )
    else:
        return
    raise GenPIError(
        f"{url} gave an answer of {len(ids)} tokens that {what}.",
        "start vLLM with a `--max-model-len` that has room for requests and answers, and with "
        "`--generation-config vllm`, so that it adds no rules of its own.",
    )
