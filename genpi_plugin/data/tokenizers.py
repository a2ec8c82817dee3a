"""Which tokenizer token ids are of: a mark that goes with them."""

from __future__ import annotations

import hashlib
from typing import Any


def mark(tokenizer: Any) -> str:
    """The number of a tokenizer's tokens, and 16 hex digits for them: equal marks, equal tokens.

    Args:
        tokenizer: a Hugging Face tokenizer.
    """
    count = len(tokenizer)
    return f"{count}-{_digest(tokenizer, count)}"


def agrees(tokenizer: Any, given: str) -> bool:
    """Whether ids with this mark mean the same tokens here.

    Tokens that were added behind those of the mark, for padding, do not matter.
    """
    count, _, digest = given.partition("-")
    return count.isdigit() and _digest(tokenizer, int(count)) == digest


def _digest(tokenizer: Any, count: int) -> str:
    vocabulary = {number: token for token, number in tokenizer.get_vocab().items()}
    digest = hashlib.sha256()
    for number in sorted(one for one in vocabulary if one < count):
        digest.update(f"{number} {vocabulary[number]}\n".encode())
    return digest.hexdigest()[:16]
