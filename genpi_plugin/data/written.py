"""Whether a text that was given is in what was made of it: in the rendered text, in the tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from genpi_plugin.data.markers import is_ordinary

# How models mark their thoughts: opener and closer.
THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
)
_PAIRS = "|".join(rf"{re.escape(opener)}\s*{re.escape(closer)}" for opener, closer in THOUGHTS)
EMPTY_THOUGHTS = re.compile(rf"\s*(?:{_PAIRS})\s*")
SHOWN = 80
# What SentencePiece writes for a space.
SPACE = "\u2581"
# Characters of the texts whose tokens are kept: a long conversation's turns, as two see them.
KNOWN = 4_000_000
# An end of a text that is shorter stands in any other by chance.
SIGNIFICANT = 4


def missing(content: str, written: str) -> str:
    """The part of a message that is not in the rendered text; "" when all of it is.

    White space does not count: templates strip it and indent it.
    """
    text = content.strip()
    if text in written:
        return ""
    bare, bare_written = "".join(text.split()), "".join(written.split())
    if bare in bare_written:
        return ""
    # Templates cut at the front, so the longest end that is there tells what is not.
    low, high = 0, len(text)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if text[middle:] in written else (middle + 1, high)
    return text[:low] if len(text) - low >= SIGNIFICANT else text


def open_thoughts(text: str) -> tuple[str, str] | None:
    """The opener and closer of thoughts that begin in a text and do not end in it."""
    return next((pair for pair in THOUGHTS if text.rfind(pair[0]) > text.rfind(pair[1])), None)


def without_thoughts(answer: str, opened: tuple[str, str] | None = None) -> str:
    """An answer without the thoughts it begins with; templates leave those out of a history.

    Args:
        opened: the pair whose opener stands in the generation prompt, if it does.
    """
    text = answer.strip()
    for opener, closer in THOUGHTS:
        head, found, rest = text.partition(closer)
        if found and (head.startswith(opener) or (opener, closer) == opened):
            return rest.strip()
    return text


class Tokens:
    """A tokenizer's special tokens, and whether a text keeps its content as tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.count = len(tokenizer)  # asked once: the tokenizer counts anew each time
        added = tokenizer.added_tokens_decoder
        self.marks = {*tokenizer.all_special_ids, *added}
        thoughts = {tag for pair in THOUGHTS for tag in pair}
        special = {*tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}
        self.control = {
            i for i in special if self.name(i) not in thoughts and not is_ordinary(self.name(i))
        }
        self._checked: set[str] = set()
        self._known: dict[str, list[int]] = {}
        self._held = 0

    def ids(self, text: str) -> list[int]:
        """A text's tokens. Of a conversation, each request is needed several times."""
        if text not in self._known:
            if self._held + len(text) > KNOWN:
                self._known.clear()
                self._held = 0
            self._held += len(text)
            self._known[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return list(self._known[text])

    def decoded(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)

    def name(self, token: int) -> str:
        """A special token as it stands in a text."""
        added = self.tokenizer.added_tokens_decoder.get(token)
        return added.content if added else str(self.tokenizer.convert_ids_to_tokens(token))

    def fault(self, text: str) -> tuple[str, str] | None:
        """What is wrong with a message's text as tokens: (what, the piece of text), or None.

        A special token that is written out ends or begins a turn wherever it stands. It does so
        at inference, too: a server tokenizes the rendered text as a whole.
        """
        if text in self._checked:
            return None
        ids = self.ids(text)
        unknown = self.tokenizer.unk_token_id
        for token in ids:
            name = self.name(token) if token in self.marks else ""
            if token == unknown and name not in text:
                return "holds characters that the tokenizer has no token for", text[:SHOWN]
            if token in self.control:
                return f"holds {name!r}, which the tokenizer reads as a control token", name
        decoded = self.decoded(ids)
        if decoded.count(SPACE) < text.count(SPACE):
            return f"holds {SPACE!r} (U+2581), which the tokenizer reads as a space", SPACE
        if self._plain(decoded) != self._plain(text):
            return "is not what its tokens decode to", text[:SHOWN]
        if len(self._checked) > 4096:
            self._checked.clear()
        self._checked.add(text)
        return None

    def without_control(self, text: str) -> str:
        """A text without the control tokens that are spelled out in it: a model may write them in
        pieces, and what it wrote is to be shown in a message."""
        names = sorted(map(self.name, self.control), key=len, reverse=True)
        while any(name in text for name in names):
            for name in names:
                text = text.replace(name, "")
        return text

    def _plain(self, text: str) -> str:
        """A text after the tokenizer's own normalization, without its white space."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        normalizer = getattr(backend, "normalizer", None)
        if normalizer is not None:
            text = normalizer.normalize_str(text)
        text = unicodedata.normalize("NFC", text).replace(SPACE, " ")
        return "".join(text.split())
