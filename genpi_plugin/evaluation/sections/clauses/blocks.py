"""A message in blocks: list items, paragraphs, and the headings above them. Pure."""

from __future__ import annotations

import re
from typing import Literal

BlockKind = Literal["item", "paragraph", "frame"]

ITEM = re.compile(r"(?:[-*+•]|\d{1,3}[.)]|[A-Za-z][.)]|\(\w{1,3}\))[ \t]+\S")
FENCE = re.compile(r"\s*(?:```|~~~)")
SENTENCE_END = re.compile(r"[.!?。！？][ \t]*\n(?=[^\W\d_a-z])")
TITLE = re.compile(r"(#{1,6})\s|\*\*[^*]+\*\*:?$")
# The level of a lone line with a colon; titles have 1 to 7.
LEAD_IN = 8


def blocks(content: str) -> list[tuple[BlockKind, int, int]]:
    """Clauses and frame of one message: (kind, start, end), without gaps from 0 to its length."""
    found = _blocks_of_lines(content)
    joined: list[tuple[BlockKind, int, int]] = []
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
    """The number of blocks, other than headings, that belong to a heading."""
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
    """Split paragraphs that have a sentence per line; leave wrapped prose whole."""
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
