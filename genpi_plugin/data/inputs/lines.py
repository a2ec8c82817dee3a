"""The user's own inputs: distinct, as the application sends them; what is left out is noted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from genpi_plugin.data.inputs.file import JSON, is_json_input, items_of
from genpi_plugin.data.markers import role_markers
from genpi_plugin.data.text import control_fault, folded, is_visible
from genpi_plugin.errors import GenPIError

NAMED = 10  # so many line numbers are named; the rest is counted


@dataclass(frozen=True)
class Duplicate:
    """An input that repeats the one with the number `of`."""

    number: int
    of: int
    text: str


@dataclass(frozen=True)
class GivenInputs:
    """Distinct inputs in the file's order, those that repeat an earlier one, and in words what of
    the file was not used.

    `lines` holds each text's number in the file `source`, where numbers count what `unit` says;
    without one, texts are counted from 1.
    """

    texts: tuple[str, ...]
    duplicates: tuple[Duplicate, ...] = ()
    notes: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    source: str = ""
    unit: str = "line"

    @property
    def line_numbers(self) -> Sequence[int]:
        """The number of each text."""
        return self.lines[: len(self.texts)] or range(1, len(self.texts) + 1)


def read_inputs(path: Path, count: int | None = None) -> GivenInputs:
    """Read inputs as the application sends them: `.jsonl` or `.json` with `input`, or text, one a
    line.

    White space around an input, a byte order mark and empty lines are no part of it. Keys beside
    `input` are ignored and duplicates left out, with a note on each.

    Args:
        path: the file.
        count: how many inputs to take from the start; None takes all.

    Raises:
        GenPIError: no such file, not in UTF-8, lines that are not inputs (named), or fewer than
            `count`.
    """
    unit, items = items_of(path)
    first: dict[str, int] = {}
    texts: list[str] = []
    numbers: list[int] = []
    duplicates: list[Duplicate] = []
    faults: list[str] = []
    extra: set[str] = set()
    controls: list[str] = []
    for item in items:
        extra |= item.keys
        fault, control = item.fault, control_fault(item.text)
        if "\0" in item.text:
            fault = "holds the character NUL (U+0000), which no dataset can"
        elif not item.fault and not is_visible(item.text):
            fault = "holds no character that can be seen"
        elif control:
            controls.append(f"{item.number} ({control.partition(' in ')[0]})")
        if fault:
            faults.append(f"{unit} {item.number}: {fault}")
            continue
        twin = first.setdefault(folded(item.text), item.number)
        if twin != item.number:
            duplicates.append(Duplicate(item.number, twin, item.text))
        elif count is None or len(texts) < count:
            texts.append(item.text)
            numbers.append(item.number)
    if faults:
        raise GenPIError(
            f"{path} has {len(faults)} {unit}s that are not inputs:{listed(faults)}",
            'In a JSON file each is {"input": "what the application sends"}. '
            "Correct them or take them out.",
        )
    if not texts:
        raise GenPIError(f"{path} holds no inputs.", "Write one a line.")
    if count is not None and len(texts) < count:
        repeated = f", {len(duplicates)} duplicates not counted" if duplicates else ""
        raise GenPIError(
            f"{path} holds {len(texts)} distinct inputs{repeated}; {count} are wanted.",
            "Add inputs, or ask for fewer.",
        )
    notes = _notes(path, unit, duplicates, extra, controls)
    if path.suffix.lower() not in JSON and all(map(is_json_input, texts)):
        notes += (
            f"{path}: each line is a JSON object with `input`, and is sent as it stands: if its "
            "`input` is meant, the file's name should end in .jsonl.",
        )
    return GivenInputs(tuple(texts), tuple(duplicates), notes, tuple(numbers), str(path), unit)


def check_markers(
    given: GivenInputs, own: Iterable[str], special_tokens: Collection[str], cure: str
) -> None:
    """Check that no input holds what is read as the start or end of a turn.

    Args:
        given: the inputs.
        own: texts of the application's; a marker that stands in one of them is ordinary text.
        special_tokens: the tokenizer's, where they are known.
        cure: what to do where such a marker is meant.

    Raises:
        GenPIError: names the lines and their markers.
    """
    known = list(own)
    faults = []
    for number, text in zip(given.line_numbers, given.texts, strict=True):
        for marker in role_markers(text, special_tokens):
            if not any(marker in each for each in known):
                faults.append(f"{given.unit} {number}: holds a role marker ({marker})")
                break
    if faults:
        raise GenPIError(
            f"{given.source or 'The inputs'}: {len(faults)} inputs hold what a chat template or "
            f"the model's tokenizer reads as the start or end of a turn:{listed(faults)}",
            f"Write these inputs without it, or take the lines out. {cure}",
        )


def listed(faults: Sequence[str]) -> str:
    """Faults below each other, the first few of them; the rest is counted."""
    more = f"\n  and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return "\n  " + "\n  ".join(faults[:NAMED]) + more


def _notes(
    path: Path, unit: str, duplicates: list[Duplicate], extra: set[str], controls: list[str]
) -> tuple[str, ...]:
    notes = []
    if controls:
        more = f" and {len(controls) - NAMED} more" if len(controls) > NAMED else ""
        notes.append(
            f"{path}: kept the control characters in {unit} {', '.join(controls[:NAMED])}{more}: "
            "does the application send them?"
        )
    if extra:
        notes.append(f"{path}: ignored the keys {', '.join(sorted(extra))}.")
    if duplicates:
        named = ", ".join(f"{twin.number} (the same as {unit} {twin.of})"
                          for twin in duplicates[:NAMED])  # fmt: skip
        more = f" and {len(duplicates) - NAMED} more" if len(duplicates) > NAMED else ""
        notes.append(f"{path}: left out {len(duplicates)} duplicates: {unit} {named}{more}.")
    return tuple(notes)
