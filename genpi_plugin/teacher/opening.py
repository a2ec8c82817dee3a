"""A run's teacher, and the store whose key is everything that its targets depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genpi_plugin.data import digests
from genpi_plugin.teacher.in_step import TeacherInStep, the_firsts
from genpi_plugin.teacher.mark import Mark
from genpi_plugin.teacher.targets import TargetStore
from genpi_plugin.teacher.teacher import Teacher

# Increase when the same model and rows would give different targets.
TARGETS_VERSION = 1
PREFIX = "genpi-teacher-"
# What the teacher's distributions depend on besides the tokens it reads.
MODEL_KEYS = ("base_model", "base_model_config", "revision_of_model", "type_of_model",
              "overrides_of_model_config", "overrides_of_model_kwargs", "model_quantization_config",
              "model_quantization_config_kwargs", "load_in_4bit", "load_in_8bit",
              "bnb_config_kwargs", "gptq", "bf16", "fp16", "bfloat16", "float16", "torch_dtype",
              "tokens", "added_tokens_overrides", "special_tokens",
              "resize_token_embeddings_to_32x", "shrink_embeddings", "mean_resizing_embeddings",
              "rope_theta", "rope_scaling", "peft_layer_replication", "trust_remote_code",
              "quantize_moe_experts", "fix_untrained_tokens")  # fmt: skip
# What the base model computes, beside the targets that were computed from it.
MARK_FILE = "base-model.safetensors"


def open_teacher(
    cfg: Any,
    top_k: int | None,
    who: str = "base",
    base: Mark | None = None,
    accelerator: Any = None,
    sharded: bool = False,
) -> Teacher:
    """The teacher of a training run, with a store beside its prepared data.

    Args:
        cfg: the axolotl config.
        top_k: tokens kept at each position; None keeps the whole vocabulary.
        who: `genpi.teacher`.
        base: of the base model before it had an adapter.
        accelerator: of several processes, which all take the first one's store.
        sharded: each process holds only a part of the parameters. `base` is not known then, and the
            model is told from others when it is first read.
    """
    key = model_digest(cfg, top_k)
    if who == "start":
        key = digests.of([key, start_digest(cfg)])
    folder = Path(cfg.dataset_prepared_path).parent / f"{PREFIX}{key}"
    # A training step holds activations of this many tokens, so without gradients they fit.
    budget = int(cfg.sequence_len) * int(cfg.micro_batch_size)
    if sharded:
        return TeacherInStep(
            TargetStore(folder), top_k, budget, who == "start", accelerator,
            lambda mark: TargetStore(_store_of(folder, mark, accelerator)),
        )  # fmt: skip
    if base is not None:
        folder = _store_of(folder, base, accelerator)
    return Teacher(TargetStore(folder), top_k, budget, who == "start", base)


def start_digest(cfg: Mapping[str, Any]) -> str:
    """The digest of the adapter in `lora_model_dir`; of its name where that is on a hub."""
    given = str(cfg["lora_model_dir"])
    return digests.of_adapter(Path(given)) or digests.of(given)


def model_digest(cfg: Mapping[str, Any], top_k: int | None) -> str:
    """16 hex digits for the base model as it is loaded, and for `top_k`.

    A model on a hub counts by name and revision; one in a local folder also by its files, so that
    the digest is the same on every node and changes with the weights.
    """
    folder = Path(str(cfg.get("base_model")))
    files = sorted(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
    facts = [
        TARGETS_VERSION,
        top_k,
        {key: cfg.get(key) for key in MODEL_KEYS},
        [(path.name, path.stat().st_size, digests.sample(path)) for path in files],
    ]
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _store_of(folder: Path, base: Mark, accelerator: Any) -> Path:
    """`folder`, or with a number behind its name where that holds another model's targets.

    Models with equal settings can still differ, in rows drawn for new tokens for one. The first
    process decides for all: rounding on another device is no other model.
    """
    number = 1
    if accelerator is None or accelerator.is_main_process:
        while (path := _numbered(folder, number) / MARK_FILE).is_file() and not base.is_of(path):
            number += 1
        if not path.is_file():
            base.save(path)
    return _numbered(folder, number if accelerator is None else the_firsts(number, accelerator))


def _numbered(folder: Path, number: int) -> Path:
    return folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
