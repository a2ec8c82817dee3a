"""A folder as a training run leaves it, for the template command: model, rows, config, manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import yaml

from genpi_plugin.data.all_rows import parse_all
from genpi_plugin.data.prepared import describe_prompt
from tests.genpi_plugin.rows_made import our_row
from tests.tiny import save_tiny

SYSTEM = {"role": "system", "content": "You sell socks.\nNever name a price, {% if %} it is 'low'."}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "stock_of",
            "description": "How many pairs there are.",
            "parameters": {
                "type": "object",
                "properties": {"item": {"type": "string"}, "size": {"type": ["integer", "null"]}},
                "required": ["item"],
            },
        },
    },
    {"type": "function", "function": {"name": "basket", "parameters": {"type": "object"}}},
]


def make_place(
    folder: Path, rows: Sequence[dict[str, Any]] = (), template: str = "tools", **config: Any
) -> Path:
    """Write everything; returns the config's path. Without rows, there are two with tools."""
    save_tiny(folder / "tiny", template)
    plain = {"prompt": [SYSTEM], "tools": json.dumps(TOOLS), "prompt_id": "socks"}
    save_rows(folder, rows or [our_row(id=f"r{i}", input=f"{i} socks", **plain) for i in range(2)])
    settings = {
        "base_model": "tiny",
        "plugins": ["genpi_plugin.GenPIPlugin"],
        "genpi": {},
        "datasets": [{"path": "data", "type": "genpi_plugin.strategy"}],
        "output_dir": "out",
        "sequence_len": 2048,
        "adapter": "lora",
        "lora_r": 4,
        "lora_target_linear": True,
        "bf16": False,
        "tf32": False,
        "learning_rate": 1e-3,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "max_steps": 1,
        **config,
    }
    (folder / "c.yml").write_text(yaml.safe_dump(settings))
    return folder / "c.yml"


def save_rows(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as a dataset, and the manifest of an adapter that was trained on them."""
    path = folder / "data" / "data" / "train-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(list(rows)).to_parquet(path)
    prompts = {
        mark["sha256"]: mark
        for row in parse_all(rows, "rows")
        for mark in [describe_prompt(row.prompt_id, row.prompt, row.tools)]
    }
    (folder / "out").mkdir(exist_ok=True)
    manifest = {"manifest_version": 2, "prompts": list(prompts.values())}
    (folder / "out" / "genpi_manifest.json").write_text(json.dumps(manifest))
