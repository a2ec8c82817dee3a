"""What a server tells of tokens, held against the tokenizer that trains: contract 5 on tokens.

Servers that are asked to (vLLM: `return_token_ids`) tell the tokens of an answer, as sampled, and
those of the request, as they read it. The first are kept; the second are compared with what the
chat template makes of the request here, where rows are trained, and thrown away.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from genpi_plugin.data import tokenizers
from genpi_plugin.data.written import Tokens, missing
from synth.engines.base import Answer
from synth.engines.chat import Chat, check_template
from synth.errors import EngineError

# Tokens shown on each side of the first that differs.
BEFORE, BEHIND = 12, 16
# So many answers differ from their tokens, and none agrees, before the tokenizer is another.
DIFFERING = 8
# What stands for a broken character; servers drop it or not.
BROKEN = "\ufffd"
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
        self._tokens: Tokens | None = None
        self._agree: set[str] = set()  # servers whose answers are those of their tokens
        self._differ: Counter[str] = Counter()

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
                of another tokenizer: beyond this one's, or in none of the first answers their text.
            RowError: the request holds a control token.
        """
        chat = await self.chat()
        ours = chat.body_ids(body)
        self._check_request(ours, _prompt_ids(reply), answer.usage.prompt_tokens, url)
        if answer.token_ids is None:
            return answer
        if not self._trainable(answer, url):
            return replace(answer, token_ids=None, logprobs=None)
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

    def _trainable(self, answer: Answer, url: str) -> bool:
        """Whether an answer's tokens can be trained in place of its text: they hold all of it.

        A server takes special tokens out of a text, and halves of characters, and joins thoughts;
        such tokens are this tokenizer's all the same.

        Raises:
            EngineError: see `checked`.
        """
        assert self._tokens is not None
        assert answer.token_ids is not None
        ids = list(answer.token_ids)
        if max(ids) >= self._tokens.count:
            raise self._other_tokenizer(answer.text, f"token {max(ids)}", url)
        whole = self._tokens.decoded(ids)
        told = [answer.text, answer.reasoning or "", *(c.name for c in answer.tool_calls or ())]
        given = [one for one in told if one.strip()]
        if not given:
            return True  # no row is made of it
        broken = whole.count(BROKEN) > sum(one.count(BROKEN) for one in given)
        if answer.finish == "length":
            broken = False  # nor of a cut one, which may end in half a character
        if not broken and not any(missing(one, whole) for one in given):
            self._agree.add(url)
            return True
        bare = [one for one in ids if one not in self._tokens.control]
        readings = (whole, self._tokens.decoded(bare), self._tokens.decoded(self._ordinary(ids)))
        pieces = [answer.text, *(answer.reasoning or "").splitlines(), *told[2:]]
        lost = min((_lost(pieces, reading) for reading in readings), key=len)
        if not lost:
            self._agree.add(url)
        elif url not in self._agree:
            self._differ[url] += 1
            if self._differ[url] >= DIFFERING:
                raise self._other_tokenizer(lost, repr(whole[:80]), url)
        self._say(
            url, "text",
            f"{url} tells tokens of an answer that are not its text's: the answer "
            f"{(lost or answer.text)[:80]!r} would be {whole[:80]!r}. Such answers are tokenized "
            "anew when they are trained.",
        )  # fmt: skip
        return False

    def _ordinary(self, ids: list[int]) -> list[int]:
        """Tokens without the special ones, thoughts' marks among them."""
        assert self._tokens is not None
        special = set(self._tokens.tokenizer.all_special_ids)
        return [one for one in ids if one not in special]

    def _other_tokenizer(self, answer: str, written: str, url: str) -> EngineError:
        return EngineError(
            f"The tokens that {url} tells are none of the tokenizer {self.name}: the answer "
            f"{answer[:80]!r} would be {written}.",
            "Name the tokenizer of the served model with --tokenizer, a folder or a name on the "
            "hub; with --tokenizer '' no tokens are asked for.",
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
        self._tokens = Tokens(tokenizer)
        self._mark = tokenizers.mark(tokenizer)
        self._ends = set(self._chat.end_ids(_configured_ends(folder)))


def _lost(pieces: Sequence[str], written: str) -> str:
    """The first piece of an answer that is not in a text, broken characters aside; "" for none."""
    whole = written.replace(BROKEN, "")
    return next((one for one in pieces if missing(one.replace(BROKEN, ""), whole)), "")


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
