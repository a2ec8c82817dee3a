"""The dataset in other forms, among them that of the official GenPI scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synth.dataset.splits import read_split, split_files
from synth.errors import SynthError
from synth.store.rows import as_messages
from synth.task.templates import render_transcript
from synth.text import json_line

# Our field -> the official one; `id` has none.
OFFICIAL = {
    "prompt_id": "context_id",
    "prompt": "context",
    "input": "pseudo_input",
    "floor_output": "student_output_single",
    "teacher_output": "teacher_output_single",
    "reason": "reason",
    "conversation": "teacher_output_conv",
}


def export_folder(folder: Path, output: Path, official: bool, form: str) -> dict[str, int]:
    """Write the splits of a run's folder to `output`.

    Args:
        folder: what `run` was given with -o.
        output: a folder that is not there yet.
        official: with the official field names, and the prompt as one text.
        form: "disk" (`datasets.load_from_disk`), "parquet" or "jsonl".

    Returns:
        The number of rows by split.

    Raises:
        SynthError: there is no dataset in `folder`, `output` is there, or `datasets` is missing.
    """
    splits = split_files(folder)
    if not splits:
        raise SynthError(
            f"{folder} holds no dataset.",
            f"Give what you gave to `run` with -o; python -m synth status {folder} says how far "
            "its run is.",
        )
    if output.exists():
        raise SynthError(f"{output} is there already.", "Give another folder with -o.")
    tables = {split: read_split(path) for split, path in splits.items()}
    if official:
        tables = {split: official_table(table) for split, table in tables.items()}
    if form == "disk":
        _save_to_disk(tables, output)
    else:
        output.mkdir(parents=True)
        for split, table in tables.items():
            if form == "parquet":
                pq.write_table(table, output / f"{split}.parquet")
            else:
                text = "".join(json_line(row) for row in table.to_pylist())
                (output / f"{split}.jsonl").write_text(text, encoding="utf-8", newline="\n")
    return {split: table.num_rows for split, table in tables.items()}


def official_table(table: pa.Table) -> pa.Table:
    """The table with the official names; the prompt becomes a transcript with markers."""
    contexts = [render_transcript(as_messages(prompt)) for prompt in table["prompt"].to_pylist()]
    columns: dict[str, Any] = {official: table[ours] for ours, official in OFFICIAL.items()}
    columns["context"] = pa.array(contexts, pa.string())
    return pa.table(columns)


def _save_to_disk(tables: dict[str, pa.Table], output: Path) -> None:
    try:
        import datasets
    except ImportError:
        raise SynthError(
            "`--format disk` needs the library datasets.",
            "pip install 'axolotl-genpi[hub]', or use --format parquet.",
        ) from None
    datasets.disable_progress_bars()
    made = {split: datasets.Dataset(table) for split, table in tables.items()}
    datasets.DatasetDict(made).save_to_disk(str(output))
