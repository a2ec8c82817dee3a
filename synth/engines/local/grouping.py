"""Which waiting requests are answered together, and how much of them is read once for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# A shared beginning shorter than this is read anew with every row: it costs less than keeping it.
MIN_PREFIX = 64
# Padding a batch may have besides half of its longest row.
FREE_PADDING = 64
# A row with more tokens of its own is read alone if no more than a few others are like it: the
# whole batch would be padded to its length, and the next of its kind would read it all again.
LONG, FEW = 512, 3


@dataclass(frozen=True)
class Group:
    """Requests to begin together (places in the queue), and how many tokens all begin with."""

    rows: tuple[int, ...]
    prefix: int


def shared_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens `a` and `b` have in common at their beginning, by bisection."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def choose_group(
    waiting: Sequence[Sequence[int]],
    known: Sequence[int],
    size: int,
    share: bool = True,
) -> Group:
    """Choose the requests that the oldest one begins with.

    Args:
        waiting: token ids of the requests, the oldest first; not empty.
        known: how much of the oldest request's beginning has been read already, in one or
            several lengths.
        size: requests at most.
        share: False when nothing can be read once for several rows.

    Returns:
        The group, with the oldest request (place 0) in it. Its prefix is the one that saves the
        most tokens; 0 when there is none. At least one token of each row stays outside of it.
        What stays outside is similar in length, so that padding is little; among more rows than
        fit, those most like the oldest are taken. A request that begins like no other and is
        long is its own prefix but for the last token: the next of its kind finds it read.
    """
    oldest = waiting[0]
    shared = [min(shared_prefix(oldest, ids), len(oldest) - 1, len(ids) - 1) for ids in waiting]
    prefix = _best_prefix(shared, known, size) if share else 0
    own = len(oldest) - prefix
    group = [
        place
        for place, ids in enumerate(waiting)
        if place and shared[place] >= prefix and _similar(len(ids) - prefix, own)
    ]
    if share and own > max(LONG, prefix) and len(group) <= FEW:
        return Group(rows=(0,), prefix=len(oldest) - 1)
    group.sort(key=lambda place: abs(len(waiting[place]) - len(oldest)))
    return Group(rows=(0, *sorted(group[: size - 1])), prefix=prefix)


def _best_prefix(shared: Sequence[int], known: Sequence[int], size: int) -> int:
    """The prefix length that saves the most; one that is not known must be read once itself."""
    longest = shared[0]
    best, most = 0, 0
    for length in sorted({*shared[1:], *known}):
        if MIN_PREFIX <= length <= longest:
            rows = min(sum(tokens >= length for tokens in shared), size)
            saved = length * (rows if length in known else rows - 1)
            if saved > most:
                best, most = length, saved
    return best


def _similar(a: int, b: int) -> bool:
    return max(a, b) <= 2 * min(a, b) + FREE_PADDING
