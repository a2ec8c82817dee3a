"""What each row recites: its whole prompt, or one of the pieces into which a long one is cut."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.prompt_generation import Piece, Recited, last_words, recited_text
from genpi_plugin.data.prompt_pieces import cut
from genpi_plugin.data.rows import Row
from genpi_plugin.data.shares import in_draw_order, reciting_rows
from genpi_plugin.data.transcripts import prompt_text


def whole(row: Row) -> Recited:
    """The row's prompt and tools at once."""
    return Recited(recited_text(prompt_text(row.prompt), row.tools))


def in_pieces(text: str, view: ChatView, size: int | None) -> list[Recited]:
    """A recited text in pieces of at most `size` tokens; whole where it is no longer, or None."""
    texts = (text,) if size is None else cut(text, size, lambda part: len(view.ids(part)))
    if len(texts) == 1:
        return [Recited(text)]
    befores = [last_words("".join(texts[:place])) for place in range(len(texts))]
    return [
        Recited(part, Piece(place + 1, len(texts), before))
        for place, (part, before) in enumerate(zip(texts, befores, strict=True))
    ]


def recited_by_row(
    rows: Sequence[Row], share: float, view: ChatView, size: int | None
) -> dict[int, list[Recited]]:
    """What the rows recite, by their positions.

    A prompt that is recited whole is so by the rows that are drawn for it (`reciting_rows`). One in
    pieces has as many recitals as it would have whole, and one of each piece at least. They take
    the pieces in turn, so that none has more than one more than another: the first piece by the
    rows drawn, as it asks for a reason, and the others by any rows, those without one before. No
    row recites a piece twice, so that a prompt with few reasons has fewer recitals.

    Args:
        rows: of one dataset, all prompts.
        share: of each prompt's rows, in [0, 1].
        size: tokens of a piece at most; None for whole prompts.
    """
    chosen = reciting_rows(rows, share)
    found: dict[int, list[Recited]] = {}
    for text, places in _by_text(rows).items():
        drawn = [place for place in places if place in chosen]
        pieces = in_pieces(text, view, size) if drawn else []
        if len(pieces) > 1:
            found |= _in_turn(rows, places, drawn, pieces, round(share * len(places)))
        else:
            found |= {place: list(pieces) for place in drawn}
    return found


def _by_text(rows: Sequence[Row]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(whole(row).text, []).append(place)
    return found


def _in_turn(
    rows: Sequence[Row],
    places: Collection[int],
    drawn: Collection[int],
    pieces: Sequence[Recited],
    wanted: int,
) -> dict[int, list[Recited]]:
    """The recitals of one prompt's pieces; see `recited_by_row`.

    Args:
        places: of the prompt's rows.
        drawn: those of them that may recite the first piece.
        wanted: so many recitals, if the drawn rows suffice.
    """
    recitals = max(len(pieces), min(wanted, len(pieces) * len(drawn)))
    told = in_draw_order(rows, drawn)[: -(-recitals // len(pieces))]
    others = in_draw_order(rows, set(places).difference(told))
    firsts, rests = iter(told), itertools.cycle([*others, *told])
    found: dict[int, list[Recited]] = {}
    for turn in range(recitals):
        piece = pieces[turn % len(pieces)]
        place = next(firsts if piece.has_reason else rests)
        found.setdefault(place, []).append(piece)
    return found
