"""What asks a served model not to think where its chat template is not known here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synth.engines.endpoints import pause
from synth.engines.server.clients import open_clients
from synth.engines.server.context import takes_template_arguments
from synth.engines.server.faults import judge
from synth.engines.server.headers import header_values
from synth.errors import SynthError

if TYPE_CHECKING:
    import openai

# What most templates of models that think take; the others pass over it.
USUAL_OFF = {"enable_thinking": False, "thinking": False}
TRIES = 3
TIMEOUT = 60.0


async def usual_off(
    model: str, base_urls: Sequence[str], api_key_env: str, header_env: Mapping[str, str]
) -> dict[str, Any]:
    """The usual arguments where one of a model's servers takes template arguments; {} where none
    does.

    Args:
        model: the name the servers know it by.
        base_urls: of the servers; none: OpenAI's own.
        api_key_env: the environment variable that holds the key.
        header_env: more headers: name -> environment variable.

    Raises:
        SynthError: no server says.
    """
    key = os.environ.get(api_key_env) or ("none" if base_urls else "")
    if not key or not key.isascii():
        return {}  # opening the engine says what is wrong with it
    clients = open_clients(base_urls, key, TIMEOUT, header_values(header_env))
    try:
        for times in range(1, TRIES + 1):
            asked = [_takes(client, url, model, api_key_env) for url, client in clients]
            told = await asyncio.gather(*asked)
            if True in told:
                return dict(USUAL_OFF)
            if False in told:
                return {}
            if times < TRIES:
                await asyncio.sleep(pause(times))
    finally:
        for _, client in clients:
            await client.close()
    raise next(one for one in told if isinstance(one, SynthError))


async def _takes(
    client: openai.AsyncOpenAI, url: str, model: str, api_key_env: str
) -> bool | SynthError:
    import openai

    try:
        return await takes_template_arguments(client, model)
    except openai.APIError as error:
        return judge(error, url, api_key_env, TIMEOUT).error
