"""Which rows are given what recitals need: a floor output and a reason (`reasons.share`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from synth.store.rows import RECITED, Row


def in_share(row: Row, share: float) -> bool:
    """Whether a floor output and a reason are made for a row.

    It follows from the row's id and its place alone: more rows change it for none that is there,
    nor does the order of answers, and a larger share has all rows of a smaller one. The first row
    of a prompt is always chosen, so that a few rows have a reason, too.

    Args:
        row: with its id, which is made from its prompt and input.
        share: of the rows, 0 to 1; 0 chooses none, 1 all.
    """
    return share > 0 and (row.position == 0 or _drawn(row.id) < share)


def makes_for_recitals_alone(makes: Sequence[str]) -> bool:
    """Whether a stage that fills in these fields makes nothing but what recitals need."""
    return bool(makes) and set(RECITED).issuperset(makes)


def _drawn(name: str) -> float:
    """A number in [0, 1) that is the row's own."""
    return int.from_bytes(hashlib.sha256(f"reason:{name}".encode()).digest()[:8], "big") / 2**64
