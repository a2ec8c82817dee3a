"""A folder with everything that a whole evaluation of a tiny model needs, and its settings."""

from __future__ import annotations

from pathlib import Path

import datasets
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from genpi_plugin.evaluation.measuring.context import Options
from genpi_plugin.evaluation.sections.catalog import SECTIONS
from genpi_plugin.evaluation.settings import Settings
from tests.genpi_plugin.rows_made import our_row

OTHERS = tuple(s.name for s in SECTIONS if s.name not in ("turns", "recitation"))


def save_rows(folder, split, numbers, turns=False):
    rows = [
        our_row(turns=1 + i % 2 if turns else 1, id=f"{split}{i}", input=f"{split}: shirt {i}")
        for i in numbers
    ]
    path = folder / "data" / "data" / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows).to_parquet(path)


def save_adapter(base, folder, seed=0, zeros=False):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", init_lora_weights=zeros)
    get_peft_model(model, config).save_pretrained(folder)


def settings(**changes):
    plain = {"config": "c.yml", "adapters": ("adapters/a",), "max_new_tokens": 12, "skip": OTHERS,
             "options": Options(recitals=0), "output": "report"}  # fmt: skip
    given = {**plain, **changes}
    given |= {"config": Path(given["config"]), "output": Path(given["output"])}
    given["adapters"] = tuple(Path(path) for path in given["adapters"])
    given["also_prompts"] = tuple(Path(path) for path in given.get("also_prompts", ()))
    return Settings(**given)
