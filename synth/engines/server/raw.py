"""Whether a server's log-probabilities are the model's own, or those of what it draws from.

Asked twice for one token, plainly and as a run asks, a server that tells the model's own says the
same twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
PLAIN = {"temperature": 1.0, "top_p": 1.0}
SHARP, CUT = 0.5, 0.5
# What cuts tokens off, without any cut; and a temperature at which a cut takes away a lot.
UNCUT = {"top_p": 1.0, "top_k": -1, "min_p": 0.0}
WARM = 2.0
# Fields of a request that change how likely single tokens are, and the values that don't.
PENALTIES: dict[str, Any] = {
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "repetition_penalty": 1,
    "logit_bias": {},
}
# A ratio of the gaps beyond these is no rounding: it would be 2.
NARROWER, WIDER = 0.75, 1.4
# Of gaps that are smaller altogether, in nats, nothing is concluded.
FLAT = 0.05
# By how much the likeliest token may differ, in nats; where a half is cut off it would be 0.7.
SHIFT = 0.2


@dataclass(frozen=True)
class Look:
    """Two requests that a server which tells the model's own answers the same.

    Args:
        plain: fields of the first.
        other: fields of the second; None leaves one out.
        cause: what changes a server's log-probabilities if it does not.
    """

    plain: Mapping[str, Any]
    other: Mapping[str, Any]
    cause: str


def look_at(body: Mapping[str, Any], own: bool) -> Look | None:
    """How a server is asked to find out whether its log-probabilities are the model's own, where
    answers are drawn as a request says; None where both are the same, as far as can be known.

    Args:
        body: the request's.
        own: whether the server is the user's own, which may cut off by itself what no field of the
            request does (vLLM: by the model's `generation_config.json`).
    """
    temperature, top_p = body.get("temperature"), body.get("top_p", 1.0)
    # A server may have a temperature of its own for a request that names none.
    sharp = temperature not in (0, 1) or any(body.get(n, v) != v for n, v in PENALTIES.items())
    cut = isinstance(top_p, int | float) and top_p < 1
    other = {
        "temperature": SHARP if sharp else float(temperature or 0),
        "top_p": CUT if cut else 1.0,
    }
    if other != PLAIN:
        return Look(PLAIN, other, "temperature and top_p")
    if not own and not any(name in body for name in UNCUT if name != "top_p"):
        return None
    warm = {"temperature": WARM}
    named = {name: body.get(name) for name in UNCUT}
    return Look({**warm, **UNCUT}, {**warm, **named}, "top_p, top_k or min_p")


async def check_raw(
    client: openai.AsyncOpenAI,
    url: str,
    form: BodyFormat,
    limit: str,
    more: Mapping[str, Any],
    look: Look,
) -> None:
    """Check that a server tells the model's own log-probabilities, with two requests of one token.

    A server that refuses such a request can't be asked, and is believed.

    Args:
        client: of the server.
        url: its address, for messages.
        form: what goes with every request.
        limit: the field that bounds an answer.
        more: fields that this server takes beyond.
        look: how it is asked.

    Raises:
        EngineError: they are not.
        openai.APIError: the server can't say now.
    """
    import openai

    found = []
    request = Request((Message("user", TEXT),), Sampling(temperature=1.0, max_tokens=1))
    for drawn in (look.plain, look.other):
        fields = {**form.body(request, limit), **drawn, **asking(FEW)}
        body = {name: value for name, value in fields.items() if value is not None}
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
            f"{url} tells log-probabilities that change with {look.cause}: they are not the "
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
    if abs(sharp[top] - plain[top]) > SHIFT:
        return True
    gaps = sum(plain[top] - plain[one] for one in common)
    if gaps < FLAT:
        return False
    ratio = sum(sharp[top] - sharp[one] for one in common) / gaps
    return not NARROWER < ratio < WIDER
