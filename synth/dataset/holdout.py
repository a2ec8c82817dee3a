"""Which rows are held out. Pure.

Whether a row is a test row follows from its id and the seed, or from those of the first row it is a
near duplicate of: more rows move none that are there. So the test split has about its share of the
rows, not exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

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
) -> set[str]:
    """The ids of the test rows: those whose hash with `seed`, as a number in [0, 1), is below
    `share`.

    Rows of one group go together, by the hash of the group's first id. The first group trains, so
    that never all rows are held out; of ten rows or more, one of the first ten groups is held out.
    A group that is larger than the test split should be trains.

    Args:
        ids: of all rows, in order.
        share: of the rows that are held out, 0 to 1.
        seed: of the draw.
        heads: for each row the number of its group's first row; by default each is its own.
        recorded: "train" or "test" by id, for rows that were drawn before. They stay where they
            are, and others of their group go with the first of them.
    """
    recorded = recorded or {}
    members: dict[int, list[str]] = {}
    for name, head in zip(ids, heads or range(len(ids)), strict=True):
        members.setdefault(head, []).append(name)
    groups = list(members.values())
    drawn = _drawn(groups, len(ids), share, seed)
    test: set[str] = set()
    for number, names in enumerate(groups):
        split = "test" if number in drawn else "train"
        split = next((recorded[name] for name in names if name in recorded), split)
        test.update(name for name in names if recorded.get(name, split) == "test")
    return test


def _drawn(groups: Sequence[Sequence[str]], rows: int, share: float, seed: int) -> set[int]:
    """The numbers of the groups that are held out."""
    if not share:
        return set()
    most = max(round(rows * share), 1)
    places = {number: _place(seed, names[0]) for number, names in enumerate(groups)
              if number and len(names) <= most}  # fmt: skip
    drawn = {number for number, place in places.items() if place < share}
    first = [number for number in places if number < FIRST]
    if rows >= FIRST and first and drawn.isdisjoint(first):
        drawn.add(min(first, key=places.__getitem__))
    return drawn


def _place(seed: int, name: str) -> float:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
