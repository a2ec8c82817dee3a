"""What a server is sent beyond what all take: that an answer's tokens are asked for, a history's
thoughts under both their names, the likeliest tokens, and that the model is not to think."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from synth.engines.base import Answer
from synth.engines.server.body import BodyFormat, thinks, with_both_names
from synth.engines.server.context import takes_template_arguments
from synth.engines.server.likeliest import AS_IDS, Likeliest
from synth.engines.server.raw import check_raw, look_at
from synth.engines.server.switch import USUAL_OFF
from synth.engines.server.tokens import KnownTokens
from synth.errors import EngineError

if TYPE_CHECKING:
    import openai

ASKED = "return_token_ids"
# Servers that refuse every field they don't know.
STRICT = (".openai.com", "api-version")


class Extras:
    """By server, whether it tells tokens, and what asks its model not to think.

    Args:
        form: what goes with every request.
        tokenizer: the model's, where it is known: without it tokens are of no use.
        own: whether the addresses are the user's, and not OpenAI's.
    """

    def __init__(self, form: BodyFormat, tokenizer: str, own: bool) -> None:
        self._form = form
        self._model = form.model
        self._tokens = KnownTokens(tokenizer, form.chat_template_kwargs) if tokenizer else None
        self._own = own
        self._tells: dict[str, bool] = {}
        self._off: dict[str, dict[str, Any]] = {}
        self._one_name: set[str] = set()  # servers that refuse thoughts under two names
        self._texts: set[str] = set()  # servers that refuse to write ids for tokens' texts
        # Servers whose log-probabilities are the model's own, and by which look.
        self._raw: set[tuple[str, str]] = set()
        self._checking = asyncio.Lock()
        self._likeliest = Likeliest(self._tokens)

    async def ready(
        self, k: int, url: str, client: openai.AsyncOpenAI, limit: str, body: Mapping[str, Any]
    ) -> None:
        """Before a server is first asked for the `k` likeliest tokens: are they the model's own?

        Args:
            k: how many; nothing is asked for 0.
            url: the server's address.
            client: its client.
            limit: the field that bounds an answer.
            body: the request that asks for them.

        Raises:
            EngineError: they are not, or the tokenizer is not known, or is none.
            openai.APIError: the server can't say now.
        """
        if not k:
            return
        if self._tokens is None:
            raise EngineError(
                f"--logprobs {k}: the tokenizer of {self._model} is not known here, and "
                "log-probabilities are of its tokens.",
                "Name it: --tokenizer, a folder or a name on the hub.",
            )
        await self._tokens.chat()
        look = look_at(body, self._takes_more(url))
        async with self._checking:
            if look is not None and (url, str(look)) not in self._raw:
                more = {AS_IDS: True} if self._as_ids(url) else {}
                await check_raw(client, url, self._form, limit, more, look)
                self._raw.add((url, str(look)))

    def asks_tokens(self, url: str, body: Mapping[str, Any]) -> bool:
        """Whether a server is asked for an answer's tokens: one that has told none is not."""
        if self._tokens is None or not self._takes_more(url):
            return False
        return self._tells.get(url, True) and ASKED not in body

    def sent(self, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request's body with what a server is asked for, and given, beyond what all take."""
        more = {ASKED: True} if self.asks_tokens(url, body) else {}
        if "top_logprobs" in body and self._as_ids(url):
            more[AS_IDS] = True
        return {**(with_both_names(body) if self._two_names(url, body) else body), **more}

    def refused(self, url: str, body: Mapping[str, Any]) -> None:
        """Note a server that refused a body with what is sent beyond, and took it without."""
        if self.asks_tokens(url, body):
            self.note(url, False)
        if self._two_names(url, body):
            self._one_name.add(url)
        if "top_logprobs" in body:
            self._texts.add(url)

    def _as_ids(self, url: str) -> bool:
        """Whether a server is asked for tokens' ids in place of their texts."""
        return self._tokens is not None and self._takes_more(url) and url not in self._texts

    def _two_names(self, url: str, body: Mapping[str, Any]) -> bool:
        return thinks(body) and self._takes_more(url) and url not in self._one_name

    def _takes_more(self, url: str) -> bool:
        """Whether a server may be sent fields that OpenAI's own does not know."""
        return self._own and not any(name in url for name in STRICT)

    def note(self, url: str, tells: bool) -> None:
        """Note whether a server that was asked tells tokens; the first answer decides."""
        self._tells.setdefault(url, tells)

    async def checked(
        self, answer: Answer, reply: Any, body: Mapping[str, Any], url: str, asked: bool, k: int
    ) -> Answer:
        """The answer with its tokens, where they are known to be of the tokenizer, and with the
        `k` likeliest at each; see `KnownTokens.checked` and `Likeliest.checked`, also for what is
        raised."""
        if asked:
            self.note(url, answer.token_ids is not None)
        if self._tokens is None:
            return answer
        if not k:
            return await self._tokens.checked(answer, reply, body, url)
        answer = await self._likeliest.sampled(answer, reply, url)
        answer = await self._tokens.checked(answer, reply, body, url)
        return await self._likeliest.checked(answer, reply, k, url)

    async def thinking_off(self, url: str, client: openai.AsyncOpenAI) -> dict[str, Any]:
        """The chat template's arguments that ask a server's model not to think.

        The template's own where it is known, else the usual ones where the server is known to take
        some; {} where neither is so, and the answers alone tell.

        Raises:
            EngineError: there is no such tokenizer.
            openai.APIError: the server can't say now.
        """
        if self._tokens is not None:
            return (await self._tokens.chat()).thinking_off
        if url not in self._off:
            takes = await takes_template_arguments(client, self._model)
            self._off[url] = USUAL_OFF if takes else {}
        return self._off[url]
