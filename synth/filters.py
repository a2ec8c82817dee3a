"""What is good enough to keep, and the reason when it is not."""

from __future__ import annotations

import re

from synth.config import Inputs
from synth.engines.base import Answer
from synth.errors import RowError

EMPTY = "empty"
CUT = "cut by the token limit"


def input_fault(answer: Answer, settings: Inputs) -> str | None:
    """Why a generated text is not a well-formed input; None if it is."""
    text = answer.text.strip()
    if not text:
        return EMPTY
    if answer.finish == "length":
        return CUT
    if len(text) < settings.min_chars:
        return f"shorter than {settings.min_chars} characters"
    if len(text) > settings.max_chars:
        return f"longer than {settings.max_chars} characters"
    if settings.pattern is not None and not re.fullmatch(settings.pattern, text):
        return "does not match inputs.pattern"
    return None


def whole_answer(answer: Answer, what: str, limit: str) -> str:
    """The answer's text without white space around it.

    Args:
        answer: the model's answer.
        what: what it is, for the reason ("teacher output").
        limit: the key that bounds it, for the detail ("outputs.max_tokens").

    Raises:
        RowError: it is empty, or the token limit cut it.
    """
    text = some_answer(answer, what)
    if answer.finish == "length":
        raise RowError(f"{what} {CUT}", f"Raise {limit}. It ends in: {text[-80:]!r}")
    return text


def some_answer(answer: Answer, what: str) -> str:
    """The answer's text without white space around it, whether it came to its end or not.

    Raises:
        RowError: it is empty.
    """
    text = answer.text.strip()
    if not text:
        raise RowError(f"{what} {EMPTY}", "The model answered with nothing.")
    return text


def folded(text: str) -> str:
    """The text with case and runs of white space folded: equal for duplicates."""
    return " ".join(text.casefold().split())
