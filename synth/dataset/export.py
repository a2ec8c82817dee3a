"""From the store to the dataset's files. The same rows give the same bytes."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synth.quality.dedup import NEAR, groups
from synth.store.folder import replace_file, replace_text
from synth.store.rows import STAGES, Row, to_record
from synth.store.store import Store
from synth.text import json_line

TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", TURNS),
        ("input", pa.string()),
        ("floor_output", pa.string()),
        ("teacher_output", pa.string()),
        ("reason", pa.string()),
        ("conversation", TURNS),
    ]
)
log = logging.getLogger("synth")
GROUP = 500  # rows in memory at once


def split_ids(
    ids: Sequence[str], share: float, seed: int, groups: Sequence[int] | None = None
) -> set[str]:
    """The ids of the test rows: the first `share` of an order that hashes and `seed` give.

    At least one of ten or more rows when `share` is above 0, and never all of them. Rows of one
    group go together: a group that no longer fits among the test rows is left to the others.

    Args:
        ids: of all rows.
        share: of the rows that are held out.
        seed: of the order.
        groups: a number for each row, the same for rows that must not be parted.
    """
    count = round(len(ids) * share)
    if share > 0 and len(ids) >= 10:
        count = max(count, 1)
    count = min(count, max(len(ids) - 1, 0))
    members: dict[int, list[str]] = {}
    for name, group in zip(ids, groups or range(len(ids)), strict=True):
        members.setdefault(group, []).append(name)

    def place(names: list[str]) -> str:
        return min(hashlib.sha256(f"{seed}:{name}".encode()).hexdigest() for name in names)

    test: set[str] = set()
    for names in sorted(members.values(), key=place):
        if len(test) + len(names) <= count:
            test.update(names)
    return test


def export_rows(store: Store, folder: Path, share: float, seed: int) -> dict[str, int]:
    """Write `data/{train,test}-00000-of-00001.parquet`, in order of position.

    Inputs that are near duplicates of each other are never parted by the split.

    Returns:
        The number of rows of each split; one without rows has no file.
    """
    data = folder / "data"
    data.mkdir(exist_ok=True)
    ids, inputs = [], []
    for row in store.rows():
        ids.append(row.id)
        inputs.append(row.input)
    together = groups(inputs, NEAR) if share else None
    test = split_ids(ids, share, seed, together)
    wanted = len(split_ids(ids, share, seed))
    if len(test) < wanted:
        log.warning(
            "%d of %d test rows: the other inputs have too many near duplicates, which must stay "
            "on one side of the split.", len(test), wanted
        )  # fmt: skip
    counts = {"train": len(ids) - len(test), "test": len(test)}
    for split, count in counts.items():
        path = data / f"{split}-00000-of-00001.parquet"
        if not count:
            path.unlink(missing_ok=True)
            continue
        rows = (row for row in store.rows() if (row.id in test) == (split == "test"))
        beside = path.with_name(path.name + ".tmp")
        with pq.ParquetWriter(beside, SCHEMA) as writer:
            for group in _groups(rows):
                records = [to_record(row) for row in group]
                writer.write_table(pa.Table.from_pylist(records, schema=SCHEMA))
        replace_file(beside, path)
    return {split: count for split, count in counts.items() if count}


def export_rejections(store: Store, path: Path, stages: Sequence[str] = STAGES) -> int:
    """Write what was rejected, one JSON object a line; the number.

    Each has its `stage`, `position`, `reason`, `detail`, under `made` what there was of it, and the
    `filter` that rejected it, where one did. They go by stage, in the order of `stages`.
    """
    lines = []
    for rejection in store.rejections(stages):
        record = asdict(rejection)
        if not rejection.filter:
            del record["filter"]
        lines.append(json_line(record))
    replace_text(path, "".join(lines))
    return len(lines)


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while group := list(itertools.islice(rows, GROUP)):
        yield group
