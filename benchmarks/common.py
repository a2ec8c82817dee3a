"""What the benchmarks of training share: their options, their model, their pairs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from genpi_plugin.args import GenPISettings
from genpi_plugin.chat import ChatView
from genpi_plugin.examples import Pair, make_pair
from genpi_plugin.rows import parse


def options_parser(doc: str | None, rows: int) -> argparse.ArgumentParser:
    """`DATASET --model MODEL --rows N`, described by a module's first line."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("dataset", type=Path, help="a .parquet or .jsonl file of rows")
    parser.add_argument("--model", required=True, help="a folder or a hub name")
    parser.add_argument(
        "--rows", type=int, default=rows, help=f"at most so many rows (default {rows})"
    )
    return parser


def load_model(name: str) -> Any:
    """The model with a LoRA adapter on all linear layers, in bfloat16."""
    base = AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16)
    torch.manual_seed(0)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    return get_peft_model(base, config).train()


def load_pairs(options: argparse.Namespace, settings: GenPISettings) -> list[Pair]:
    """The dataset's first rows as pairs; all of them when there are fewer than asked for."""
    kind = {".jsonl": "json"}.get(options.dataset.suffix, options.dataset.suffix.lstrip("."))
    raw = datasets.load_dataset(kind, data_files=str(options.dataset), split="train")
    raw = raw.select(range(min(options.rows, len(raw))))
    view = ChatView(AutoTokenizer.from_pretrained(options.model))
    rows = [parse(row, f"row {index}") for index, row in enumerate(raw)]
    return [make_pair(row, index, view, settings) for index, row in enumerate(rows)]
