"""A prompt in clauses: list items, paragraphs, worked turns. Pure; nothing here reads a model.

The parts of a prompt are disjoint and cover it: every character belongs to one clause or to the
frame, which is never removed. Joined in order they are the prompt again.

In a message of instructions (a system message; a first user turn of several blocks where there is
none; a user turn at the end that has no answer) a clause is
  * a list item, with its nested items and indented continuation;
  * any other block of lines between blank lines, or a line of it where most of its lines end
    with a sentence; a fenced block is never divided.
A heading (`# ...`, `**...**`, or a lone line that ends with a colon) goes with the block it heads.
Where it heads several clauses it is frame: those that remain still need it.
A worked turn is one clause: the user's message and the assistant's answer together. The answer
to a first user turn of instructions ("Understood.") is frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from genpi_plugin.data.messages import Message
from genpi_plugin.data.transcripts import MARKER_OF
from genpi_plugin.evaluation.sections.clauses.blocks import blocks

Kind = Literal["item", "paragraph", "turns", "marked", "frame"]


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of one message of the prompt."""

    message: int
    start: int
    end: int


@dataclass(frozen=True)
class Part:
    """A clause, or a piece of the frame. `name` is the user's own, where there is one."""

    kind: Kind
    spans: tuple[Span, ...]
    name: str = ""


def split(prompt: Sequence[Message]) -> list[Part]:
    """Clauses and frame of a prompt, in order, from its layout."""
    parts: list[Part] = []
    place = 0
    while place < len(prompt):
        role, content = prompt[place]["role"], prompt[place]["content"]
        answered = role == "user" and place + 1 < len(prompt)
        if answered and not (place == 0 and len(blocks(content)) > 1):
            turns = (_whole(prompt, place), _whole(prompt, place + 1))
            parts.append(Part("turns", turns))
            place += 2
            continue
        parts += [Part(kind, (Span(place, start, end),)) for kind, start, end in blocks(content)]
        if answered:
            parts.append(Part("frame", (_whole(prompt, place + 1),)))
        place += 2 if answered else 1
    return parts


def without(prompt: Sequence[Message], part: Part) -> list[Message]:
    """The prompt with one part removed, and without messages that this leaves empty."""
    kept = []
    for number, message in enumerate(prompt):
        spans = [span for span in part.spans if span.message == number]
        if not spans:
            kept.append(message)
            continue
        left = gaps(len(message["content"]), spans)
        content = "".join(message["content"][start:end] for start, end in left).strip()
        if content:
            kept.append({"role": message["role"], "content": content})
    return kept


def text_of(prompt: Sequence[Message], part: Part) -> str:
    """A part as text for a reader; turns with their markers."""
    pieces = []
    for span in part.spans:
        message = prompt[span.message]
        piece = message["content"][span.start : span.end].strip()
        pieces.append(f"{MARKER_OF[message['role']]} {piece}" if part.kind == "turns" else piece)
    return "\n".join(pieces)


def gaps(length: int, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """The ranges of 0 to `length` that the spans leave."""
    edges = [0]
    for span in sorted(spans, key=lambda span: span.start):
        edges += [span.start, span.end]
    edges.append(length)
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(start, end) for start, end in pairs if start < end]


def _whole(prompt: Sequence[Message], number: int) -> Span:
    return Span(number, 0, len(prompt[number]["content"]))
