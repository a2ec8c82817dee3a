"""What a server is asked for beyond what all take: an answer's tokens, and not to think."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from synth.engines.base import Answer
from synth.engines.server.body import BodyFormat
from synth.engines.server.context import takes_template_arguments
from synth.engines.server.tokens import KnownTokens

if TYPE_CHECKING:
    import openai

ASKED = "return_token_ids"
# How a server refuses a field that it does not know.
UNKNOWN = (400, 422)
# What most templates of models that think take; the others pass over it.
USUAL_OFF = {"enable_thinking": False, "thinking": False}
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

    def asks_tokens(self, url: str, body: Mapping[str, Any]) -> bool:
        """Whether a server is asked for an answer's tokens: one that has told none is not."""
        if self._tokens is None or not self._own or any(name in url for name in STRICT):
            return False
        return self._tells.get(url, True) and ASKED not in body

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
        """
        if self._tokens is not None:
            return (await self._tokens.chat()).thinking_off
        if url not in self._off:
            takes = await takes_template_arguments(client, self._model)
            self._off[url] = USUAL_OFF if takes else {}
        return self._off[url]
