"""Clients of OpenAI-compatible servers, from their addresses."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from synth.engines.server.urls import is_azure, split_query, without_login
from synth.errors import EngineError

if TYPE_CHECKING:
    import openai

# Seconds in which a server that is there takes a connection.
CONNECT = 10.0


def key_in(variable: str, own: bool) -> str:
    """The API key in an environment variable.

    Args:
        variable: its name.
        own: whether the servers are the user's, and may take requests without a key.

    Raises:
        EngineError: there is none where one is needed, or one that can't be one.
    """
    key = os.environ.get(variable) or ("none" if own else "")
    if not key:
        raise EngineError(
            f"There is no API key: the environment variable {variable} is not set.",
            f"Set it (export {variable}=...), name another variable with --api-key-env, "
            "or name your own server with --base-url.",
        )
    if not (key.isascii() and key.isprintable()):
        raise EngineError(
            f"The API key in {variable} holds characters that no key has.",
            f"Set it again (export {variable}=...), without a line break.",
        )
    return key


def open_clients(
    base_urls: Sequence[str], key: str, timeout: float, headers: Mapping[str, str]
) -> list[tuple[str, openai.AsyncOpenAI]]:
    """Each server's address, as it may be shown, and its client.

    Args:
        base_urls: of the servers; none: OpenAI's own, or that of OPENAI_BASE_URL. A query goes
            with each request.
        key: for all of them.
        timeout: seconds a request may take.
        headers: more headers of each request.
    """
    if not base_urls:
        client = _client(None, key, timeout, headers)
        return [(_shown(str(client.base_url)), client)]
    return [(_shown(url), _client(url, key, timeout, headers)) for url in base_urls]


def _shown(url: str) -> str:
    return without_login(url).rstrip("/")


def _client(
    url: str | None, key: str, timeout: float, headers: Mapping[str, str]
) -> openai.AsyncOpenAI:
    import openai

    base_url, query = split_query(url) if url else (None, {})
    return openai.AsyncOpenAI(
        api_key=key,
        base_url=base_url,
        timeout=openai.Timeout(timeout, connect=CONNECT),
        max_retries=0,
        default_query=query,
        default_headers={**({"api-key": key} if is_azure(query) else {}), **headers},
    )


async def explain_not_found(
    client: openai.AsyncOpenAI, url: str, model: str, words: str
) -> EngineError:
    """A 404 is a wrong model or a wrong path; the list of models tells which."""
    import openai

    try:
        offered = [each.id for each in (await client.models.list()).data]
    except (openai.APIError, ValueError):
        example = "It usually ends in /v1."
        if "api-version" in url.lower():
            example = (
                "Azure's is https://NAME.openai.azure.com/openai/deployments/DEPLOYMENT"
                "?api-version=VERSION."
            )
        return EngineError(
            f"{url} knows no chat completions: {words}", f"Correct --base-url. {example}"
        )
    return EngineError(
        f"{url} has no model {model!r}: {words}",
        "Name one that it has with --model: " + (", ".join(offered[:20]) or "it lists none."),
    )
