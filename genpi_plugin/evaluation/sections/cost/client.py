"""The client of a server that is timed, and what its errors mean."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from genpi_plugin.errors import GenPIError

if TYPE_CHECKING:
    import openai

TIMEOUT = 600.0


def connect(url: str) -> openai.OpenAI:
    """A client without retries: they would be timed."""
    import openai

    key = os.environ.get("OPENAI_API_KEY") or "none"
    return openai.OpenAI(base_url=url, api_key=key, timeout=TIMEOUT, max_retries=0)


def user_error(client: openai.OpenAI, model: str, error: openai.APIError) -> GenPIError:
    """What the client's error means, and what to do about it."""
    import openai

    url = str(client.base_url).rstrip("/")
    if isinstance(error, openai.APITimeoutError):
        return GenPIError(f"{url} did not answer within {TIMEOUT:.0f} seconds.", "check its log.")
    if isinstance(error, openai.APIConnectionError):
        return GenPIError(
            f"there is no server at {url} ({error.__cause__ or error}).",
            "start it, or correct `--server`; it usually ends in /v1.",
        )
    try:
        offered = [found.id for found in client.models.list().data]
    except openai.APIError:
        offered = []
    listed = f"; it lists {', '.join(offered[:20])}" if offered else ""
    return GenPIError(
        f"{url}, asked for the model {model!r}: {_server_message(error)}",
        "`--server-model` and `--server-adapter` are the server's names for the base model "
        f"and the adapter{listed}. Otherwise, check its log.",
    )


def _server_message(error: openai.APIError) -> str:
    """The server's own message, without the client's wrapping."""
    body = error.body
    if isinstance(body, dict):
        for key in ("message", "detail", "error"):
            if body.get(key):
                return str(body[key])
    return error.message
