"""Whether a server's log-probabilities are the model's own, or those of what it draws from.

Asked twice for one token, at temperature 1 and at another with a part cut off, a server that tells
the model's own says the same twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from synth.engines.base import Message, Request, Sampling
from synth.engines.server.body import NEW_LIMIT, BodyFormat
from synth.engines.server.faults import UNKNOWN, server_words
from synth.engines.server.likeliest import NOTHING, RAW_CURE, asking, refused_for_them
from synth.errors import EngineError

if TYPE_CHECKING:
    import openai

TEXT = "Tell me something."
# As many as any server tells.
FEW = 5
# How each of the two requests is drawn; the second makes gaps between tokens twice as wide.
PLAIN, SHARP = (1.0, 1.0), (0.5, 0.5)
# A ratio of the gaps beyond these is no rounding: it would be 2.
NARROWER, WIDER = 0.75, 1.4
# Of gaps that are smaller altogether, in nats, nothing is concluded.
FLAT = 0.05


async def check_raw(
    client: openai.AsyncOpenAI, url: str, form: BodyFormat, limit: str, more: Mapping[str, Any]
) -> None:
    """Check that a server tells the model's own log-probabilities, with two requests of one token.

    A server that takes no temperature can't be asked, and is believed.

    Args:
        client: of the server.
        url: its address, for messages.
        form: what goes with every request.
        limit: the field that bounds an answer.
        more: fields that this server takes beyond.

    Raises:
        EngineError: they are not, or it tells none.
        openai.APIError: the server can't say now.
    """
    import openai

    found = []
    for temperature, top_p in (PLAIN, SHARP):
        how = Sampling(temperature=1.0, max_tokens=1)
        body = form.body(Request((Message("user", TEXT),), how), limit)
        if "temperature" not in body:
            return
        body |= {"temperature": temperature, "top_p": top_p, **asking(FEW)}
        try:
            reply = await _asked(client, body, more)
        except openai.APIStatusError as error:
            if error.status_code not in UNKNOWN or (limit != NEW_LIMIT and NEW_LIMIT in str(error)):
                raise
            if (why := refused_for_them(server_words(error), FEW, url)) is not None:
                raise why from None
            return
        found.append(_first_place(reply))
    plain, sharp = found
    if plain and sharp is not None and _processed(plain, sharp):
        raise EngineError(
            f"{url} tells log-probabilities that change with the temperature: they are not the "
            "model's own.",
            RAW_CURE,
        )


async def _asked(
    client: openai.AsyncOpenAI, body: Mapping[str, Any], more: Mapping[str, Any]
) -> Any:
    """The reply as JSON; without `more` from a server that refuses these fields."""
    import openai

    try:
        return await client.post("/chat/completions", cast_to=object, body={**body, **more})
    except openai.APIStatusError as error:
        if not more or error.status_code not in UNKNOWN:
            raise
    return await client.post("/chat/completions", cast_to=object, body=body)


def _first_place(reply: Any) -> dict[str, float] | None:
    """The likeliest first tokens of a chat completion, as JSON; None where it tells none."""
    try:
        tops = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return {f"{one.get('id')} {one['token']}": float(one["logprob"]) for one in tops}
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return None


def _processed(plain: Mapping[str, float], sharp: Mapping[str, float]) -> bool:
    if any(one <= NOTHING for one in sharp.values()) or len(sharp) < len(plain):
        return True  # what was cut off is nothing
    top = max(plain, key=lambda one: plain[one])
    common = [one for one in plain if one in sharp and one != top]
    if top not in sharp or not common:
        return False  # nothing to compare
    gaps = sum(plain[top] - plain[one] for one in common)
    if gaps < FLAT:
        return False
    ratio = sum(sharp[top] - sharp[one] for one in common) / gaps
    return not NARROWER < ratio < WIDER
