"""Where two texts differ, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

Kind = Literal["same", "gone", "new"]

WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Piece:
    """A run of text: in both, only in the first (`gone`), or only in the second (`new`)."""

    kind: Kind
    text: str


def words(text: str) -> list[str]:
    """Words, punctuation and runs of white space; joined they are the text again."""
    return WORDS.findall(text)


def compare(first: str, second: str) -> list[Piece]:
    """From `first` to `second`: pieces of both are `same`, the others `gone` or `new`.

    The `same` and `gone` pieces make up `first`, the `same` and `new` ones `second`. Lines are
    compared before words, so that a long prompt is compared quickly.
    """
    before, after = first.splitlines(keepends=True), second.splitlines(keepends=True)
    pieces: list[Piece] = []
    for tag, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        old, new = "".join(before[i:j]), "".join(after[k:m])
        if tag == "equal":
            pieces.append(Piece("same", old))
        else:
            pieces += _by_word(old, new)
    return _joined(pieces)


def first_side(pieces: Iterable[Piece]) -> list[Piece]:
    """The first text, with what the second lacks marked."""
    return [piece for piece in pieces if piece.kind != "new"]


def second_side(pieces: Iterable[Piece]) -> list[Piece]:
    """The second text, with what the first lacks marked."""
    return [piece for piece in pieces if piece.kind != "gone"]


def _by_word(first: str, second: str) -> list[Piece]:
    before, after = words(first), words(second)
    found: list[Piece] = []
    for tag, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        old, new = "".join(before[i:j]), "".join(after[k:m])
        if tag == "equal":
            found.append(Piece("same", old))
            continue
        if old:
            found.append(Piece("gone", old))
        if new:
            found.append(Piece("new", new))
    return found


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Join pieces of one kind; in a change the gone words come first.

    A lone space between two changes is joined to both: `a b` for `c d` reads as one change.
    """
    result: list[Piece] = []
    gone = new = ""
    for place, piece in enumerate(pieces):
        following = pieces[place + 1].kind if place + 1 < len(pieces) else "same"
        if piece.kind == "gone":
            gone += piece.text
        elif piece.kind == "new":
            new += piece.text
        elif gone and new and piece.text.isspace() and following != "same":
            gone, new = gone + piece.text, new + piece.text
        else:
            result += _changes(gone, new)
            gone = new = ""
            result.append(piece)
    result += _changes(gone, new)
    merged: list[Piece] = []
    for piece in result:
        if merged and merged[-1].kind == piece.kind:
            merged[-1] = Piece(piece.kind, merged[-1].text + piece.text)
        else:
            merged.append(piece)
    return merged


def _changes(gone: str, new: str) -> list[Piece]:
    pieces: list[Piece] = []
    if gone:
        pieces.append(Piece("gone", gone))
    if new:
        pieces.append(Piece("new", new))
    return pieces
