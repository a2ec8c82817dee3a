"""What a server is sent beyond what all take: that an answer's tokens are asked for, a history's
thoughts under both their names, and that the model is not to think."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from synth.engines.base import Answer
from synth.engines.server.body import BodyFormat, thinks, with_both_names
from synth.engines.server.context import takes_template_arguments
from synth.engines.server.switch import USUAL_OFF
from synth.engines.server.tokens import KnownTokens

if TYPE_CHECKING:
    import openai

ASKED = "return_token_ids"
# How a server refuses a field that it does not know.
UNKNOWN = (400, 422)
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
        self._model = form.model
        self._tokens = KnownTokens(tokenizer, form.chat_template_kwargs) if tokenizer else None
        self._own = own
        self._tells: dict[str, bool] = {}
        self._off: dict[str, dict[str, Any]] = {}
        self._one_name: set[str] = set()  # servers that refuse thoughts under two names

    def asks_tokens(self, url: str, body: Mapping[str, Any]) -> bool:
        """Whether a server is asked for an answer's tokens: one that has told none is not."""
        if self._tokens is None or not self._takes_more(url):
            return False
        return self._tells.get(url, True) and ASKED not in body

    def sent(self, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request's body with what a server is asked for, and given, beyond what all take."""
        more = {ASKED: True} if self.asks_tokens(url, body) else {}
        return {**(with_both_names(body) if self._two_names(url, body) else body), **more}

    def refused(self, url: str, body: Mapping[str, Any]) -> None:
        """Note a server that refused a body with what is sent beyond, and took it without."""
        if self.asks_tokens(url, body):
            self.note(url, False)
        if self._two_names(url, body):
            self._one_name.add(url)

    def _two_names(self, url: str, body: Mapping[str, Any]) -> bool:
        return thinks(body) and self._takes_more(url) and url not in self._one_name

    def _takes_more(self, url: str) -> bool:
        """Whether a server may be sent fields that OpenAI's own does not know."""
        return self._own and not any(name in url for name in STRICT)

    def note(self, url: str, tells: bool) -> None:
        """Note whether a server that was asked tells tokens; the first answer decides."""
        self._tells.setdefault(url, tells)

    async def checked(
        self, answer: Answer, reply: Any, body: Mapping[str, Any], url: str, asked: bool
    ) -> Answer:
        """The answer with its tokens, where they are known to be of the tokenizer; see
        `KnownTokens.checked`, also for what is raised."""
        if asked:
            self.note(url, answer.token_ids is not None)
        return answer if self._tokens is None else await self._tokens.checked(
            answer, reply, body, url
        )  # fmt: skip

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
