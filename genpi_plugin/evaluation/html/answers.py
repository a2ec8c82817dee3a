"""Answers side by side, and the recited prompt against the real one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genpi_plugin.evaluation.html.diff import Piece, compare, first_side, second_side
from genpi_plugin.evaluation.html.formatting import (
    FLOOR,
    TEACHER,
    colours,
    nats,
    role_of,
    students_of,
    tenths,
)

# At most this many are on the page; where there are more it says so, and where they are.
MOST_CASES = 200
OPEN_CASES = 2
# A common start of at least this many characters is left out of the inputs' headings.
SHARED_START = 12
MOST_RECITALS = 3


@dataclass(frozen=True)
class Answer:
    name: str
    role: str
    css: str
    pieces: list[Piece]
    cut: bool
    notes: list[str] = field(default_factory=list)
    thoughts: str = ""


@dataclass(frozen=True)
class Case:
    """An input and every system's answer; `kinds` are what the filters select."""

    head: str
    input: str
    kl: str
    answers: list[Answer]
    kinds: list[str]
    opened: bool


@dataclass(frozen=True)
class Cases:
    shown: list[Case]
    total: int
    filters: list[tuple[str, str, int]]  # CSS class, label, how many


FILTERS = {
    "differs": "differ",
    "agrees": "same text",
    "same-action": "same action",
    "other-action": "other action",
    "is-cut": "cut off",
}


def cases(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> Cases | None:
    """Every input's answers, sorted by the first student's distance from the teacher."""
    if not details.get("inputs") or TEACHER not in details.get("answers", {}):
        return None
    first = students_of(metrics)[0]
    tokens = details.get("tokens") or [1] * len(details["inputs"])
    sums = (details.get("kl_per_input") or {}).get(first) or [0.0] * len(tokens)
    far = [total / max(count, 1) for total, count in zip(sums, tokens, strict=True)]
    order = sorted(range(len(far)), key=lambda place: -far[place])
    common = shared_start(details["inputs"])
    found = [
        _case(place, far[place], metrics, details, common, opened=rank < OPEN_CASES)
        for rank, place in enumerate(order[:MOST_CASES])
    ]
    filters = [
        (kind, label, sum(kind in case.kinds for case in found)) for kind, label in FILTERS.items()
    ]
    return Cases(found, len(order), [one for one in filters if 0 < one[2] < len(found)])


def _case(
    place: int,
    far: float,
    metrics: Mapping[str, Any],
    details: Mapping[str, Any],
    common: int,
    opened: bool,
) -> Case:
    css, first = colours(metrics), students_of(metrics)[0]
    given = {name: answers[place] for name, answers in details["answers"].items()}
    reference = given[TEACHER]["text"]
    others = [name for name in given if name not in (TEACHER, FLOOR)]
    shown = []
    for name in [TEACHER, *others, FLOOR]:
        if name not in given:
            continue
        text = given[name]["text"]
        if name == TEACHER:
            # Marks what the first student's answer lacks.
            pieces = first_side(compare(text, given[first]["text"])) if first in given else [
                Piece("same", text)]  # fmt: skip
        elif name == FLOOR:
            pieces = [Piece("same", text)]
        else:
            pieces = second_side(compare(reference, text))
        role = role_of(name, metrics)
        shown.append(
            Answer(
                name, role, css.get(name, ""), pieces, bool(given[name]["cut"]),
                thoughts=given[name].get("thoughts", ""),
            )
        )  # fmt: skip
    kinds = []
    if first in given:
        kinds.append("agrees" if given[first]["text"] == reference else "differs")
        agreement = ((details.get("scores") or {}).get(first) or {}).get("agreement")
        if agreement:
            kinds.append("same-action" if agreement[place] else "other-action")
    if any(given[name]["cut"] for name in given if name != FLOOR):
        kinds.append("is-cut")
    text = details["inputs"][place]
    values = (details.get("slots") or {}) and details["slots"][place]
    return Case(head(text, common), _with_values(text, values), nats(far), shown, kinds, opened)


def _with_values(text: str, values: Mapping[str, str]) -> str:
    """An input, with its values of the prompt's slots above it where it has some."""
    told = "".join(f"{name}: {value}\n" for name, value in values.items())
    return f"{told}\n{text}" if told else text


def shared_start(inputs: Sequence[str]) -> int:
    """The number of characters, whole words only, that all inputs begin with; 0 if it is short."""
    if len(inputs) < 2:
        return 0
    first, last = min(inputs), max(inputs)  # what these two share, all inputs share
    same = [a == b for a, b in zip(first, last, strict=False)]
    start = first[: same.index(False) if False in same else len(same)]
    whole = start[: max(start.rfind(" "), start.rfind("\n")) + 1]
    return len(whole) if len(whole) >= SHARED_START else 0


def head(text: str, common: int) -> str:
    """An input on one line, without what all inputs begin with."""
    rest = " ".join(text[common:].split())
    return f"… {rest}" if common and rest else " ".join(text.split())


@dataclass(frozen=True)
class Recited:
    input: str
    chrf: str
    pieces: list[Piece]
    same: bool
    reason: str
    cut: bool


def recitals(details: Mapping[str, Any]) -> list[Recited]:
    """The prompt as recited, compared with the real one: `gone` is missing, `new` made up."""
    prompt = details.get("prompt_text")
    if not prompt:
        return []
    recited: Sequence[Mapping[str, Any]] = details.get("recitals") or []
    worst_first = sorted(recited, key=lambda one: one["chrf"])[:MOST_RECITALS]
    return [
        Recited(
            input=one["input"],
            chrf=tenths(one["chrf"]),
            pieces=compare(prompt, one["prompt"]),
            same=one["prompt"] == prompt,
            reason=one.get("reason") or "",
            cut=bool(one.get("cut")),
        )
        for one in worst_first
    ]
