"""Files with the values of slots, read as files of inputs are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from genpi_plugin.data.inputs.file import JSON, Item, items_of
from genpi_plugin.data.inputs.tables import DELIMITERS, INPUT, read_delimited
from genpi_plugin.errors import GenPIError
from synth.errors import TaskError

TEXT = ".txt"
KINDS = ".csv, .tsv, .json, .jsonl or .txt"


def file_values(path: Path, column: str | None, where: str) -> tuple[str, ...]:
    """The values in a file, line by line.

    Args:
        column: of a table, or the key of JSON objects; None for a file of text.
        where: task.yml and the slot's key, for messages.

    Raises:
        TaskError: it can't be read, or a line has no value.
    """
    suffix = path.suffix.lower()
    if suffix not in (*DELIMITERS, *JSON, TEXT):
        raise TaskError(
            f"{where}: {path}: the form {suffix or 'without a suffix'} is not read.",
            f"It is {KINDS}.",
        )
    try:
        if suffix in DELIMITERS:
            unit = "row"
            found, named = read_delimited(path, column or "")
            key: str | None = named or INPUT
        else:
            unit, found = items_of(path)
            key = column
    except GenPIError as error:
        own = suffix in DELIMITERS and "--" not in error.cure  # no option of a command line
        raise TaskError(
            f"{where}: {error.cause.removeprefix('The inputs file ')}",
            error.cure if own else f"Correct `column`, or the file: {KINDS}, in UTF-8.",
        ) from None
    values = tuple(
        _value(item, key, column, f"{where}: {path}, {unit} {item.number}") for item in found
    )
    if not values:
        raise TaskError(f"{where}: {path} holds no values.", "Write one a line.")
    return values


def _value(item: Item, key: str | None, column: str | None, place: str) -> str:
    if item.fault:
        raise TaskError(
            f"{place} {item.fault}." if item.fault.startswith("has") else f"{place}: {item.fault}.",
            "Correct it, or take the line out; a value that is empty stands in a .jsonl.",
        )
    value = item.value
    if key is not None:
        if not isinstance(value, Mapping):
            raise TaskError(
                f"{place}: {str(value)[:40]!r} is no object.", f'Write {{"{column}": "a value"}}.'
            )
        if key not in value:
            raise TaskError(
                f"{place} has no {column!r} (it has {', '.join(map(str, value)) or 'nothing'}).",
                "Correct `column`, or the line.",
            )
        value = value[key]
    if not isinstance(value, str):
        raise TaskError(
            f"{place}: {column!r} is not text but {value!r}.",
            "Write the value as the application sends it, as a text.",
        )
    if "\0" in value:
        raise TaskError(f"{place}: holds NUL (U+0000).", "Take it out.")
    return value
