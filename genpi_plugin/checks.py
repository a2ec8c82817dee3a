"""Settings of an axolotl YAML that can't be combined with prompt internalization, with cures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from axolotl.integrations import base

from genpi_plugin.errors import ConfigError
from genpi_plugin.options import DATASET_KEYS, OPTIONS, PLUGINS, listed_plugins, used

DATASET_TYPE = "genpi_plugin.strategy"
PLUGIN = "genpi_plugin.GenPIPlugin"


def is_loaded(cfg: Mapping[str, Any]) -> bool:
    """Whether axolotl calls the plugin's hooks: the YAML lists it, or 0.21 found it installed."""
    installed: tuple[str, ...] = getattr(base, "get_builtin_plugins", tuple)()
    listed = [str(name).replace(":", ".") for name in cfg.get("plugins") or []]
    return PLUGIN in (*listed, *installed)


def check_config(cfg: Mapping[str, Any]) -> None:
    """Refuse what can't work, before any data or model is loaded.

    Args:
        cfg: the YAML as axolotl read it, with command-line options applied, not yet validated.

    Raises:
        ConfigError: names the key and the cure.
    """
    for key in ("datasets", "test_datasets"):
        for number, entry in enumerate(cfg.get(key) or []):
            _check_dataset(f"{key}[{number}]", entry)
    if not cfg.get("datasets"):
        raise ConfigError(
            "there is a `genpi:` block but no `datasets:`.",
            f"add\n    datasets:\n      - path: data/my-task\n        type: {DATASET_TYPE}",
        )
    plugins = listed_plugins(cfg)
    for folder, group in used(PLUGINS, plugins):
        if group.verdict == "refused":
            raise ConfigError(
                f"the plugin `{plugins[folder]}` can't be combined with `genpi:`: {group.why}.",
                "remove it from `plugins:`, or train without the `genpi:` block.",
            )
    for key, group in used(OPTIONS, cfg):
        if group.verdict == "refused":
            raise ConfigError(
                f"`{key}: {cfg[key]}` can't be combined with `genpi:`: {group.why}.",
                f"{group.cure or f'remove `{key}`'}.",
            )
    if cfg.get("adapter") and cfg.get("lisa_n_layers"):
        raise ConfigError(
            "`lisa_n_layers` with `adapter:` trains layers of the base, which no adapter holds.",
            "remove the `lisa_` options, or `adapter:`.",
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


def without_effect(cfg: Mapping[str, Any]) -> list[str]:
    """The options of a YAML that have no effect with a `genpi:` block: `key: value`, and why."""
    return [
        f"`{key}: {cfg[key]}` has no effect: {group.why}"
        for key, group in used(OPTIONS, cfg)
        if group.verdict == "no effect"
    ]


def _check_dataset(name: str, entry: Mapping[str, Any]) -> None:
    if entry.get("type") != DATASET_TYPE:
        raise ConfigError(
            f"`{name}` ({entry.get('path')}) has the type {entry.get('type')!r}.",
            f"with a `genpi:` block every dataset has `type: {DATASET_TYPE}`; remove the "
            "block to train on this data as usual.",
        )
    for key, group in used(DATASET_KEYS, entry):
        if group.verdict == "refused":
            raise ConfigError(
                f"`{name}.{key}: {entry[key]}` can't be combined with `type: {DATASET_TYPE}`: "
                f"{group.why}.",
                f"{group.cure}.",
            )


def check_distillation(cfg: Mapping[str, Any]) -> None:
    """Refuse settings that rule out a teacher.

    Raises:
        ConfigError: no adapter to switch off, or FSDP1.
    """
    if why := no_teacher(cfg):
        cause, cure = why
        raise ConfigError(
            f"`genpi.distill_weight` {cause}",
            f"{cure}; or learn from what the rows hold (`python -m synth run --logprobs 20`, "
            "`distill_from: rows`); or set `distill_weight: 0`.",
        )


def check_keeping(cfg: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse settings under which the model in training can't say what is to be kept.

    Args:
        settings: the `genpi:` block with its defaults filled in.

    Raises:
        ConfigError: no adapter to switch off, parameters that are sharded over processes, or a
            student that sees the prompt and is to keep to the teacher without it.
    """
    if why := no_teacher(cfg, writes=True):
        cause, cure = why
        raise ConfigError(f"`genpi.keep_weight` {cause}", f"{cure}, or set `keep_weight: 0`.")
    sees = settings["student_prompt"]
    if settings["keep"] == "teacher" and sees != "never":
        raise ConfigError(
            f"`genpi.keep: teacher` can't be combined with `student_prompt: {sees}`: on requests "
            "to keep, the student does without the prompt what the teacher does with it, and in "
            "the behaviour half it sees the prompt.",
            "set `student_prompt: never`, or `keep: floor`.",
        )


def check_source(source: str | None, distills: bool) -> None:
    """Refuse a source of distributions (`genpi.distill_from`) that nothing is learnt from.

    Raises:
        ConfigError: there is no distillation.
    """
    if source and not distills:
        raise ConfigError(
            f"`genpi.distill_from: {source}` has no effect with `distill_weight: 0`.",
            "set `distill_weight: 1`, or remove `distill_from`.",
        )


def check_teacher(cfg: Mapping[str, Any], who: str, asked: bool, source: str | None = None) -> None:
    """Refuse a teacher that is not there.

    Args:
        who: `genpi.teacher`.
        asked: whether there is anything to ask it: distillation, or requests to keep.
        source: `genpi.distill_from`.

    Raises:
        ConfigError: `start` without an adapter to start from, without anything to ask, or where
            the rows teach.
    """
    if who != "start":
        return
    if source == "rows":
        raise ConfigError(
            "`genpi.teacher: start` and `distill_from: rows` name two teachers.",
            "remove one of them: the rows' distributions are of the model that gave the answers.",
        )
    if not cfg.get("lora_model_dir"):
        raise ConfigError(
            "`genpi.teacher: start` needs `lora_model_dir:`; a new adapter does nothing before "
            "its first step, so its teacher is the base model.",
            "name the adapter that training starts from, or set `teacher: base`.",
        )
    if not asked:
        raise ConfigError(
            "`genpi.teacher: start` has no effect without distillation.",
            "set `distill_weight: 1`, or remove `teacher`.",
        )


def check_on_policy(cfg: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse settings that rule out learning from the student's own answers.

    Args:
        settings: the `genpi:` block with its defaults filled in.

    Raises:
        ConfigError: no teacher that can read along, a student that sees the prompt, or more epochs
            than the run has.
    """
    on_policy = settings["on_policy"]
    if on_policy is None:
        return
    if why := no_teacher(cfg, writes=True):
        cause, cure = why
        raise ConfigError(f"`genpi.on_policy` {cause}", f"{cure}, or remove `on_policy`.")
    if not settings["distill_weight"]:
        raise ConfigError(
            "`genpi.on_policy` has no effect with `distill_weight: 0`: the divergence from the "
            "teacher is all that is learned along the student's own answers.",
            "set `distill_weight: 1`, or remove `on_policy`.",
        )
    if settings["distill_from"] == "rows":
        raise ConfigError(
            "`genpi.on_policy` can't be combined with `distill_from: rows`: rows hold what the "
            "teacher held likely along its own answers, and nothing along the student's.",
            "set `distill_from: model`, or remove `on_policy`.",
        )
    if settings["teacher"] == "start":
        raise ConfigError(
            "`genpi.on_policy` can't be combined with `teacher: start`: the adapter that training "
            "starts from is gone when the student's answers are there to be read.",
            "set `teacher: base`, or remove `on_policy`.",
        )
    sees = settings["student_prompt"]
    if sees != "never":
        raise ConfigError(
            f"`genpi.on_policy` can't be combined with `student_prompt: {sees}`: the student "
            "answers without the prompt.",
            "set `student_prompt: never`, or remove `on_policy`.",
        )
    wanted, epochs = on_policy["epochs"], float(cfg.get("num_epochs") or 1)
    if wanted > epochs:
        raise ConfigError(
            f"`genpi.on_policy.epochs: {wanted:g}` is more than `num_epochs: {epochs:g}`.",
            f"set `epochs: {epochs:g}` or less, or raise `num_epochs`.",
        )


def no_teacher(cfg: Mapping[str, Any], writes: bool = False) -> tuple[str, str] | None:
    """Why the model in training can't be its own teacher, and the cure; None if it can.

    Args:
        writes: whether answers are written in training, too (`keep_weight`, `on_policy`). Where
            parameters are sharded all processes must call the model equally often. Those that read
            do (`teacher.in_step`); those that write would call it as often as their answers are
            long.
    """
    if not cfg.get("adapter"):
        return (
            "needs an adapter: the teacher is the same model with the adapter off.",
            "set `adapter: lora` (or qlora)",
        )
    sharded = shards_parameters(cfg)
    if writes and sharded:
        return (
            "can't be combined with FSDP or DeepSpeed ZeRO-3: writing answers needs the whole "
            "model on each process.",
            "use DDP or ZeRO-2",
        )
    if sharded and _fsdp_version(cfg) == "1":
        return (
            "can't be combined with FSDP1, which keeps the parameters in another form.",
            "set `fsdp_version: 2`, or use DDP or DeepSpeed",
        )
    return None


def shards_parameters(cfg: Mapping[str, Any]) -> bool:
    """Whether each process holds only a part of the parameters: FSDP, DeepSpeed ZeRO-3."""
    return bool(cfg.get("fsdp") or cfg.get("fsdp_config") or _zero_stage(cfg) == 3)


def _fsdp_version(cfg: Mapping[str, Any]) -> str:
    """As axolotl finds it, 1 where nothing says; empty without FSDP."""
    config = cfg.get("fsdp_config") or {}
    if not config and not cfg.get("fsdp"):
        return ""
    named = cfg.get("fsdp_version") or config.get("fsdp_version") or config.get("version")
    return str(named or 1)


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
