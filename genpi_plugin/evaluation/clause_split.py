"""A prompt in clauses: list items, paragraphs, worked turns. Pure; nothing here reads a model.

The parts of a prompt are disjoint and cover it: every character belongs to one clause or to the
frame, which is never taken away. Put together in order they are the prompt again.

In a message of instructions (a system message; a first user turn of several blocks where there is
none; a user turn at the end that has no answer) a clause is
  * a list item, with its nested items and indented continuation;
  * any other block of lines between blank lines, or a line of it where most of its lines end
    with a sentence; a fenced block is never divided.
A heading (`# ...`, `**...**`, or a lone line that ends with a colon) goes with the block it heads.
Where it heads several clauses it is frame: it has to stay for those that remain.
A worked turn is one clause: the user's message and the assistant's answer together. The answer
to a first user turn of instructions ("Understood.") is frame.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import GenPIError
from ..rows import MARKER_OF, Message

Kind = Literal["item", "paragraph", "turns", "marked", "frame"]

ITEM = re.compile(r"(?:[-*+•]|\d{1,3}[.)]|[A-Za-z][.)]|\(\w{1,3}\))[ \t]+\S")
FENCE = re.compile(r"\s*(?:```|~~~)")
SENTENCE_END = re.compile(r"[.!?。！？][ \t]*\n(?=[^\W\d_a-z])")
TITLE = re.compile(r"(#{1,6})\s|\*\*[^*]+\*\*:?$")


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
    """Clauses and frame of a prompt, in order, by its form."""
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


def marked(prompt: Sequence[Message], excerpts: dict[str, list[str]]) -> list[Part]:
    """The clauses a user names by excerpts of the prompt; the rest of it is frame.

    Args:
        excerpts: name of a clause -> its pieces, each to be found once in the prompt.

    Raises:
        GenPIError: a piece that is not found or found twice, pieces that overlap, or a clause
            without which the roles of the prompt no longer take turns.
    """
    parts = [
        Part("marked", tuple(_find(prompt, name, piece) for piece in pieces), name)
        for name, pieces in excerpts.items()
    ]
    taken = sorted(
        ((span, part.name) for part in parts for span in part.spans),
        key=lambda item: (item[0].message, item[0].start),
    )
    for (left, first), (right, second) in itertools.pairwise(taken):
        if left.message == right.message and right.start < left.end:
            raise GenPIError(
                f"the clauses {first!r} and {second!r} overlap in the prompt.",
                "let every piece of the prompt belong to one clause.",
            )
    for part in parts:
        roles = [m["role"] for m in without(prompt, part) if m["role"] != "system"]
        if any(role != ("user", "assistant")[i % 2] for i, role in enumerate(roles)):
            raise GenPIError(
                f"without the clause {part.name!r} the roles of the prompt no longer take turns.",
                "a whole turn is taken away with its answer: name both pieces.",
            )
    rest = [
        Part("frame", (Span(number, start, end),))
        for number, message in enumerate(prompt)
        for start, end in _gaps(len(message["content"]), [s for s, _ in taken
                                                          if s.message == number])
    ]  # fmt: skip
    return sorted([*parts, *rest], key=lambda part: (part.spans[0].message, part.spans[0].start))


def without(prompt: Sequence[Message], part: Part) -> list[Message]:
    """The prompt with one part taken away; messages that are left empty go."""
    kept = []
    for number, message in enumerate(prompt):
        spans = [span for span in part.spans if span.message == number]
        if not spans:
            kept.append(message)
            continue
        gaps = _gaps(len(message["content"]), spans)
        content = "".join(message["content"][start:end] for start, end in gaps).strip()
        if content:
            kept.append({"role": message["role"], "content": content})
    return kept


def text_of(prompt: Sequence[Message], part: Part) -> str:
    """A part as a reader is shown it; turns with their markers."""
    pieces = []
    for span in part.spans:
        message = prompt[span.message]
        piece = message["content"][span.start : span.end].strip()
        pieces.append(f"{MARKER_OF[message['role']]} {piece}" if part.kind == "turns" else piece)
    return "\n".join(pieces)


def blocks(content: str) -> list[tuple[Kind, int, int]]:
    """Clauses and frame of one message: (kind, start, end), without gaps from 0 to its length."""
    found = _blocks_of_lines(content)
    joined: list[tuple[Kind, int, int]] = []
    carried: int | None = None  # where the headings begin that go with the next block
    for place, (kind, start, end) in enumerate(found):
        begin = start if carried is None else carried
        if kind != "heading":
            joined.append(("item" if kind == "item" else "paragraph", begin, end))
            carried = None
            continue
        headed = _headed(content, found, place)
        if headed > 1:
            joined.append(("frame", begin, end))
            carried = None
        elif headed == 1:
            carried = begin
        else:  # heads nothing: text like any other
            joined.append(("paragraph", begin, end))
            carried = None
    return joined


def _headed(content: str, found: list[tuple[str, int, int]], place: int) -> int:
    """How many blocks that are no headings a heading stands over."""
    level = _level(content, found[place])
    under: list[str] = []
    for block in found[place + 1 :]:
        kind = block[0]
        if kind == "heading":
            if (level == LEAD_IN and under) or (_level(content, block) <= level < LEAD_IN):
                break
            continue
        # A lone line with a colon heads the list or the one block below it, no more.
        if level == LEAD_IN and under and not kind == under[-1] == "item":
            break
        under.append(kind)
    return len(under)


LEAD_IN = 8


def _level(content: str, block: tuple[str, int, int]) -> int:
    title = TITLE.match(content[block[1] : block[2]].strip())
    if title is None:
        return LEAD_IN
    return len(title.group(1)) if title.group(1) else LEAD_IN - 1


def _blocks_of_lines(content: str) -> list[tuple[str, int, int]]:
    """("item" | "paragraph" | "heading", start, end); the space behind a block belongs to it."""
    starts: list[tuple[str, int]] = []
    fenced, blank, indent, at = False, True, 0, 0
    for line in content.splitlines(keepends=True):
        bare = line.strip()
        depth = len(line) - len(line.lstrip())
        in_item = bool(starts) and starts[-1][0] == "item"
        if fenced or not bare:
            pass
        elif ITEM.match(bare):
            if not (in_item and depth > indent):
                starts.append(("item", at))
                indent = depth
        elif in_item and (depth > indent or not blank):
            pass  # continues the item
        elif blank or TITLE.match(bare) or (starts and _is_heading(content[starts[-1][1] : at])):
            starts.append(("paragraph", at))
        if FENCE.match(line):
            fenced = not fenced
        blank = not bare and not fenced
        at += len(line)
    if not starts:
        return [("paragraph", 0, len(content))]
    starts[0] = (starts[0][0], 0)
    starts = _with_sentence_lines(content, starts)
    ends = [start for _, start in starts[1:]] + [len(content)]
    return [
        ("heading" if kind == "paragraph" and _is_heading(content[start:end]) else kind, start, end)
        for (kind, start), end in zip(starts, ends, strict=True)
    ]


def _with_sentence_lines(content: str, starts: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Paragraphs written a sentence a line begin anew at each; wrapped prose does not."""
    ends = [start for _, start in starts[1:]] + [len(content)]
    found = []
    for (kind, start), end in zip(starts, ends, strict=True):
        found.append((kind, start))
        block = content[start:end].rstrip()
        if kind == "paragraph" and not FENCE.search(block):
            places = [start + match.end() for match in SENTENCE_END.finditer(block)]
            if len(places) > 1 and 2 * len(places) >= block.count("\n"):
                found += [(kind, place) for place in places]
    return found


def _is_heading(block: str) -> bool:
    text = block.strip()
    return "\n" not in text and bool(TITLE.match(text) or text.endswith(":"))


def _whole(prompt: Sequence[Message], number: int) -> Span:
    return Span(number, 0, len(prompt[number]["content"]))


def _find(prompt: Sequence[Message], name: str, piece: str) -> Span:
    wanted = piece.strip()
    found = [
        Span(number, match.start(), match.end())
        for number, message in enumerate(prompt)
        for match in re.finditer(f"(?={re.escape(wanted)})", message["content"])
    ] if wanted else []  # fmt: skip
    if len(found) != 1:
        raise GenPIError(
            f"the clause {name!r}: {wanted[:60]!r} stands {len(found)} times in the prompt.",
            "copy a piece of one message, letter for letter, long enough to stand there once.",
        )
    return Span(found[0].message, found[0].start, found[0].start + len(wanted))


def _gaps(length: int, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """What spans leave of 0 to `length`."""
    edges = [0]
    for span in sorted(spans, key=lambda span: span.start):
        edges += [span.start, span.end]
    edges.append(length)
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(start, end) for start, end in pairs if start < end]
