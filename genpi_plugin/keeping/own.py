"""Requests that the model writes itself, from nothing: `genpi.keep_inputs: self`.

The chat template's opening of a user's turn is all that it is given, so that what it writes is what
a user may say, as far as the model knows (context-free generation, arXiv 2505.13811; Magpie,
arXiv 2406.08464). No list decides what is to be kept.
"""

from __future__ import annotations

from typing import Any

from axolotl.utils.logging import get_logger

from genpi_plugin.data import probes
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.text import folded, is_visible
from genpi_plugin.errors import GenPIError, TemplateError
from genpi_plugin.keeping.answers import Writer
from genpi_plugin.keeping.requests import SHOWN, Asked

LOG = get_logger("axolotl.genpi")
# So many are wanted; what is cut, empty or said twice is left out, and some more are written.
WANTED, ROUNDS = 200, 3
# Tokens of a request; one that does not end within them is left out.
LIMIT = 96


def opening_of(view: ChatView) -> list[int]:
    """The tokens up to where a user's first turn begins to be written.

    Raises:
        GenPIError: the template writes nothing before it.
    """
    said = probes.probe(0)
    before = view.text([{"role": "user", "content": said}], False).partition(said)[0]
    # A space before the text would be a token of its own, where in a text it is part of a word.
    ids = view.ids(before.rstrip(" "))
    if not ids:
        raise GenPIError(
            f"{view.rendering.name} writes nothing before a user's turn, so that the model can't "
            "be asked to write one (`genpi.keep_inputs: self`).",
            "leave out `keep_inputs`, or name a file of requests.",
        )
    return ids


def own_requests(
    view: ChatView, writer: Writer, model: Any, accelerator: Any, step: int
) -> list[Asked]:
    """Distinct requests of the model's own; every rank must call.

    Args:
        writer: whose tokens end a user's turn: all that mark a place in a conversation.

    Raises:
        GenPIError: see `Writer.write`, or the model writes none.
    """
    opening = opening_of(view)
    found: dict[str, Asked] = {}
    written = 0
    for round in range(ROUNDS):
        numbers = range(round * WANTED, (round + 1) * WANTED)
        by_number = {writer.key(opening, LIMIT, number): number for number in numbers}
        asked = dict.fromkeys(by_number, opening)
        turns = writer.write(model, asked, LIMIT, accelerator, step, "requests of the model's own")
        written += len(turns)
        for key in sorted(turns, key=by_number.__getitem__):
            text = _text(view, writer, turns[key])
            if text and len(found) < WANTED:
                name = f"the model's own ({text[:SHOWN]!r})"
                found.setdefault(folded(text), Asked(name, [{"role": "user", "content": text}]))
        if len(found) >= WANTED:
            break
    if not found:
        raise GenPIError(
            f"the model wrote {written} requests from nothing, and none of them can be used: they "
            f"are empty, or do not end within {LIMIT} tokens.",
            "leave out `keep_inputs`, or name a file of requests.",
        )
    requests = list(found.values())
    shown = ", ".join(repr(one.messages[0]["content"][:SHOWN]) for one in requests[:3])
    LOG.info(
        f"genpi: {len(requests)} requests to keep are the model's own, of {written} that it wrote: "
        f"{shown} ..."
    )
    return requests


def _text(view: ChatView, writer: Writer, ids: list[int]) -> str:
    """What a user's turn says; "" where it was cut, says nothing, or can't be said again."""
    if ids[-1] not in writer.end_ids:
        return ""
    text = view.tokens.decoded(ids[:-1]).strip()
    if not is_visible(text):
        return ""
    try:
        view.request_ids([{"role": "user", "content": text}])
    except TemplateError:
        return ""
    return text
