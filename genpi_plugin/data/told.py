"""Whether every answer of a dataset has the teacher's distributions: known before rows are read.

Only the two columns are looked at, in local files; what is in them is checked with the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from genpi_plugin.data.distributions import FIELDS

SUFFIXES = (".parquet", ".jsonl", ".ndjson")


def all_told(entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all rows of all datasets have distributions for all their answers.

    Args:
        entries: of `datasets:` and `test_datasets:`. One that is no local Parquet or JSON Lines
            (on a hub, saved to disk) counts as without.
    """
    found = [_files(entry) for entry in entries]
    return bool(found) and all(files and all(map(_told, files)) for files in found)


def _files(entry: Mapping[str, Any]) -> list[Path]:
    """The files of a dataset's split, as far as names tell; empty where it is of another kind."""
    path = Path(str(entry.get("path")))
    named = entry.get("data_files")
    if path.is_file():
        files = [path]
    elif not path.is_dir():
        return []
    elif named:
        names = [named] if isinstance(named, str) else list(named)
        files = [found for name in names for found in (Path(name), path / name) if found.is_file()]
    else:
        data = path / "data" if (path / "data").is_dir() else path
        files = [each for each in sorted(data.rglob("*")) if each.suffix in SUFFIXES]
        split = str(entry.get("split") or "train").partition("[")[0]
        files = [each for each in files if each.name.startswith(split)] or files
    return files if all(each.suffix in SUFFIXES for each in files) else []


def _told(path: Path) -> bool:
    try:
        if path.suffix == ".parquet":
            return _told_in_parquet(path)
        with path.open(encoding="utf-8") as lines:
            return all(_told_in(json.loads(line)) for line in lines if line.strip())
    except (OSError, ValueError, pa.ArrowException):
        return False  # it is refused where it is read


def _told_in_parquet(path: Path) -> bool:
    if not set(FIELDS) <= set(pq.read_schema(path).names):
        return False
    table = pq.read_table(path, columns=list(FIELDS))
    return all(_all_filled(table[name].combine_chunks()) for name in FIELDS)


def _all_filled(rows: pa.Array) -> bool:
    """Whether each row has a list for each turn, with something in it."""
    if not pa.types.is_list(rows.type) and not pa.types.is_large_list(rows.type):
        return False
    turns = pc.list_flatten(rows)
    return all(_no_empty(each) for each in (rows, turns))


def _no_empty(lists: pa.Array) -> bool:
    least = pc.min(pc.list_value_length(lists)).as_py()
    return lists.null_count == 0 and bool(least)


def _told_in(row: Any) -> bool:
    values: Iterable[Any] = [row.get(name) for name in FIELDS] if isinstance(row, dict) else [None]
    return all(isinstance(value, list) and value and all(value) for value in values)
