"""The upfront cost: what synthesis and training took, as far as their files record it."""

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
class UpfrontCost:
    """Seconds of wall clock and FLOPs; None where they are unknown.

    `note` says where the figures come from, or what is missing. In `metrics.json` and in the
    manifest this is called `spent`.
    """

    seconds: float | None
    flops: float | None
    note: str


def synthesis_cost(folder: Path, base_model: str, shape: ModelShape | None) -> UpfrontCost:
    """The cost of making the dataset in `folder`, all its runs together.

    Seconds are those of its run.json. FLOPs follow from the tokens of every answer in its store,
    each request read in full; less where the engine reused a prefix.

    Args:
        base_model: FLOPs are known for this model alone.
        shape: its shape.
    """
    seconds, note = _recorded_seconds(folder / RECORD)
    flops, why = _stored_flops(folder, base_model, shape)
    return UpfrontCost(seconds, flops, f"{note}; {why}")


def training_cost(adapter: Path) -> UpfrontCost:
    """The cost of training the adapter, from its manifest.

    FLOPs are the Trainer's estimate: 6 x parameters x tokens; with LoRA it is nearer to 4.
    """
    record = (read_manifest(adapter) or {}).get("spent")
    if not record:
        return UpfrontCost(None, None, f"{adapter} has no manifest that records its training time")
    processes = record.get("processes", 1)
    several = f", {processes} processes" if processes > 1 else ""
    return UpfrontCost(
        record["seconds"], record.get("flops") or None, f"the adapter's manifest{several}; "
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
        return None, "FLOPs unknown: the model's FLOPs can't be computed"
    config_used = yaml.safe_load(config.read_text(encoding="utf-8"))
    models = {str((config_used.get(role) or {}).get("model")) for role in ("target", "generator")}
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
