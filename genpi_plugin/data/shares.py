"""Which rows recite: a share of each prompt's rows, chosen by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

from genpi_plugin.data.rows import Row


def reciting_rows(rows: Sequence[Row], share: float) -> set[int]:
    """The positions of the rows that get a prompt-generation half.

    Of each prompt's rows the given share, at least one, rounded to the nearest; of those that have
    a floor output and a reason, the ones whose ids have the lowest hashes. So neither the order of
    the rows nor a pattern in it matters, and a prompt with few rows is recited, too.

    Args:
        rows: of one dataset, all prompts.
        share: in [0, 1].
    """
    if not share:
        return set()
    of_prompt: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        of_prompt.setdefault(row.prompt_id, []).append(place)
    chosen: set[int] = set()
    for places in of_prompt.values():
        able = in_draw_order(rows, [place for place in places if rows[place].can_recite])
        chosen.update(able[: max(1, round(share * len(places)))])
    return chosen


def in_draw_order(rows: Sequence[Row], places: Collection[int]) -> list[int]:
    """Positions of rows by the hashes of the rows' ids."""
    return sorted(places, key=lambda place: (_draw(rows[place]), place))


def unrecited(rows: Sequence[Row], chosen: set[int]) -> list[str]:
    """The ids of the prompts that none of the `chosen` rows (`reciting_rows`) recites, in order."""
    prompts = dict.fromkeys(row.prompt_id for row in rows)
    recited = {rows[place].prompt_id for place in chosen}
    return [prompt for prompt in prompts if prompt not in recited]


def _draw(row: Row) -> bytes:
    return hashlib.sha256(f"recital {row.id}".encode()).digest()


def named_prompts(names: list[str]) -> str:
    """Prompts by their names, for a message."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"the prompt{'s' if len(names) > 1 else ''} {', '.join(names[:5])}{more}"
