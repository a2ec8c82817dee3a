"""The likeliest tokens that a server tells at each token of an answer: asked for, read, checked.

OpenAI's form is a list of the answer's tokens, each with its log-probability and those of the
likeliest in its place. Which tokens these are, servers say as ids (llama.cpp), as ids in place of
their texts (vLLM: `return_tokens_as_token_ids`), or as texts alone.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from synth.engines.base import Answer
from synth.engines.server.tokens import BROKEN, DIFFERING, KnownTokens
from synth.engines.tops import Tops
from synth.errors import EngineError

# With which a server is asked to write ids in place of tokens' texts, and how these begin.
AS_IDS = "return_tokens_as_token_ids"
ID_BEGINS = "token_id:"
# What stands for minus infinity where JSON has to have a number (vLLM: -9999).
NOTHING = -9000.0
# How far the probabilities of a place may be beyond 1, by rounding.
BEYOND_ONE = 0.005
SERVERS = (
    "vLLM tells them (`vllm serve`, with `return_token_ids` and `return_tokens_as_token_ids`), "
    "llama.cpp's server too, and the engines in this process do (docs/engines.md). Without "
    "--logprobs the dataset is made without them."
)
RAW_CURE = (
    "Log-probabilities have to be those of the model at temperature 1, before anything is cut off. "
    "vLLM: leave --logprobs-mode out (raw_logprobs is its default); SGLang: start it with "
    "SGLANG_RETURN_ORIGINAL_LOGPROB=1; or set outputs.temperature and outputs.top_p to 1, with no "
    "top_k, min_p or penalties (vLLM: --generation-config vllm leaves the model's own out)."
)
log = logging.getLogger("synth")


@dataclass(frozen=True)
class Place:
    """A token of an answer as a server tells it, and the likeliest in its place, in nats."""

    token: int | str
    likeliest: tuple[tuple[int | str, Any], ...]


def asking(k: int) -> dict[str, Any]:
    """The fields of a request that ask for the `k` likeliest tokens; {} for none."""
    return {"logprobs": True, "top_logprobs": k} if k else {}


def places_told(reply: Any) -> list[Place] | None:
    """The tokens of a chat completion's first choice with the likeliest; None where it has none."""
    try:
        content = reply.choices[0].logprobs.content
        return [Place(_token(one), tuple((_token(top), top.logprob) for top in one.top_logprobs))
                for one in content] or None  # fmt: skip
    except (AttributeError, TypeError, IndexError):
        return None


def refused_for_them(words: str, k: int, url: str) -> EngineError | None:
    """The error of a server that refuses a request for its log-probabilities; None where it has
    another reason.

    Args:
        words: the server's.
        k: how many were asked for.
        url: the server.
    """
    if not k or "logprob" not in words.lower():
        return None
    return EngineError(
        f"{url} tells no {k} log-probabilities at a token: {words}",
        f"vLLM tells 20 unless it is started with more (--max-logprobs {k}), OpenAI's own 20, TGI "
        f"5: start it so, or give a smaller --logprobs. {SERVERS}",
    )


class Likeliest:
    """What the servers of an engine tell of likeliest tokens.

    Args:
        tokens: the model's tokenizer, whose tokens they are to be; None where it is not known.
    """

    def __init__(self, tokens: KnownTokens | None) -> None:
        self._known = tokens
        self._tokenizer: Any = None
        self._count = 0  # of its tokens
        self._ids: dict[str, int | None] = {}  # of each token's text; None: of several
        self._told: set[str] = set()  # servers
        self._untold: Counter[str] = Counter()
        self._said: set[tuple[str, str]] = set()

    async def sampled(self, answer: Answer, reply: Any, url: str) -> Answer:
        """The answer with its tokens, where the server tells them in this list alone.

        Raises:
            EngineError: as `checked`.
        """
        places = places_told(reply)
        if answer.token_ids is not None or places is None:
            return answer
        await self._load()
        return replace(answer, token_ids=tuple([self._id(one.token, url) for one in places]))

    async def checked(self, answer: Answer, reply: Any, k: int, url: str) -> Answer:
        """The answer with the `k` likeliest tokens at each of its own; empty ones where the server
        did not tell them of this answer.

        Args:
            answer: its tokens are checked (`KnownTokens.checked`).
            reply: the chat completion that it stands in.
            k: how many were asked for.
            url: the server, for messages.

        Raises:
            EngineError: it tells fewer, of other tokens, or what is no log-probability; or none of
                any of the first `DIFFERING` answers.
        """
        none = replace(answer, tops=Tops(k))
        places = places_told(reply)
        if places is None:
            if answer.token_ids is None and not answer.text.strip() and not answer.tool_calls:
                return none  # no row is made of it
            self._miss(url, "none", "no log-probabilities of an answer")
            return none
        if answer.token_ids is None or answer.tokenizer is None:
            self._miss(
                url, "tokens", "log-probabilities of an answer whose tokens can't be trained"
            )
            return none
        if len(places) != len(answer.token_ids):
            what = f"log-probabilities at {len(places)} tokens of an answer of " \
                f"{len(answer.token_ids)}"  # fmt: skip
            self._miss(url, "places", what)
            return none
        await self._load()
        found = [self._place(place, token, k, url)
                 for place, token in zip(places, answer.token_ids, strict=True)]  # fmt: skip
        self._told.add(url)
        return replace(answer, tops=Tops.of(k, found))

    async def _load(self) -> None:
        if self._tokenizer is None:
            assert self._known is not None
            self._tokenizer = (await self._known.chat()).tokenizer
            self._count = len(self._tokenizer)

    def _place(self, place: Place, token: int, k: int, url: str) -> Mapping[int, float]:
        """The likeliest tokens in the place of a sampled one."""
        told = self._id(place.token, url)
        if told != token:
            raise EngineError(
                f"{url} tells log-probabilities of other tokens than the answer's: {told} in the "
                f"place of {token}.",
                f"They can't be used. {SERVERS}",
            )
        found = {self._id(one, url): nats for one, nats in place.likeliest}
        check_nats(list(found.values()), url)
        if len(found) < k:
            raise EngineError(
                f"{url} tells {len(found)} log-probabilities at a token, and {k} were asked for.",
                f"Give --logprobs {max(len(found), 1)}, or start the server with more (vLLM: "
                f"--max-logprobs {k}).",
            )
        return found

    def _id(self, token: int | str, url: str) -> int:
        """The id of a token, in the tokenizer that is known.

        Raises:
            EngineError: it has no such token, or its text is that of several.
        """
        assert self._known is not None
        if isinstance(token, int):
            if 0 <= token < self._count:
                return token
            raise EngineError(
                f"{url} tells a log-probability of token {token}, and the tokenizer "
                f"{self._known.name} has {self._count:,}.",
                "Name the tokenizer of the served model with --tokenizer. Where the model has more "
                "rows than its tokenizer has tokens, ask for fewer: --logprobs.",
            )
        if not self._ids:
            self._ids = _by_text(self._tokenizer)
        found = self._ids.get(token)
        if found is None:
            why = "several" if token in self._ids else "none"
            raise EngineError(
                f"{url} tells tokens as texts, and {token!r} is the text of {why} of the tokens of "
                f"{self._known.name}: which one it means is not known.",
                f"Use a server that tells token ids. {SERVERS}",
            )
        return found

    def _miss(self, url: str, kind: str, what: str) -> None:
        """Note that a server did not tell an answer's likeliest tokens.

        Args:
            url: the server.
            kind: of what is amiss; the log says each once.
            what: it tells in their place.

        Raises:
            EngineError: it has told none of so many answers.
        """
        self._untold[url] += 1
        if url not in self._told and self._untold[url] >= DIFFERING:
            raise EngineError(f"--logprobs: {url} tells {what}.", SERVERS)
        if (url, kind) not in self._said:
            self._said.add((url, kind))
            log.warning("%s tells %s. Such answers are kept without the likeliest tokens.",
                        url, what)  # fmt: skip


def check_nats(nats: Sequence[Any], url: str) -> None:
    """Check that these can be log-probabilities of one place.

    Raises:
        EngineError: they are not.
    """
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in nats):
        fault = (
            f"what is no number: {next(one for one in nats if not isinstance(one, int | float))!r}"
        )
    elif any(math.isnan(one) for one in nats):
        fault = "a log-probability that is no number (NaN)"
    elif any(one <= NOTHING for one in nats):
        fault = "a probability of nothing for one of the likeliest tokens"
    elif (whole := sum(math.exp(min(one, 1.0)) for one in nats)) > 1 + BEYOND_ONE:
        fault = f"probabilities that are {whole:.2f} together"
    else:
        return
    raise EngineError(f"{url} tells {fault}: these are not the model's own.", RAW_CURE)


def _token(told: Any) -> int | str:
    """A token as it is told: its id, where that stands there.

    Raises:
        AttributeError, TypeError: there is none.
    """
    number = getattr(told, "id", None)
    if isinstance(number, int) and not isinstance(number, bool):
        return number
    text = told.token
    if not isinstance(text, str):
        raise TypeError("a token that is no text")
    digits = text.removeprefix(ID_BEGINS)
    return int(digits) if digits != text and digits.isdecimal() else text


def _by_text(tokenizer: Any) -> dict[str, int | None]:
    """The token of each text that is one's; None where it is several tokens', or half a
    character's."""
    found: dict[str, int | None] = {}
    for number in range(len(tokenizer)):
        text = tokenizer.decode([number], skip_special_tokens=False)
        found[text] = None if text in found or BROKEN in text else number
    return found
