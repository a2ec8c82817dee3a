"""What each row recites: its whole prompt, or one of the pieces into which a long one is cut."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.prompt_generation import Piece, Recited, last_words, recited_text
from genpi_plugin.data.prompt_pieces import cut
from genpi_plugin.data.rows import Row
from genpi_plugin.data.shares import in_draw_order
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
    rows: Sequence[Row], chosen: Collection[int], view: ChatView, size: int | None
) -> dict[int, list[Recited]]:
    """What the chosen rows recite, by their positions.

    The rows of a prompt take its pieces in turn, in the order of their draw (`reciting_rows`), so
    that no piece has more than one row more than another. Where a prompt has fewer such rows than
    pieces, each piece is recited once, and a row recites several.

    Args:
        rows: of one dataset, all prompts.
        chosen: the positions of the rows that recite.
        size: tokens of a piece at most; None for whole prompts.
    """
    of_text: dict[str, list[int]] = {}
    for place in in_draw_order(rows, chosen):
        of_text.setdefault(whole(rows[place]).text, []).append(place)
    found: dict[int, list[Recited]] = {}
    for text, places in of_text.items():
        pieces = in_pieces(text, view, size)
        for turn in range(max(len(pieces), len(places))):
            row, piece = places[turn % len(places)], pieces[turn % len(pieces)]
            found.setdefault(row, []).append(piece)
    return found
