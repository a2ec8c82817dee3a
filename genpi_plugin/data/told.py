"""Whether answers of a dataset have the teacher's distributions: before rows are read, and after.

Before, only the columns are looked at, in local files; what is in them is checked with the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from genpi_plugin.data.distributions import FIELDS
from genpi_plugin.data.row_targets import NOTHING, TARGET_TAIL
from genpi_plugin.errors import ConfigError

SUFFIXES = (".parquet", ".jsonl", ".ndjson")


def any_told(entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an answer of any of the datasets has distributions.

    Args:
        entries: of `datasets:`. One that is no local Parquet or JSON Lines (on a hub, saved to
            disk) counts as without.
    """
    return any(_told(file) for entry in entries for file in _files(entry))


def check_told(rows: Iterable[Mapping[str, Any]]) -> None:
    """Refuse to learn from distributions that no training row has.

    Args:
        rows: prepared ones; they are read up to the first with a distribution.

    Raises:
        ConfigError: there is none.
    """
    for row in rows:
        if (np.frombuffer(row[TARGET_TAIL], np.float32) > NOTHING).any():
            return
    raise ConfigError(
        "no training row has `top_ids` and `top_logprobs`, which `genpi: {distill_from: rows}` "
        "learns from.",
        "make the datasets with `python -m synth run --logprobs 20`, or set `distill_from: model`.",
    )


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
            return any(_told_in(json.loads(line)) for line in lines if line.strip())
    except (OSError, ValueError, pa.ArrowException):
        return False  # it is refused where it is read


def _told_in_parquet(path: Path) -> bool:
    with pq.ParquetFile(path) as file:
        if not set(FIELDS) <= set(file.schema_arrow.names):
            return False
        batches = file.iter_batches(columns=[FIELDS[0]])
        return any(_any_filled(batch.column(0)) for batch in batches)


def _any_filled(rows: pa.Array) -> bool:
    """Whether a turn of any row has a list with something in it."""
    if not pa.types.is_list(rows.type) and not pa.types.is_large_list(rows.type):
        return False
    turns = pc.list_flatten(rows)
    return bool(pc.max(pc.list_value_length(turns)).as_py())


def _told_in(row: Any) -> bool:
    turns = row.get(FIELDS[0]) if isinstance(row, dict) else None
    return isinstance(turns, list) and any(turns)
