"""The exported splits of a run's folder, read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synth.errors import SynthError


def split_files(folder: Path) -> dict[str, Path]:
    """The file of each split that was exported."""
    return {
        split: path
        for split in ("train", "test")
        for path in sorted((folder / "data").glob(f"{split}-*.parquet"))
    }


def split_sizes(folder: Path) -> dict[str, int]:
    """The number of rows of each split that was exported.

    Raises:
        SynthError: a file can't be read.
    """
    sizes = {}
    for split, path in split_files(folder).items():
        with _readable(path):
            sizes[split] = pq.read_metadata(path).num_rows
    return sizes


def read_split(path: Path) -> pa.Table:
    """A split's rows.

    Raises:
        SynthError: the file can't be read.
    """
    with _readable(path):
        return pq.read_table(path)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise SynthError(
            f"{path} can't be read: {error}", "Run the folder's command again: it writes it anew."
        ) from None
