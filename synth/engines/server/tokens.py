"""What a server tells of tokens, held against the tokenizer that trains: contract 5 on tokens.

Servers that are asked to (vLLM: `return_token_ids`) tell the tokens of an answer, as sampled, and
those of the request, as they read it. The first are kept; the second are compared with what the
chat template makes of the request here, where rows are trained, and thrown away.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from genpi_plugin.data import tokenizers
from genpi_plugin.data.written import missing
from synth.engines.base import Answer
from synth.engines.chat import Chat, check_template
from synth.errors import EngineError

# Tokens shown on each side of the first that differs.
BEFORE, BEHIND = 12, 16
SAME = (
    "Give the server and --tokenizer one model with one chat template (vLLM: --chat-template), and "
    "one set of arguments (--chat-template-kwargs). A date that the template writes can be fixed "
    'there ({"date_string": ...}); a default system message makes room for one of the prompt\'s '
    "own; a request that was cut needs a longer context (vLLM: --max-model-len)."
)
log = logging.getLogger("synth")


class KnownTokens:
    """A served model's tokenizer, on this machine.

    Args:
        name: its folder or name on the hub.
        template_kwargs: that go with every request.
    """

    def __init__(self, name: str, template_kwargs: Mapping[str, Any]) -> None:
        self.name = name
        self._kwargs = template_kwargs
        self._chat: Chat | None = None
        self._mark = ""
        self._ends: set[int] = set()
        self._loading = asyncio.Lock()
        self._said: set[tuple[str, str]] = set()

    async def chat(self) -> Chat:
        """The chat template; loaded at the first call.

        Raises:
            EngineError: there is no such tokenizer, or it has no chat template.
        """
        async with self._loading:
            if self._chat is None:
                await asyncio.to_thread(self._load)
        assert self._chat is not None
        return self._chat

    async def checked(
        self, answer: Answer, reply: Any, body: Mapping[str, Any], url: str
    ) -> Answer:
        """The answer, its tokens marked with their tokenizer; without those that are of no use.

        Args:
            answer: as the server gave it.
            reply: the chat completion that it stands in.
            body: the request.
            url: the server, for messages.

        Raises:
            EngineError: the server read other tokens than the request has here, or its tokens are
                of another tokenizer.
            RowError: the request holds a control token.
        """
        chat = await self.chat()
        ours = chat.body_ids(body)
        self._check_request(ours, _prompt_ids(reply), answer.usage.prompt_tokens, url)
        if answer.token_ids is None:
            return answer
        self._check_answer(answer, url)
        if answer.finish == "stop" and answer.token_ids[-1] not in self._ends:
            self._say(
                url, "end",
                f"{url} leaves the end token out of an answer's tokens: such answers are tokenized "
                "anew when they are trained.",
            )  # fmt: skip
            return replace(answer, token_ids=None, logprobs=None)
        return replace(answer, tokenizer=self._mark)

    def _check_request(
        self, ours: list[int], theirs: list[int] | None, count: int | None, url: str
    ) -> None:
        if theirs is not None and theirs != ours:
            place = next(
                (
                    at
                    for at, pair in enumerate(zip(ours, theirs, strict=False))
                    if pair[0] != pair[1]
                ),
                min(len(ours), len(theirs)),
            )
            raise EngineError(
                f"{url} reads a request otherwise than it will be trained: {len(theirs):,} tokens, "
                f"where the chat template of {self.name} makes {len(ours):,}. Token {place} is "
                f"{self._around(theirs, place)} there and {self._around(ours, place)} here.",
                SAME,
            )
        if theirs is None and count is not None and count != len(ours):
            self._say(
                url, "count",
                f"{url} counts {count:,} tokens of a request, and the chat template of {self.name} "
                f"makes {len(ours):,}: either it counts otherwise, or it reads another request "
                f"than will be trained. {SAME}",
            )  # fmt: skip

    def _check_answer(self, answer: Answer, url: str) -> None:
        assert self._chat is not None
        assert answer.token_ids is not None
        tokenizer = self._chat.tokenizer
        known = max(answer.token_ids) < len(tokenizer)
        text = tokenizer.decode(list(answer.token_ids)) if known else ""
        given = [answer.text, answer.reasoning or "", *(c.name for c in answer.tool_calls or ())]
        lost = next((one for one in given if one.strip() and missing(one, text)), "")
        if known and not lost:
            return
        raise EngineError(
            f"The tokens that {url} tells are none of the tokenizer {self.name}: the answer "
            f"{(lost or answer.text)[:80]!r} would be {text[:80]!r}.",
            "Name the tokenizer of the served model with --tokenizer, a folder or a name on the "
            "hub.",
        )

    def _around(self, ids: list[int], place: int) -> str:
        """The token at a place, and the text around it."""
        assert self._chat is not None
        decode = self._chat.tokenizer.decode
        if place >= len(ids):
            return f"none (behind {decode(ids[-BEFORE:])!r})"
        around = decode(ids[max(0, place - BEFORE) : place + BEHIND])
        return f"{decode(ids[place : place + 1])!r} (in {around!r})"

    def _say(self, url: str, what: str, words: str) -> None:
        if (url, what) not in self._said:
            self._said.add((url, what))
            log.warning(words)

    def _load(self) -> None:
        from transformers import AutoTokenizer

        folder = Path(self.name).expanduser()
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder) if folder.is_dir() else self.name)
        except (ImportError, OSError, ValueError, RuntimeError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise EngineError(
                f"The tokenizer {self.name} can't be loaded: {why}",
                "Name the served model's with --tokenizer: a folder, or a name on the hub.",
            ) from error
        check_template(tokenizer, self.name)
        self._chat = Chat(tokenizer, self._kwargs, self.name)
        self._mark = tokenizers.mark(tokenizer)
        self._ends = set(self._chat.end_ids(_configured_ends(folder)))


def _configured_ends(folder: Path) -> list[int] | int | None:
    """The end tokens that a model's folder names for generation."""
    try:
        config = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        found = config.get("eos_token_id")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, int | list) else None


def _prompt_ids(reply: Any) -> list[int] | None:
    """The request's tokens as the server read them, where it tells them."""
    found = getattr(reply, "prompt_token_ids", None)
    if found is None and getattr(reply, "choices", None):
        found = getattr(reply.choices[0], "prompt_token_ids", None)
    whole = isinstance(found, list) and found and all(type(one) is int for one in found)
    return found if whole else None
