"""Which rows are held out. Pure.

Whether a row is a test row follows from its position and the seed, or from the position of the
first row it is a near duplicate of: more rows move none that are there. Of each run of positions,
ten for a share of 0.1, one is drawn; so the test split has its share but for one or two rows, and
for those whose position made no row.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

# A group of more than so much of all rows is never held out.
MOST = 0.25
# Among so many first rows (groups) one is held out, so that a small dataset has a test split, too.
FIRST = 10


def draw_name(seed: int, share: float) -> str:
    """What splits are recorded under: the same rows are drawn anew with another seed or share."""
    return f"seed {seed}, share {share}"


def held_out(
    ids: Sequence[str],
    share: float,
    seed: int,
    heads: Sequence[int] | None = None,
    recorded: Mapping[str, str] | None = None,
    positions: Sequence[int] | None = None,
) -> set[str]:
    """The ids of the test rows.

    Rows of one group go together, by the position of its first row. The first group trains, so that
    never all rows are held out; of ten rows or more, one of the first ten groups is held out. A
    group that is larger than the test split should be trains; where all are, the smallest is held
    out if it is no more than a quarter of the rows.

    Args:
        ids: of all rows, in order.
        share: of the rows that are held out, 0 to 1.
        seed: of the draw.
        heads: for each row the number of its group's first row; by default each is its own.
        recorded: "train" or "test" by id, for rows that were drawn before. They stay where they
            are, and others of their group go with the first of them.
        positions: of the rows among all inputs, ascending; by default there are no gaps.
    """
    recorded = recorded or {}
    members: dict[int, list[str]] = {}
    for name, head in zip(ids, heads or range(len(ids)), strict=True):
        members.setdefault(head, []).append(name)
    groups = list(members.values())
    places = list(positions or range(len(ids)))
    drawn = _drawn(groups, [places[head] for head in members], len(ids), share, seed)
    test: set[str] = set()
    for number, names in enumerate(groups):
        split = "test" if number in drawn else "train"
        split = next((recorded[name] for name in names if name in recorded), split)
        test.update(name for name in names if recorded.get(name, split) == "test")
    return test


def _drawn(
    groups: Sequence[Sequence[str]], positions: Sequence[int], rows: int, share: float, seed: int
) -> set[int]:
    """The numbers of the groups that are held out; `positions` are those of their first rows."""
    if not share:
        return set()
    most = max(round(rows * share), 1)
    eligible = [number for number, names in enumerate(groups) if number and len(names) <= most]
    if not eligible and rows >= FIRST:
        # A few long logs: the smallest one, unless it is too much of the whole.
        sizes = [len(names) for names in groups]
        smallest = min(range(1, len(groups)), key=lambda number: sizes[number], default=0)
        return {smallest} if smallest and sizes[smallest] <= rows * MOST else set()
    drawn = {number for number in eligible if _is_drawn(positions[number], share, seed)}
    first = [number for number in eligible if number < FIRST]
    if rows >= FIRST and first and drawn.isdisjoint(first):
        drawn.add(first[_random(seed, "first") % len(first)])
    return drawn


def _is_drawn(position: int, share: float, seed: int) -> bool:
    """Whether a position is the one that is drawn of its run of about 1 / `share` positions."""
    exact = Fraction(str(share))
    run = math.floor(position * exact)
    start, stop = math.ceil(run / exact), math.ceil((run + 1) / exact)
    return position == start + _random(seed, run) % (stop - start)


def _random(seed: int, name: object) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")
