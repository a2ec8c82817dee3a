"""From the store to the dataset's files. The same rows give the same bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synth.dataset.holdout import FIRST, draw_name, held_out
from synth.dataset.tops import IDS, LOGPROBS, nested, tops_columns
from synth.engines.base import Message
from synth.engines.messages import as_dicts
from synth.quality.dedup import NEAR, groups
from synth.store.folder import replace_file
from synth.store.rows import STAGES, TOPS, Row, to_record
from synth.store.store import Store
from synth.text import json_line

CALL = pa.struct(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())])),
    ]
)
TURNS = pa.list_(
    pa.struct(
        [
            ("role", pa.string()),
            ("content", pa.string()),
            ("reasoning_content", pa.string()),
            ("tool_calls", pa.list_(CALL)),
            ("tool_call_id", pa.string()),
            ("name", pa.string()),
        ]
    )
)
# One for every dataset, whatever its rows have: splits and datasets can be put together.
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", TURNS),
        ("tools", pa.string()),
        ("slots", pa.string()),
        ("kept", TURNS),
        ("request", TURNS),
        ("input", pa.string()),
        ("floor_output", pa.string()),
        ("teacher_output", pa.string()),
        ("reason", pa.string()),
        ("conversation", TURNS),
        ("token_ids", pa.list_(pa.list_(pa.int32()))),
        *((name, nested(of)) for name, of in zip(TOPS, (IDS, LOGPROBS), strict=True)),
        ("tokenizer", pa.string()),
    ]
)
log = logging.getLogger("synth")
GROUP = 500  # rows in memory at once, and in a row group: each of those holds a prompt once
# Of their texts, the prompt counted for each row, and bytes of the likeliest tokens.
GROUP_CHARACTERS = 64_000_000


def export_rows(
    store: Store,
    folder: Path,
    share: float,
    seed: int,
    heads: Sequence[int] | None = None,
    whole: bool = True,
) -> dict[str, int]:
    """Write `data/{train,test}-00000-of-00001.parquet`, in order of position.

    Inputs that are near duplicates of each other are not parted by the split, and rows that were
    exported before stay on their side of it.

    Args:
        store: holds the rows.
        folder: the dataset's.
        share: of the rows that are held out.
        seed: of that draw.
        heads: for each row the number of the first row of its group of near duplicates; looked for
            by default.
        whole: whether this is the dataset as it will be. If so, each row's split is recorded; rows
            that are still to come could be the first of a group.

    Returns:
        The number of rows of each split; one without rows has no file.
    """
    data = folder / "data"
    data.mkdir(exist_ok=True)
    ids, positions = store.row_ids(), store.row_positions()
    if share and heads is None:
        heads = groups([row.input for row in store.rows()], NEAR)
    draw = draw_name(seed, share)
    test = held_out(ids, share, seed, heads if share else None, store.splits(draw), positions)
    if share and len(ids) >= FIRST and not test:
        log.warning(
            "No test rows: the inputs have too many near duplicates, or are out of too few logs, "
            "and these must stay on one side of the split."
        )
    if whole:
        splits = {name: "test" if name in test else "train" for name in ids}
        store.record_splits(draw, splits)
    counts = {"train": len(ids) - len(test), "test": len(test)}
    for split, count in counts.items():
        path = data / f"{split}-00000-of-00001.parquet"
        if not count:
            path.unlink(missing_ok=True)
            continue
        rows = (row for row in store.rows(tops=True) if (row.id in test) == (split == "test"))
        beside = path.with_name(path.name + ".tmp")
        with pq.ParquetWriter(beside, SCHEMA) as writer:
            for group in _groups(rows):
                writer.write_table(_table(group))
        replace_file(beside, path)
    return {split: count for split, count in counts.items() if count}


def export_rejections(store: Store, path: Path, stages: Sequence[str] = STAGES) -> int:
    """Write what was rejected, one JSON object a line; the number.

    Each has its `stage`, `position`, `reason`, `detail`, under `made` what there was of it, and the
    `filter` that rejected it, where one did; and `kept` where the row is in the dataset, without
    its reason. They go by stage, in the order of `stages`.
    """
    count = 0
    beside = path.with_name(path.name + ".tmp")
    with beside.open("w", encoding="utf-8", newline="\n") as lines:
        for rejection in store.rejections(stages):
            record = asdict(rejection)
            record = {name: value for name, value in record.items()
                      if value or name not in ("filter", "kept")}  # fmt: skip
            lines.write(json_line(record))
            count += 1
    replace_file(beside, path)
    return count


def _table(rows: Sequence[Row]) -> pa.Table:
    """The rows' columns; Arrow repeats the prompt, which takes less memory than from Python."""
    prompts: dict[tuple[Message, ...], int] = {}
    which = [prompts.setdefault(row.prompt, len(prompts)) for row in rows]
    repeated = pa.array(map(as_dicts, prompts), TURNS).take(pa.array(which))
    records = [to_record(replace(row, prompt=(), tops=())) for row in rows]
    table = pa.Table.from_pylist(records, schema=SCHEMA)
    made = zip(("prompt", *TOPS), (repeated, *tops_columns(rows)), strict=True)
    for name, column in made:
        table = table.set_column(SCHEMA.get_field_index(name), SCHEMA.field(name), column)
    return table


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """The rows in lists of at most `GROUP`, or of fewer and at most so many characters."""
    group: list[Row] = []
    characters = 0
    for row in rows:
        size = _characters(row)
        if len(group) == GROUP or (group and characters + size > GROUP_CHARACTERS):
            yield group
            group, characters = [], 0
        group.append(row)
        characters += size
    if group:
        yield group


def _characters(row: Row) -> int:
    texts = (row.input, row.floor_output, row.teacher_output, row.reason, row.tools)
    turns = (*row.prompt, *row.request, *row.conversation)
    tops = sum(len(one.ids) + len(one.logprobs) for one in row.tops if one is not None)
    return sum(map(len, texts)) + sum(len(turn.content) for turn in turns) + tops
