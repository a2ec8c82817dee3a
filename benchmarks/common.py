"""What the benchmarks share: options, model, pairs and the training."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import Pair, make_pairs
from genpi_plugin.data.rows import Row, parse
from genpi_plugin.training.cpu import gains_by_bfloat16


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
    return new_adapter(base, seed=0).train()


def load_base(name: str) -> Any:
    """A base model: in bfloat16 where that is quicker here, else in float32."""
    dtype = torch.bfloat16 if gains_by_bfloat16() else torch.float32
    return AutoModelForCausalLM.from_pretrained(name, dtype=dtype)


def load_task(folder: Path, count: int) -> tuple[list[Row], dict[str, Any]]:
    """The first training rows of a folder that `python -m synth run` has made, and its task."""
    raw = datasets.load_dataset(str(folder), split="train")
    rows = [parse(row, f"row {index}") for index, row in enumerate(raw)][:count]
    return rows, yaml.safe_load((folder / "synth.yaml").read_text(encoding="utf-8"))["task"]


def load_pairs(options: argparse.Namespace, settings: GenPISettings) -> list[Pair]:
    """The dataset's first rows as pairs; all of them when there are fewer than asked for."""
    kind = {".jsonl": "json"}.get(options.dataset.suffix, options.dataset.suffix.lstrip("."))
    raw = datasets.load_dataset(kind, data_files=str(options.dataset), split="train")
    raw = raw.select(range(min(options.rows, len(raw))))
    view = ChatView(AutoTokenizer.from_pretrained(options.model))
    rows = [parse(row, f"row {index}") for index, row in enumerate(raw)]
    return make_pairs(rows, view, settings)


def train_adapter(
    model: Any,
    pairs: Sequence[Pair],
    settings: GenPISettings,
    seed: int,
    epochs: int,
    callbacks: Sequence[Any] = (),
    learning_rate: float = 1e-3,
    accumulation: int = 2,
) -> int:
    """Train a new adapter with the plugin's own trainer; returns the steps.

    Args:
        model: with a fresh adapter, see `new_adapter`.
        callbacks: the trainer's.
        accumulation: rows a step, halved.
    """
    from axolotl.core.training_args import AxolotlTrainingArguments

    from genpi_plugin.teacher.targets import TargetStore
    from genpi_plugin.teacher.teacher import Teacher
    from genpi_plugin.training.collator import GenPICollator
    from genpi_plugin.training.trainer import GenPITrainer

    with tempfile.TemporaryDirectory() as folder:
        trainer = GenPITrainer(
            model=model,
            args=AxolotlTrainingArguments(
                output_dir=folder, seed=seed, num_train_epochs=epochs,
                learning_rate=learning_rate,
                per_device_train_batch_size=2, gradient_accumulation_steps=accumulation,
                lr_scheduler_type="cosine", warmup_steps=2, max_grad_norm=0.5,
                bf16=model.dtype == torch.bfloat16,
                use_cpu=not torch.cuda.is_available(), report_to=[], logging_steps=1000,
                save_strategy="no", disable_tqdm=True,
            ),
            train_dataset=datasets.Dataset.from_list([pair.columns() for pair in pairs]),
            data_collator=GenPICollator(None),
            callbacks=list(callbacks),
        )  # fmt: skip
        trainer.genpi = settings
        trainer.layout = "bucketed"
        if settings.has_teacher:
            store = TargetStore(Path(folder) / "targets")
            trainer.distill_from(Teacher(store, settings.distill_top_k, token_budget=8192))
        trainer.train()
        return trainer.state.global_step


def new_adapter(base: Any, seed: int) -> Any:
    """The base model with a fresh LoRA adapter; `unload()` gives the base back as it was."""
    torch.manual_seed(seed)
    return get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))


@contextlib.contextmanager
def quiet(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """An evaluation's progress, not shown."""
    yield lambda count: None
