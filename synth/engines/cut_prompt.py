"""Whether a model read the whole request: its count of tokens against the length of the text.

Some servers cut a request that is longer than their context, and say nothing. Ollama does, whose
context is a few thousand tokens unless it is told otherwise.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from synth.engines.base import Answer, Request
from synth.errors import EngineError

# More than this, no tokenizer takes into one token on average: English text has 4 to 5 characters
# a token, 7 where tokens go across words (SuperBPE), code has fewer.
CHARACTERS_A_TOKEN = 12
# Chinese, Japanese and Korean have 1 to 2: each counts as so many.
WIDE = 3
# Requests that can't have more tokens than this are not judged: a word or two says little.
ENOUGH = 100
# Long runs (of blanks, dashes, a repeated letter) may be one token.
RUN = re.compile(r"(\s)\s+|(.)\2{3,}", re.DOTALL)
CURE = (
    "Give the server a longer context, or a prompt that fits: Ollama: `num_ctx` in the model's "
    "Modelfile, or OLLAMA_CONTEXT_LENGTH; llama.cpp: -c; LM Studio: Context Length; TGI: "
    "--max-input-tokens; SGLang: without --allow-auto-truncate; OpenRouter: --request-args "
    "'{\"transforms\": []}'. Then run the same command again."
)


def cut_prompt(request: Request, answer: Answer, who: str) -> EngineError | None:
    """The error for an answer to a part of its request; None where the whole may have been read.

    Args:
        request: what was asked.
        answer: what came back; without a count of the request's tokens nothing can be said.
        who: the model or server, for the message.
    """
    read = answer.usage.prompt_tokens
    if read is None:
        return None
    characters = _characters(request)
    if characters * WIDE <= read * CHARACTERS_A_TOKEN:  # nearly always, and quickly seen
        return None
    least = _least(request)
    if least < ENOUGH or read >= least:
        return None
    return EngineError(
        f"{who} cuts the prompt: it read {read:,} tokens of a request of {characters:,} "
        f"characters, which has at least {least:,}. Nothing is made from an answer to a part.",
        CURE,
    )


def check_context(request: Request, context: int | None, model: str) -> None:
    """Check that a request may fit a model, before it is sent.

    Args:
        request: what is to be asked.
        context: tokens that the model takes; None where this is not known.
        model: its name, for the message.

    Raises:
        EngineError: no tokenizer makes it short enough.
    """
    if context is not None and _least(request) >= context:
        raise EngineError(
            f"{model} takes {context:,} tokens, and a request of {_characters(request):,} "
            f"characters has at least {_least(request):,}.",
            CURE,
        )


def check_growth(request: Request, tokens: int, with_more: int, more: int, model: str) -> None:
    """Check that a request that goes on for longer has more tokens.

    Args:
        request: the shorter one.
        tokens: its tokens, as the model counts them.
        with_more: those of the longer one.
        more: how many the longer one has more, at least.
        model: its name, for the message.

    Raises:
        EngineError: less than half of them came on top.
    """
    if with_more - tokens < more / 2:
        raise EngineError(
            f"{model} cuts the prompt: it read {tokens:,} tokens of a request of "
            f"{_characters(request):,} characters, and {with_more:,} of the same with at least "
            f"{more} tokens more.",
            CURE,
        )


def _characters(request: Request) -> int:
    return sum(len(message.content) for message in request.messages)


def _least(request: Request) -> int:
    return sum(least_tokens(message.content) for message in request.messages)


@lru_cache(maxsize=256)
def least_tokens(text: str) -> int:
    """A number of tokens that no tokenizer comes below."""
    text = RUN.sub(lambda run: run[1] or run[2], text)
    wide = 0 if text.isascii() else sum(map(_is_wide, text))
    return (len(text) + (WIDE - 1) * wide) // CHARACTERS_A_TOKEN


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
