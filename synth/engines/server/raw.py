"""Whether a server's log-probabilities are the model's own, or those of what it draws from.

Asked twice for one token, at temperature 1 and as a run asks, a server that tells the model's own
says the same twice.
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
# Temperature and `top_p` that leave the model's own as they are, and in place of others those that
# make more of a difference: gaps between tokens that are twice as wide, half of them cut off.
PLAIN = (1.0, 1.0)
SHARP, CUT = 0.5, 0.5
# A ratio of the gaps beyond these is no rounding: it would be 2.
NARROWER, WIDER = 0.75, 1.4
# Of gaps that are smaller altogether, in nats, nothing is concluded.
FLAT = 0.05
# By how much the likeliest token may differ, in nats; where a half is cut off it would be 0.7.
SHIFT = 0.2


def drawn_otherwise(body: Mapping[str, Any]) -> tuple[float, float] | None:
    """How a server is asked to find out whether its log-probabilities are the model's own, where
    answers are drawn as a request says; None where both are the same, or nobody can say.

    Args:
        body: the request's.
    """
    temperature, top_p = body.get("temperature"), body.get("top_p", 1.0)
    if not isinstance(temperature, int | float) or not isinstance(top_p, int | float):
        return None
    changed = temperature not in (0, 1)
    other = (SHARP if changed else float(temperature), CUT if top_p < 1 else 1.0)
    return None if other == PLAIN else other


async def check_raw(
    client: openai.AsyncOpenAI,
    url: str,
    form: BodyFormat,
    limit: str,
    more: Mapping[str, Any],
    other: tuple[float, float],
) -> None:
    """Check that a server tells the model's own log-probabilities, with two requests of one token.

    A server that refuses such a request can't be asked, and is believed.

    Args:
        client: of the server.
        url: its address, for messages.
        form: what goes with every request.
        limit: the field that bounds an answer.
        more: fields that this server takes beyond.
        other: temperature and `top_p` at which they are to be the same as at 1 and 1.

    Raises:
        EngineError: they are not, or it tells none.
        openai.APIError: the server can't say now.
    """
    import openai

    found = []
    request = Request((Message("user", TEXT),), Sampling(temperature=1.0, max_tokens=1))
    for temperature, top_p in (PLAIN, other):
        drawn = {"temperature": temperature, "top_p": top_p}
        body = {**form.body(request, limit), **drawn, **asking(FEW)}
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
            f"{url} tells log-probabilities that change with temperature and top_p: they are not "
            "the model's own.",
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
    if abs(sharp[top] - plain[top]) > SHIFT:
        return True
    gaps = sum(plain[top] - plain[one] for one in common)
    if gaps < FLAT:
        return False
    ratio = sum(sharp[top] - sharp[one] for one in common) / gaps
    return not NARROWER < ratio < WIDER
