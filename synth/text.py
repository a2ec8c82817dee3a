"""Words of a text, and when two texts are the same. Pure."""

from __future__ import annotations

import bisect
import itertools
import re

# Scripts that are written without spaces: of these a character counts as half a word.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of a text, case folded; of scripts without spaces, the characters."""
    return WORD.findall(text.casefold())


def word_runs(text: str, count: int) -> list[str]:
    """All `count` words in a row; case, punctuation and white space don't count."""
    found = words(text)
    # Where each word ends, in half words.
    ends = [0, *itertools.accumulate(1 if re.match(f"[{UNSPACED}]", word) else 2 for word in found)]
    runs = []
    for start in range(len(found)):
        stop = bisect.bisect_left(ends, ends[start] + 2 * count)
        if stop == len(ends):
            break
        runs.append(" ".join(found[start:stop]))
    return runs


def folded(text: str) -> str:
    """The text with case and runs of white space folded: equal for duplicates."""
    return " ".join(text.casefold().split())
