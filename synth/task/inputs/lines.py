"""The user's own inputs, in place of generated ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synth.errors import SynthError
from synth.store.rows import Rejection
from synth.text import control_fault, folded

NAMED = 10  # so many line numbers are named; the rest is counted


@dataclass(frozen=True)
class GivenInputs:
    """Distinct inputs in the file's order, the lines that repeat an earlier one, and in words
    what of the file was not used.

    `lines` holds each text's line in the file `source`; without one, texts are counted from 1.
    """

    texts: tuple[str, ...]
    duplicates: tuple[Rejection, ...] = ()
    notes: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    source: str = ""

    @property
    def line_numbers(self) -> Sequence[int]:
        """The line of each text."""
        return self.lines[: len(self.texts)] or range(1, len(self.texts) + 1)


def read_inputs(path: Path, count: int | None = None) -> GivenInputs:
    """Read inputs as the application sends them: `.jsonl` with `input`, or text, one a line.

    Neither `inputs.wrap` nor `inputs.pattern` is applied. Keys beside `input` are ignored, with
    a note on it. Empty lines are skipped.

    Args:
        path: the file.
        count: how many inputs to take from the start; None takes all.

    Raises:
        SynthError: no such file, lines that are not inputs (named), or fewer than `count`.
    """
    try:
        # Not `splitlines`, which parts a text at rarer characters, too.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SynthError(
            f"The inputs file {path} can't be read: {error}.", "Give a UTF-8 file with --inputs."
        ) from None
    json_lines = path.suffix.lower() in {".jsonl", ".json"}
    first_line: dict[str, int] = {}
    texts: list[str] = []
    numbers: list[int] = []
    duplicates: list[Rejection] = []
    faults: list[str] = []
    extra: set[str] = set()
    controls: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        text, fault, keys = _parse(line) if json_lines else (line.strip(), "", set())
        extra |= keys
        control = control_fault(text)
        if "\0" in text:
            fault = "holds the character NUL (U+0000), which no dataset can"
        elif control:
            controls.append(f"{number} ({control.partition(' in ')[0]})")
        if fault:
            faults.append(f"line {number}: {fault}")
            continue
        twin = first_line.setdefault(folded(text), number)
        if twin != number:
            made = {"text": text}
            duplicates.append(
                Rejection("inputs", number, "duplicate", f"the same as line {twin}", made)
            )
        elif count is None or len(texts) < count:
            texts.append(text)
            numbers.append(number)
    if faults:
        more = f"\n  and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise SynthError(
            f"{path} has {len(faults)} lines that are not inputs:\n  "
            + "\n  ".join(faults[:NAMED])
            + more,
            'In a .jsonl file each line is {"input": "what the application sends"}. '
            "Correct these lines or take them out.",
        )
    if len(texts) < (count or 1):
        repeated = f", {len(duplicates)} duplicates not counted" if duplicates else ""
        raise SynthError(
            f"{path} holds {len(texts)} distinct inputs{repeated}; {count or 1} are wanted.",
            "Add inputs, or ask for fewer with -n.",
        )
    return GivenInputs(
        tuple(texts),
        tuple(duplicates),
        _notes(path, duplicates, extra, controls),
        tuple(numbers),
        str(path),
    )


def _parse(line: str) -> tuple[str, str, set[str]]:
    """The input, what is wrong with the line ("" if nothing), and the other keys."""
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        return "", f"not JSON ({error.msg}, column {error.colno})", set()
    if not isinstance(data, dict) or "input" not in data:
        return "", "no `input`", set()
    text = data["input"]
    if not isinstance(text, str):
        return "", f"`input` is not a text but {type(text).__name__}", set()
    if not text.strip():
        return "", "`input` is empty", set()
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "", "`input` holds half of a character (a lone surrogate)", set()
    return text.strip(), "", set(data) - {"input"}


def _notes(
    path: Path, duplicates: list[Rejection], extra: set[str], controls: list[str]
) -> tuple[str, ...]:
    notes = []
    if controls:
        more = f" and {len(controls) - NAMED} more" if len(controls) > NAMED else ""
        notes.append(
            f"{path}: kept the control characters in line {', '.join(controls[:NAMED])}{more}: "
            "does the application send them?"
        )
    if extra:
        notes.append(f"{path}: ignored the keys {', '.join(sorted(extra))}.")
    if duplicates:
        named = ", ".join(f"{twin.position} ({twin.detail})" for twin in duplicates[:NAMED])
        more = f" and {len(duplicates) - NAMED} more" if len(duplicates) > NAMED else ""
        notes.append(f"{path}: left out {len(duplicates)} duplicates: line {named}{more}.")
    return tuple(notes)
