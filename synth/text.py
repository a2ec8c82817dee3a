"""Words of a text, and how what can't be seen in one is shown. Pure."""

from __future__ import annotations

import bisect
import itertools
import json
import re
from typing import Any

from genpi_plugin.data.text import CONTROL, escape

# Scripts that are written without spaces: of these a character counts as half a word.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
BIDI = "\u202a-\u202e\u2066-\u2069"  # turn the direction of what stands beside them
INVISIBLE = re.compile(rf"[{CONTROL}{BIDI}]|\r(?!\n)")
# What JSON need not escape, and what readers that go by lines, or terminals, stumble over.
UNSAFE_IN_LINES = re.compile(rf"[\x7f-\x9f\u2028\u2029{BIDI}]")


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


def visible(text: str) -> str:
    """The text with its control characters and overrides of direction written as Python does.

    For terminals, logs and reports, which a text could otherwise steer: `\\x1b[2J` clears no
    screen. Line feeds and tabs stay.
    """
    return INVISIBLE.sub(lambda found: escape(found[0]), text)


def json_line(value: Any) -> str:
    """A value as one line of JSON Lines, for readers of any kind.

    Letters are written as they are; what ends a line for some readers, and what can't be seen, is
    escaped.
    """
    text = json.dumps(value, ensure_ascii=False)
    return UNSAFE_IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"
