"""Inputs in tables: CSV and TSV files, Parquet files, and datasets as `datasets` reads them."""

from __future__ import annotations

import csv
import io
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genpi_plugin.data.inputs.file import BOM, Item, text_of
from genpi_plugin.data.inputs.log import INPUT, LOGS
from genpi_plugin.errors import GenPIError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
# What other programs write between columns, and a header may show.
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
SAVED = ("state.json", "dataset_dict.json")


def read_delimited(path: Path, column: str) -> tuple[list[Item], str]:
    """The rows of a CSV or TSV file as mappings; its first row names columns.

    A cell may hold line breaks and separators within quotes. Rows without any cell are none.

    Args:
        path: the file.
        column: that of the inputs; "" takes the only one, or the one named `input`.

    Returns:
        the rows, and the key that holds the inputs; "" where the keys say so, in a file of logs.

    Raises:
        GenPIError: not in UTF-8, a quote that is not closed, or which column is meant is not said.
    """
    delimiter = DELIMITERS[path.suffix.lower()]
    limit = csv.field_size_limit(sys.maxsize)
    try:
        rows = [
            row
            for row in csv.reader(
                io.StringIO(text_of(path).lstrip(BOM)), delimiter=delimiter, strict=True
            )
            if row
        ]
    except csv.Error as error:
        raise GenPIError(
            f"The inputs file {path} can't be read as a table: {error}.",
            'A cell with a quote or a line break stands in quotes; a quote in it is doubled ("").',
        ) from None
    finally:
        csv.field_size_limit(limit)
    if not rows:
        return [], INPUT
    header = [name.strip() for name in rows[0]]
    named = _input_column(path, header, column, delimiter)
    key = named if named in LOGS else INPUT
    items = [_row(number, row, header, named, key) for number, row in enumerate(rows[1:], start=1)]
    return items, key if column or key == INPUT else ""


def read_parquet(path: Path) -> list[Item]:
    """The rows of a Parquet file.

    Raises:
        GenPIError: it can't be read.
    """
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return _items(pa.parquet.read_table(path).to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise GenPIError(
            f"The inputs file {path} can't be read as Parquet: {_first_line(error)}.",
            "Write it again, or give the inputs as JSON Lines.",
        ) from None


def read_dataset(path: Path, split: str) -> list[Item]:
    """The rows of a dataset: a folder that `save_to_disk` wrote, one with data files, or one on
    the hub.

    Args:
        path: the folder, or the name on the hub.
        split: which part of it; "" takes the only one.

    Raises:
        GenPIError: there is no such dataset or split, or which split is meant is not said.
    """
    import datasets

    known: Sequence[str] = ()
    try:
        # `datasets` knows a folder by its name, and would give the rows of another of that name.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
            if any((path / name).is_file() for name in SAVED):
                found = datasets.load_from_disk(str(path))
            elif path.is_dir():
                found = datasets.load_dataset(str(path), cache_dir=cache)
            else:
                return _items(datasets.load_dataset(str(path), split=split))
            if not isinstance(found, datasets.DatasetDict):
                found = datasets.DatasetDict({split or "train": found})
            known = list(found)
            if split or len(known) == 1:
                return _items(found[split or known[0]])
    except KeyError:
        pass
    except (
        OSError,
        ValueError,
        RuntimeError,  # a script, which is not run; a hub that can't be reached
        StopIteration,
        datasets.exceptions.DatasetsError,
    ) as error:
        raise GenPIError(
            f"The dataset {path} can't be read: {_first_line(error.__cause__ or error)}.",
            "Give the folder of a dataset, or its name on the hub with --input-split.",
        ) from None
    raise GenPIError(
        f"The dataset {path} has the splits {', '.join(known)}"
        + (f", and none named {split}." if split else "."),
        "Name one with --input-split.",
    )


def _input_column(path: Path, header: list[str], column: str, delimiter: str) -> str:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise GenPIError(
            f"{path} has two columns named {', '.join(repeated)}.", "Name each differently."
        )
    other = next((one for one in OTHER_DELIMITERS if one != delimiter and one in header[0]), "")
    if len(header) == 1 and other:
        raise GenPIError(
            f"{path} has one column, named {header[0]!r}: are there {OTHER_DELIMITERS[other]} "
            f"between its columns? A {path.suffix} file has {OTHER_DELIMITERS[delimiter]}.",
            f"Save it with {OTHER_DELIMITERS[delimiter]}, or rename the column.",
        )
    if column:
        if column not in header:
            raise GenPIError(
                f"{path} has no column {column!r}; its columns are {', '.join(header)}.",
                "Name one of them with --input-column.",
            )
        return column
    if len(header) == 1:
        return header[0]
    if INPUT in header:
        return INPUT
    raise GenPIError(
        f"{path} has the columns {', '.join(header)}, and none named `{INPUT}`.",
        "Say which holds the inputs: --input-column NAME.",
    )


def _row(number: int, row: list[str], header: list[str], column: str, key: str) -> Item:
    if len(row) != len(header):
        return Item(number, None, f"has {len(row)} cells, and the header names {len(header)}")
    cells = dict(zip(header, row, strict=True))
    text = cells.pop(column)
    if not text.strip():
        return Item(number, None, f"`{column}` is empty")
    return Item(number, {**cells, key: text})


def _items(rows: Iterable[Mapping[str, Any]]) -> list[Item]:
    return [Item(number, dict(row)) for number, row in enumerate(rows, start=1)]


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
