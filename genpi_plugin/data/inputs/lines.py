"""The user's own inputs: distinct, as the application sends them; what is left out is noted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from genpi_plugin.data.inputs.collected import Collected, inputs_of
from genpi_plugin.data.inputs.faults import NAMED, listed, refuse
from genpi_plugin.data.inputs.given import Duplicate, GivenInput, GivenInputs, Reading
from genpi_plugin.data.inputs.log import looks_like_log
from genpi_plugin.data.inputs.own_prompt import OwnPrompt
from genpi_plugin.data.inputs.source import open_source
from genpi_plugin.data.inputs.turns import KEEP
from genpi_plugin.data.markers import role_markers
from genpi_plugin.errors import GenPIError


def read_inputs(
    path: Path,
    count: int | None = None,
    reading: Reading | None = None,
    own: OwnPrompt | None = None,
) -> GivenInputs:
    """Read inputs as the application sends them, from a file, a dataset's folder, or the hub.

    Texts, one a line; tables with a column of texts; objects with `input`; and logs of
    conversations, which give one input or several (`reading.answers`). docs/inputs.md lists what
    is read. White space around a text, a byte order mark and empty lines are no part of it. Keys
    that nothing reads are ignored and duplicates left out, with a note on each.

    Args:
        path: the file or folder, or the dataset's name on the hub.
        count: how many inputs to take from the start; None takes all.
        reading: what the file does not say itself.
        own: the prompt and tools that are taken out of logs; without it, logs stay as they are.

    Raises:
        GenPIError: it can't be read, what is no input (named), logs of another prompt, two inputs
            with one id, or fewer than `count`.
    """
    reading = reading or Reading()
    source = open_source(path, reading)
    found = Collected(path, source.unit)
    for item in source.items:
        inputs_of(item, source, reading, own, found)
    refuse(found)
    inputs, duplicates = _distinct(found)
    if not inputs:
        raise GenPIError(f"{path} holds no inputs.", "Write one a line.")
    _check_ids(path, source.unit, inputs)
    if count is not None and len(inputs) < count:
        repeated = f", {len(duplicates)} duplicates not counted" if duplicates else ""
        raise GenPIError(
            f"{path} holds {len(inputs)} distinct inputs{repeated}; {count} are wanted.",
            "Add inputs, or ask for fewer.",
        )
    notes = _notes(found, duplicates)
    if source.lines and all(looks_like_log(one.text) for one in inputs):
        notes += (
            f"{path}: each line is a JSON object with `input` or a log's messages, and is sent as "
            "it stands: if what it holds is meant, the file's name should end in .jsonl.",
        )
    elif all(not one.request and looks_like_log(one.text) for one in inputs):
        notes += (
            f"{path}: each input is a text that is the JSON of a log, and is sent as it stands: if "
            "what it holds is meant, the column should be named `messages`.",
        )
    return GivenInputs(
        tuple(inputs[:count]), duplicates, notes, str(path), source.unit, reading.answers == KEEP
    )


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
    faults: dict[int, str] = {}
    for one in given.inputs:
        for text in one.texts:
            for marker in role_markers(text, special_tokens):
                if not any(marker in each for each in known):
                    faults.setdefault(
                        one.number, f"{given.unit} {one.number}: holds a role marker ({marker})"
                    )
    if faults:
        raise GenPIError(
            f"{given.source or 'The inputs'}: {len(faults)} inputs hold what a chat template or "
            "the model's tokenizer reads as the start or end of a turn:"
            f"{listed([*faults.values()])}",
            f"Write these inputs without it, or take the lines out. {cure}",
        )


def _distinct(found: Collected) -> tuple[list[GivenInput], tuple[Duplicate, ...]]:
    numbers = [one.number for one in found.inputs]
    several = len(set(numbers)) < len(numbers)  # a log gave more than one
    first: dict[str, GivenInput] = {}
    duplicates = []
    for place, given in enumerate(found.inputs, start=1):
        one = replace(given, place=place if several else given.number)
        twin = first.setdefault(one.mark, one)
        if twin is not one:
            duplicates.append(Duplicate(one.number, twin.number, one.text, one.place))
    return list(first.values()), tuple(duplicates)


def _check_ids(path: Path, unit: str, inputs: Sequence[GivenInput]) -> None:
    known: dict[str, GivenInput] = {}
    for one in inputs:
        twin = known.setdefault(one.id, one) if one.id else one
        if twin is not one:
            raise GenPIError(
                f"{path}: {unit} {twin.number} and {unit} {one.number} are different inputs with "
                f"the id {one.id!r}.",
                "Give each an `id` of its own, or take the ids out: each then gets one that is "
                "made of its content.",
            )


def _notes(found: Collected, duplicates: Sequence[Duplicate]) -> tuple[str, ...]:
    path, unit = found.path, found.unit
    notes = []
    if found.controls:
        more = f" and {len(found.controls) - NAMED} more" if len(found.controls) > NAMED else ""
        notes.append(
            f"{path}: kept the control characters in {unit} {', '.join(found.controls[:NAMED])}"
            f"{more}: does the application send them?"
        )
    if found.ignored:
        notes.append(f"{path}: ignored the keys {', '.join(sorted(found.ignored))}.")
    notes += [f"{path}: {text}." for text in found.said()]
    if duplicates:
        named = ", ".join(f"{twin.number} (the same as {unit} {twin.of})"
                          for twin in duplicates[:NAMED])  # fmt: skip
        more = f" and {len(duplicates) - NAMED} more" if len(duplicates) > NAMED else ""
        notes.append(f"{path}: left out {len(duplicates)} duplicates: {unit} {named}{more}.")
    return tuple(notes)
