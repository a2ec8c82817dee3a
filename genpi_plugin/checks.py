"""Settings of an axolotl YAML that can't be combined with prompt internalization, with cures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genpi_plugin.errors import ConfigError

DATASET_TYPE = "genpi_plugin.strategy"

# When true, these change what a batch is; the joint loss needs whole pairs.
IMPOSSIBLE = {
    "rl": "it trains on preferences or rollouts, GenPI on pairs of halves",
    "reward_model": "it trains a reward model",
    "process_reward_model": "it trains a reward model",
    "streaming": "pairs are checked and counted before training begins",
    "pretraining_dataset": "GenPI needs instruction data made by `python -m synth`",
    "train_on_inputs": "the loss is on the teacher's answers and on the prompt's recital alone",
    "batch_flattening": "the plugin lays out its batches itself (see `sample_packing`)",
}


def check_config(cfg: Mapping[str, Any]) -> None:
    """Refuse what can't work, before any data or model is loaded.

    Args:
        cfg: the YAML as axolotl read it, with command-line options applied, not yet validated.

    Raises:
        ConfigError: names the key and the cure.
    """
    for key in ("datasets", "test_datasets"):
        for number, entry in enumerate(cfg.get(key) or []):
            if entry.get("type") != DATASET_TYPE:
                raise ConfigError(
                    f"`{key}[{number}]` ({entry.get('path')}) has the type {entry.get('type')!r}.",
                    f"with a `genpi:` block every dataset has `type: {DATASET_TYPE}`; remove the "
                    "block to train on this data as usual.",
                )
    if not cfg.get("datasets"):
        raise ConfigError(
            "there is a `genpi:` block but no `datasets:`.",
            f"add\n    datasets:\n      - path: data/my-task\n        type: {DATASET_TYPE}",
        )
    for key, why in IMPOSSIBLE.items():
        if cfg.get(key):
            raise ConfigError(
                f"`{key}: {cfg[key]}` can't be combined with `genpi:`: {why}.", f"remove `{key}`."
            )
    if int(cfg.get("context_parallel_size") or 1) > 1:
        raise ConfigError(
            "`context_parallel_size` above 1 can't be combined with `genpi:`: it would cut "
            "a batch anywhere, even inside a half.",
            "remove it; pairs are short enough for one device, or use data parallelism.",
        )
    limit = cfg.get("eval_sequence_len")
    if limit and cfg.get("sequence_len") and int(limit) < int(cfg["sequence_len"]):
        raise ConfigError(
            f"`eval_sequence_len: {limit}` is below `sequence_len`: axolotl drops longer rows.",
            "remove `eval_sequence_len`.",
        )
    reentrant = (cfg.get("gradient_checkpointing_kwargs") or {}).get("use_reentrant")
    if (
        cfg.get("gradient_checkpointing")
        and reentrant
        and int(os.environ.get("WORLD_SIZE", "1")) > 1
    ):
        raise ConfigError(
            "`gradient_checkpointing_kwargs: {use_reentrant: true}` fails on more than one process "
            "with two forward passes a step.",
            "remove it: with a `genpi:` block the default is `use_reentrant: false`.",
        )


def check_distillation(cfg: Mapping[str, Any]) -> None:
    """Refuse settings that rule out a teacher.

    Raises:
        ConfigError: no adapter to switch off, or parameters that are sharded over processes.
    """
    if why := no_teacher(cfg):
        cause, cure = why
        raise ConfigError(f"`genpi.distill_weight` {cause}", f"{cure}, or set `distill_weight: 0`.")


def no_teacher(cfg: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why the model in training can't be its own teacher, and the cure; None if it can."""
    if not cfg.get("adapter"):
        return (
            "needs an adapter: the teacher is the same model with the adapter off.",
            "set `adapter: lora` (or qlora)",
        )
    if shards_parameters(cfg):
        return (
            "can't be combined with FSDP or DeepSpeed ZeRO-3: the teacher needs the whole model on "
            "each process.",
            "use DDP or ZeRO-2",
        )
    return None


def shards_parameters(cfg: Mapping[str, Any]) -> bool:
    """Whether each process holds only a part of the parameters: FSDP, DeepSpeed ZeRO-3."""
    return bool(cfg.get("fsdp") or cfg.get("fsdp_config") or _zero_stage(cfg) == 3)


def _zero_stage(cfg: Mapping[str, Any]) -> int | None:
    given = cfg.get("deepspeed")
    if isinstance(given, str) and Path(given).is_file():
        try:
            given = json.loads(Path(given).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"`deepspeed: {given}` is not JSON: {error}.", "correct the file."
            ) from error
    return (given.get("zero_optimization") or {}).get("stage") if isinstance(given, dict) else None
