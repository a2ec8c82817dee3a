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
A worked turn is one clause: the user's message and all that follows up to the next one, calls of
tools and their results included. The answer to a first user turn of instructions ("Understood.") is
frame. Each tool that goes with the prompt is a clause, too: its schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from genpi_plugin.data.messages import Message, readable
from genpi_plugin.data.tools import Tool, tools_text
from genpi_plugin.data.transcripts import TURN_MARKERS
from genpi_plugin.evaluation.sections.clauses.blocks import blocks

Kind = Literal["item", "paragraph", "turns", "marked", "tool", "frame"]


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of one message of the prompt."""

    message: int
    start: int
    end: int


@dataclass(frozen=True)
class Part:
    """A clause, or a piece of the frame. `name` is the user's own, where there is one, or that of
    a tool, which has no spans."""

    kind: Kind
    spans: tuple[Span, ...]
    name: str = ""


def split(prompt: Sequence[Message]) -> list[Part]:
    """Clauses and frame of a prompt, in order, from its layout."""
    parts: list[Part] = []
    place = 0
    while place < len(prompt):
        role, content = prompt[place]["role"], prompt[place]["content"]
        behind = _next_user(prompt, place) if role == "user" else place + 1
        answered = behind > place + 1
        if answered and not (place == 0 and len(blocks(content)) > 1):
            turns = tuple(_whole(prompt, number) for number in range(place, behind))
            parts.append(Part("turns", turns))
            place = behind
            continue
        parts += [Part(kind, (Span(place, start, end),)) for kind, start, end in blocks(content)]
        if answered:
            answers = tuple(_whole(prompt, number) for number in range(place + 1, behind))
            parts.append(Part("frame", answers))
        place = behind
    return parts


def tool_parts(tools: Sequence[Tool]) -> list[Part]:
    """A clause for each tool."""
    return [Part("tool", (), tool["function"]["name"]) for tool in tools]


def tools_without(tools: Sequence[Tool], part: Part) -> list[Tool]:
    """The tools without that of a part; all of them where the part is none."""
    return [
        tool for tool in tools if part.kind != "tool" or tool["function"]["name"] != part.name
    ]  # fmt: skip


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
            kept.append({**message, "content": content})
    return kept


def text_of(prompt: Sequence[Message], part: Part, tools: Sequence[Tool] = ()) -> str:
    """A part as text for a reader: turns with their markers, a tool as JSON."""
    if part.kind == "tool":
        return tools_text([tool for tool in tools if tool["function"]["name"] == part.name])
    pieces = []
    for span in part.spans:
        message = prompt[span.message]
        if len(part.spans) > 1 and part.kind != "marked":
            piece = readable(message).strip()
            pieces.append(f"{TURN_MARKERS[message['role']]} {piece}")
        else:
            pieces.append(message["content"][span.start : span.end].strip())
    return "\n".join(pieces)


def gaps(length: int, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """The ranges of 0 to `length` that the spans leave."""
    edges = [0]
    for span in sorted(spans, key=lambda span: span.start):
        edges += [span.start, span.end]
    edges.append(length)
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(start, end) for start, end in pairs if start < end]


def _next_user(prompt: Sequence[Message], place: int) -> int:
    """The place of the next message of the user's behind one, or the prompt's end."""
    behind = place + 1
    while behind < len(prompt) and prompt[behind]["role"] != "user":
        behind += 1
    return behind


def _whole(prompt: Sequence[Message], number: int) -> Span:
    return Span(number, 0, len(prompt[number]["content"]))
