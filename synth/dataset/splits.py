"""The exported splits of a run's folder, read and kept."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synth.dataset.holdout import draw_name
from synth.errors import SynthError
from synth.store.folder import read_config
from synth.store.rows import TOPS
from synth.store.store import Store

# The first `run.format` in synth.yaml whose stores record the splits.
RECORDED = 2
BATCH = 500  # rows in memory at once
log = logging.getLogger("synth")


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


def record_exported(folder: Path, store: Store) -> None:
    """Record the splits of a dataset whose version did not: its rows stay where they are.

    A file that can't be read is left out, with a warning: its rows are drawn anew.
    """
    config = read_config(folder)
    if config is None or config["run"].get("format", 1) >= RECORDED:
        return
    draw = draw_name(config["seed"], config["task"]["split"]["test"])
    for split, path in split_files(folder).items():
        try:
            with _readable(path):
                ids = pq.read_table(path, columns=["id"])["id"].to_pylist()
        except SynthError as error:
            log.warning("%s Its rows are drawn again for the split.", error.cause)
            continue
        store.record_splits(draw, dict.fromkeys(ids, split))


def read_batches(path: Path, tops: bool = False) -> Iterator[pa.Table]:
    """A split's rows, some hundreds at a time.

    Args:
        path: the split's file.
        tops: whether they come with the likeliest tokens, which are most of what a row takes.

    Raises:
        SynthError: the file can't be read.
    """
    with _readable(path), pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if tops or name not in TOPS]
        for batch in file.iter_batches(BATCH, columns=names):
            yield pa.Table.from_batches([batch])


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise SynthError(
            f"{path} can't be read: {error}", "Run the folder's command again: it writes it again."
        ) from None
