"""Where a log's message differs from the prompt's, shown as a diff of one line."""

from __future__ import annotations

import difflib

from genpi_plugin.data.messages import Message
from genpi_plugin.data.roles import INSTRUCTIONS
from genpi_plugin.data.slots import SLOT, Values, may_give, slot, values_in

SHOWN = 72  # characters of a line that differs
BEFORE = 24  # of them before the difference
REST = "request.behind.the.prompt"  # a slot of our own


def unix(text: str) -> str:
    """A text with `\\n` at the end of each line."""
    return text.replace("\r\n", "\n")


def same_role(one: Message, other: Message) -> bool:
    """Whether two messages have one role; a developer's is the system's."""
    roles = {"system" if each["role"] in INSTRUCTIONS else each["role"] for each in (one, other)}
    return len(roles) == 1


def difference(own: Message, given: Message | None, place: int, slots: bool = False) -> str:
    """Where a log's message first differs from the prompt's; the same for logs that differ alike.

    Args:
        own: the prompt's message.
        given: the log's; None where it ends before.
        place: of the message in the prompt.
        slots: whether the prompt's marks are slots, in which any values may stand.
    """
    where = f"message {place + 1} of the prompt ({own['role']})"
    if given is None:
        return f"the log ends before {where}"
    if not same_role(own, given):
        return f"in place of {where} stands one of the role {given['role']}"
    ours, theirs = (unix(one["content"].strip()).split("\n") for one in (own, given))
    skipped, values = 0, Values()
    if slots:
        skipped, values, theirs = _beside_slots(ours, theirs)
        ours = ours[skipped:]
    if ours == theirs:
        return f"the calls of {where} differ"
    changed = [
        code for code in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
        if code[0] != "equal"
    ]  # fmt: skip
    _, start, end, other, other_end = changed[0]
    mine = ours[start] if start < end else None
    its = theirs[other] if other < other_end else None
    if slots and its is not None:
        its = _with_marks(mine or "", its, values)
    lines = sum(max(code[2] - code[1], code[4] - code[3]) for code in changed)
    more = f"\n    ... and {lines - 1} more lines" if lines > 1 else ""
    return (
        f"{where} is another from its line {skipped + start + 1} on:"
        f"\n    - {_shown(mine, its)}\n    + {_shown(its, mine)}{more}"
    )


def _beside_slots(ours: list[str], theirs: list[str]) -> tuple[int, Values, list[str]]:
    """How many of our lines theirs begin with, values in the slots; these; and their other lines,
    those as ours that are ours with values."""
    same, values, rest = 0, Values(), "\n".join(theirs)
    for count in range(1, len(ours)):
        found = may_give("\n".join([*ours[:count], slot(REST)]), "\n".join(theirs))
        if found is None:
            break
        rest = found.pop(REST, "")
        same, values = count, found
    marked = [line for line in ours[same:] if SLOT.sub("", line).strip() != line.strip()]
    lines = [
        next((one for one in marked if line not in ours and _is_filled(one, line)), line)
        for line in rest.split("\n")
    ]
    return same, values, lines


def _is_filled(template: str, line: str) -> bool:
    return bool(SLOT.sub("", template).strip()) and may_give(template, line) is not None


def _with_marks(mine: str, its: str, values: Values) -> str:
    """Their line with the slots' marks where their values stand, as far as these can be told."""
    ends = [place for place, one in enumerate(mine) if one == " "]
    for end in reversed(ends):
        found = values_in(mine[:end] + slot(REST), its)
        if found is not None and SLOT.search(mine[:end]):
            return mine[:end] + found[REST]
    for name, value in values.items():
        its = its.replace(value, slot(name)) if value else its
    return its


def _shown(line: str | None, other: str | None) -> str:
    """The part of a line where it differs from another."""
    if line is None:
        return "(no such line)"
    same = 0
    for one, two in zip(line, other or "", strict=False):
        if one != two:
            break
        same += 1
    start = max(0, min(same - BEFORE, len(line) - SHOWN))
    end = start + SHOWN
    return ("..." if start else "") + line[start:end] + ("..." if end < len(line) else "")
