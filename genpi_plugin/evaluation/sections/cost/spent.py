"""What synthesis and training took, from what they left behind; unknown where they left nothing."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from genpi_plugin.evaluation.sections.cost.flops import ModelShape
from genpi_plugin.training.manifest import read_manifest

# What the synthesizer keeps up to date beside the data.
RECORD = "run.json"


@dataclass(frozen=True)
class Spent:
    """Seconds of wall clock and FLOPs that something took; None where nothing says so.

    `note` says where the figures come from, or what is missing.
    """

    seconds: float | None
    flops: float | None
    note: str


def synthesis_spent(folder: Path, base_model: str, shape: ModelShape | None) -> Spent:
    """What making the dataset in `folder` took, all runs in it together.

    Seconds are those of its run.json. FLOPs follow from the tokens of every answer in its store,
    each request read in full; a prefix that the engine reused makes it less.

    Args:
        base_model: FLOPs are known of this model alone.
        shape: its shape.
    """
    seconds, note = _recorded_seconds(folder / RECORD)
    flops, why = _stored_flops(folder, base_model, shape)
    return Spent(seconds, flops, f"{note}; {why}")


def training_spent(adapter: Path) -> Spent:
    """What training the adapter took, from its manifest.

    FLOPs are the Trainer's estimate: 6 x parameters x tokens; with LoRA it is nearer to 4.
    """
    spent = (read_manifest(adapter) or {}).get("spent")
    if not spent:
        return Spent(None, None, f"{adapter} has no manifest that says what training took")
    processes = spent.get("processes", 1)
    several = f", {processes} processes" if processes > 1 else ""
    return Spent(
        spent["seconds"], spent.get("flops") or None, f"the adapter's manifest{several}; "
        "FLOPs: the Trainer's estimate",
    )  # fmt: skip


def _recorded_seconds(record: Path) -> tuple[float | None, str]:
    try:
        run = json.loads(record.read_text(encoding="utf-8"))
        return float(run["seconds"]), f"{run['runs']} run(s) in {record}"
    except FileNotFoundError:
        return None, f"seconds unknown: no {record}"
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        return None, f"seconds unknown: {record} can't be read ({error!r})"


def _stored_flops(
    folder: Path, base_model: str, shape: ModelShape | None
) -> tuple[float | None, str]:
    store, config = folder / "store.sqlite", folder / "synth.yaml"
    if not store.is_file() or not config.is_file():
        return None, f"FLOPs unknown: {folder} lacks store.sqlite or synth.yaml"
    if shape is None:
        return None, "FLOPs unknown: the model's are"
    made_with = yaml.safe_load(config.read_text(encoding="utf-8"))
    models = {str((made_with.get(role) or {}).get("model")) for role in ("target", "generator")}
    if models != {base_model}:
        others = ", ".join(sorted(models - {base_model}))
        return None, f"FLOPs unknown: {others} is not the model evaluated, {base_model}"
    try:
        lengths = _answer_lengths(store)
    except (sqlite3.Error, KeyError, TypeError, ValueError) as error:
        return None, f"FLOPs unknown: {store} can't be read ({error})"
    if not all(prompt for prompt, _ in lengths):
        return None, f"FLOPs unknown: {store} has answers without token counts"
    total = sum(
        shape.flops(prompt) + shape.decode_flops(prompt, max(written - 1, 0))
        for prompt, written in lengths
    )
    return float(total), f"FLOPs of the {len(lengths)} answers in {store}, each request read whole"


def _answer_lengths(store: Path) -> Sequence[tuple[int, int]]:
    with contextlib.closing(
        sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)
    ) as db:
        answers = [json.loads(text) for (text,) in db.execute("SELECT answer FROM answers")]
    return [(answer["prompt_tokens"], answer["completion_tokens"]) for answer in answers]
