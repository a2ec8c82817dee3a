"""What an inputs file, a dataset's folder or a dataset of the hub holds, before it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genpi_plugin.data.inputs import tables
from genpi_plugin.data.inputs.file import JSON, Item, items_of
from genpi_plugin.data.inputs.given import Reading
from genpi_plugin.data.inputs.openai import with_answers
from genpi_plugin.errors import GenPIError

PARQUET = ".parquet"


@dataclass(frozen=True)
class Source:
    """Its items, what their numbers count, and which of their keys holds the input; "" where their
    keys say so.

    `from_json`: nulls were written, and do not fill columns up. `lines`: it is text, a line an
    input.
    """

    items: list[Item]
    unit: str
    column: str = ""
    from_json: bool = False
    lines: bool = False


def open_source(path: Path, reading: Reading) -> Source:
    """Read what there is, by the ending of its name, or as a dataset where it is no file.

    Raises:
        GenPIError: it can't be read, or an option does not go with it.
    """
    suffix = path.suffix.lower()
    if path.is_dir() or (reading.split and not path.exists()):
        return Source(tables.read_dataset(path, reading.split), "row", reading.column)
    if reading.split:
        raise GenPIError(f"{path} is a file, which has no splits.", "Leave out --input-split.")
    if suffix in tables.DELIMITERS:
        rows, column = tables.read_delimited(path, reading.column)
        return Source(rows, "row", column)
    if suffix == PARQUET:
        return Source(tables.read_parquet(path), "row", reading.column)
    unit, items = items_of(path)
    if suffix in JSON:
        return Source(with_answers(items), unit, reading.column, from_json=True)
    if reading.column:
        raise GenPIError(
            f"{path} is text, one input a line, and has no columns.",
            "Leave out --input-column, or give the file the ending of what it is: "
            ".csv, .tsv, .jsonl.",
        )
    return Source(items, unit, lines=True)
