"""A prompt cut into pieces where a reader would cut it. Pure.

Worked example, words for tokens and a size of 6: "Be brief. Answer in verse.\\nNever in prose."
has eight words, so two pieces of about four. Of the ends near the fourth word the line's ranks
highest, and the pieces are "Be brief. Answer in verse.\\n" and "Never in prose.".
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

# A piece has so many times its fair share of the tokens, at least and at most.
LEAST, MOST = 0.75, 1.25
# Where a text may end, by preference.
PARAGRAPH, LINE, SENTENCE, WORD, CHARACTER = range(5)
SENTENCE_ENDS = ".!?。！？"
ENDS = re.compile(rf"\s+|(?<=[{SENTENCE_ENDS[3:]}])(?=\S)")
# A token has rarely more characters: further on there is nothing to be looked for.
TOKEN_CHARACTERS = 16


def cut(text: str, size: int, count: Callable[[str], int]) -> tuple[str, ...]:
    """Cut a text into pieces of at most `size` tokens and about equal length; joined they are it.

    They end with a paragraph where one ends near, else with a line, a sentence or a word; inside a
    word only where that has more than `size` tokens.

    Args:
        count: tokens of a text.
    """
    pieces: list[str] = []
    while (tokens := count(text)) > size and (end := _end(text, size, tokens, count)):
        pieces.append(text[:end])
        text = text[end:]
    return (*pieces, text)


def _end(text: str, size: int, tokens: int, count: Callable[[str], int]) -> int:
    """Where the first piece of a text ends; 0 where there is nothing to cut at.

    Args:
        tokens: of the whole text, more than `size`.
    """
    near = text[: size * TOKEN_CHARACTERS]
    # No piece is all white space.
    first, last = len(text) - len(text.lstrip()), len(text.rstrip())
    ranks = {found.end(): _rank(found) for found in ENDS.finditer(near)}
    ends = [end for end in ranks if first < end < last]
    if not ends or count(text[: ends[0]]) > size:
        ends = list(range(first + 1, min(len(near), last)))
    if not ends:
        return 0
    share = tokens / -(-tokens // size)

    def within(limit: float) -> int:
        """How many ends leave a piece of at most so many tokens."""
        return bisect_right(ends, limit, key=lambda end: count(text[:end]))

    middle, most = within(share), max(within(min(size, MOST * share)), 1)
    least = min(within(LEAST * share), most - 1)
    best = min(
        range(least, most),
        key=lambda place: (ranks.get(ends[place], CHARACTER), abs(place + 1 - middle)),
    )
    return ends[best]


def _rank(found: re.Match[str]) -> int:
    lines = found.group().count("\n")
    if lines:
        return PARAGRAPH if lines > 1 else LINE
    return SENTENCE if found.string[found.start() - 1] in SENTENCE_ENDS else WORD
