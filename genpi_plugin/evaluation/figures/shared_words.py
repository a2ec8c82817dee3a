"""Runs of words that two texts share: how much of one appears verbatim in the other. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

# Han, kana and Thai are written without spaces: there a character is a word.
UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


def words(text: str) -> list[str]:
    """Words in lower case; punctuation and white space separate them and do not count."""
    return WORD.findall(text.casefold())


def longest_run(answer: str, prompt: str) -> int:
    """Number of words in the longest run that is in both texts without a gap."""
    run = common_run(words(answer), words(prompt))
    return run.stop - run.start


def common_run(left: Sequence[str], right: Sequence[str]) -> slice:
    """Where in `left` the longest run is that both contain; empty when they share nothing."""
    match = SequenceMatcher(None, left, right, autojunk=False).find_longest_match()
    return slice(match.a, match.a + match.size)
