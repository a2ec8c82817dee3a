"""The dataset in other forms, among them that of the official GenPI scripts."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from genpi_plugin.data.rows import OFFICIAL_NAMES
from synth.dataset.chats import FORMS, conversations
from synth.dataset.splits import read_batches, split_files
from synth.dataset.tops import nested
from synth.engines.messages import as_dicts, as_messages
from synth.errors import SynthError
from synth.store.rows import TOPS
from synth.task.templates import render_transcript
from synth.text import json_line

# Columns that the official datasets have not, and what can't be said there.
BEYOND = ("tools", "slots", "kept", "request")
FEW = 20  # rows that are Python's numbers at once
PLAIN_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def export_folder(
    folder: Path, output: Path, official: bool, form: str, with_prompt: bool = False
) -> dict[str, int]:
    """Write the splits of a run's folder to `output`: whole, or not at all.

    Args:
        folder: what `run` was given with -o.
        output: a folder that is not there yet.
        official: with the official field names, and the prompt as one text.
        form: "disk" (`datasets.load_from_disk`), "parquet" or "jsonl"; or plain conversations as
            JSON Lines, one of `chats.FORMS`.
        with_prompt: whether plain conversations begin with the prompt.

    Returns:
        The number of rows by split.

    Raises:
        SynthError: there is no dataset in `folder`, `output` is there, `datasets` is missing, or
            the forms don't go together, or a row holds what the form has no place for.
    """
    if official and form in FORMS:
        raise SynthError(
            f"The official scripts read no {form}.", "Leave out --official-schema, or --format."
        )
    if with_prompt and form not in FORMS:
        raise SynthError(
            f"--with-prompt is for plain conversations: --format {form} has the prompt in a field "
            "of its own.",
            f"Leave it out, or give --format {', '.join(FORMS)}.",
        )
    splits = split_files(folder)
    if not splits:
        raise SynthError(
            f"{folder} holds no dataset.",
            f"Give what you gave to `run` with -o; python -m synth status {folder} says how far "
            "its run is.",
        )
    if output.exists():
        raise SynthError(f"{output} is there already.", "Give another folder with -o.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f"{output.name}-", dir=output.parent, ignore_cleanup_errors=True
    ) as beside:
        whole = Path(beside) / "whole"
        rows = _write(splits, whole, official, form, with_prompt)
        whole.rename(output)
    return rows


def _write(
    splits: Mapping[str, Path], output: Path, official: bool, form: str, with_prompt: bool
) -> dict[str, int]:
    """Write the splits to a new folder; see `export_folder`."""
    made = {split: _tables(path, official) for split, path in splits.items()}
    if form == "disk":
        return _save_to_disk(made, output)
    output.mkdir()
    if form in FORMS:
        return {
            split: _write_lines(conversations(path, form, with_prompt), output / f"{split}.jsonl")
            for split, path in splits.items()
        }
    write = _write_parquet if form == "parquet" else _write_jsonl
    return {split: write(tables, output / f"{split}.{form}") for split, tables in made.items()}


def rows_without_reason(folder: Path) -> int:
    """How many rows of a run's dataset have no reason, or no floor output.

    Raises:
        SynthError: a file can't be read.
    """
    count = 0
    for path in split_files(folder).values():
        for table in read_batches(path):
            lacks = [pc.is_null(table[name]) for name in ("floor_output", "reason")]
            count += pc.sum(pc.or_(*lacks)).as_py() or 0
    return count


def official_table(table: pa.Table) -> pa.Table:
    """The table with the official names; the prompt becomes a transcript with markers.

    Raises:
        SynthError: a row holds what the official scripts know nothing of.
    """
    held = [name for name in BEYOND if table[name].null_count < len(table)]
    talks = [as_messages(turns) for turns in table["conversation"].to_pylist()]
    turns = [turn for talk in talks for turn in talk]
    held += ["tool_calls"] if any(turn.tool_calls for turn in turns) else []
    held += ["reasoning_content"] if any(turn.reasoning_content for turn in turns) else []
    if held:
        raise SynthError(
            f"The rows have {', '.join(held)}, which the official scripts know nothing of.",
            "Leave out --official-schema.",
        )
    contexts = [render_transcript(as_messages(prompt)) for prompt in table["prompt"].to_pylist()]
    columns: dict[str, Any] = {official: table[ours] for ours, official in OFFICIAL_NAMES.items()}
    columns["context"] = pa.array(contexts, pa.string())
    columns[OFFICIAL_NAMES["conversation"]] = pa.array(map(as_dicts, talks), PLAIN_TURNS)
    return pa.table(columns)


def _tables(path: Path, official: bool) -> Iterator[pa.Table]:
    """A split's rows in the form that is asked for, some hundreds at a time."""
    for table in read_batches(path, tops=not official):
        yield official_table(table) if official else table


def _write_parquet(tables: Iterator[pa.Table], path: Path) -> int:
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        return _write_all(writer, first, tables)


def _write_arrow(tables: Iterator[pa.Table], path: Path) -> int:
    first = next(tables)
    with pa.ipc.new_stream(path, first.schema) as writer:
        return _write_all(writer, first, tables)


def _write_all(writer: Any, first: pa.Table, rest: Iterator[pa.Table]) -> int:
    rows = 0
    for table in itertools.chain([first], rest):
        writer.write_table(table)
        rows += table.num_rows
    return rows


def _write_jsonl(tables: Iterator[pa.Table], path: Path) -> int:
    return _write_lines((row for table in tables for row in _as_python(table)), path)


def _as_python(table: pa.Table) -> Iterator[dict[str, Any]]:
    """A table's rows, a few at a time: the likeliest tokens take much memory as Python's
    numbers."""
    if TOPS[1] in table.column_names:
        # Not every version of Arrow makes Python's own numbers of halves.
        wide = table[TOPS[1]].cast(nested(pa.float32()))
        table = table.set_column(table.column_names.index(TOPS[1]), TOPS[1], wide)
    for begin in range(0, len(table), FEW):
        yield from table.slice(begin, FEW).to_pylist()


def _write_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as lines:
        for row in rows:
            lines.write(json_line(row))
            count += 1
    return count


def _save_to_disk(made: Mapping[str, Iterator[pa.Table]], output: Path) -> dict[str, int]:
    """Write what `datasets.load_from_disk` reads; by way of Arrow files beside `output`, which need
    no memory."""
    try:
        import datasets
    except ImportError:
        raise SynthError(
            "`--format disk` needs the library datasets.",
            "pip install 'axolotl-genpi[hub]', or use --format parquet.",
        ) from None
    datasets.disable_progress_bars()
    paths = {split: output.with_name(f"{split}.arrow") for split in made}
    rows = {split: _write_arrow(tables, paths[split]) for split, tables in made.items()}
    loaded = {split: datasets.Dataset.from_file(str(path)) for split, path in paths.items()}
    datasets.DatasetDict(loaded).save_to_disk(str(output))
    return rows
