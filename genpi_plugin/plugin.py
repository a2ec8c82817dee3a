"""axolotl's hooks, and nothing else."""

from __future__ import annotations

import os
from typing import Any

from axolotl.integrations.base import BasePlugin, PluginManager
from axolotl.utils.logging import get_logger

from genpi_plugin.args import KEEP_SETTINGS, parse_settings
from genpi_plugin.checks import (
    check_config,
    check_distillation,
    check_keeping,
    check_on_policy,
    check_source,
    check_teacher,
    shards_parameters,
    without_effect,
)
from genpi_plugin.data import templates
from genpi_plugin.data.prepared import fingerprint, isolate_datasets_cache, prepared_path
from genpi_plugin.data.told import check_told
from genpi_plugin.defaults import decide
from genpi_plugin.errors import ConfigError, plain_exit
from genpi_plugin.keeping.requests import OWN, read_requests
from genpi_plugin.on_policy.server import base_url
from genpi_plugin.training.cpu import (
    cpu_requested,
    shards,
    slow_bfloat16,
    training_arguments,
)

LOG = get_logger("axolotl.genpi")
TEACHERS = {
    "base": "the teacher is the base model with the prompt, without the adapter in {} that "
    "training starts from (genpi.teacher: base)",
    "start": "the teacher is the base model with the adapter in {}, as it is now, and the prompt "
    "(genpi.teacher: start)",
}
GREEN, RESET = "\033[32m", "\033[0m"


class GenPIPlugin(BasePlugin):
    """Prompt internalization. Without a `genpi:` block in the YAML it does nothing at all."""

    def __init__(self) -> None:
        super().__init__()
        # What the base model computes on fixed tokens, before it has an adapter.
        self.base: Any = None
        # Of the requests to keep, once they are known; a part of the manifest.
        self.kept: dict[str, Any] = {}

    def register(self, cfg: Any) -> None:
        """Check the YAML, and give this state of data and settings its own prepared folder."""
        if "genpi" not in cfg:
            return
        with plain_exit():
            if cfg["genpi"] is None:
                raise ConfigError("`genpi:` is empty.", "write `genpi: {}` for the defaults.")
            parse_settings(dict(cfg["genpi"]))
            check_config(cfg)
            for line in without_effect(cfg):
                LOG.info(f"genpi: {line}")
            templates.settle(cfg)
            settings = decide(cfg)
            if settings.has_teacher:
                check_distillation(cfg)
            if settings.keeps:
                check_keeping(cfg, settings.model_dump())
                if settings.keep_inputs != OWN:
                    read_requests(settings.keep_inputs)
            elif idle := [name for name in cfg["genpi"] if name in KEEP_SETTINGS]:
                LOG.warning(
                    f"genpi: {', '.join(idle)} without effect: `keep_weight` is 0, so there are no "
                    "requests to keep."
                )
            check_source(settings.distill_from, settings.distills)
            check_teacher(
                cfg, settings.teacher, settings.distills or settings.keeps, settings.distill_from
            )
            check_on_policy(cfg, settings.model_dump())
            if settings.on_policy and settings.on_policy.server:
                base_url(settings.on_policy.server)
            if cfg.get("gradient_checkpointing") and not cfg.get("gradient_checkpointing_kwargs"):
                # axolotl's default is reentrant; DDP does not allow that with two passes a step.
                cfg["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
            state = fingerprint(cfg, settings.model_dump())
            cfg["dataset_prepared_path"] = prepared_path(cfg.get("dataset_prepared_path"), state)
            isolate_datasets_cache(cfg)

    def get_input_args(self) -> str:
        return "genpi_plugin.GenPIArgs"

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:
        """Load nothing; correct the device map of several processes on CPU before the model loads.

        axolotl maps the model to the local rank as a device number, which a CPU does not have.
        """
        if _active(cfg) and cpu_requested():
            cfg["device_map"] = {"": "cpu"}

    def pre_model_load(self, cfg: Any) -> None:
        """Refuse plugins that would train otherwise. Draw the embeddings of new tokens from `seed`:
        with others, the teacher is another."""
        if not _active(cfg):
            return
        from genpi_plugin.training.precedence import check_other_plugins

        plugins = PluginManager.get_instance().plugins
        with plain_exit():
            check_other_plugins(
                cfg, {name: other for name, other in plugins.items() if other is not self}
            )
        _seed(cfg)

    def post_model_build(self, cfg: Any, model: Any) -> None:
        """Note how long a row the model reads, before axolotl writes `sequence_len` there."""
        if _active(cfg):
            from genpi_plugin.reading.context import note

            note(model)

    def pre_lora_load(self, cfg: Any, model: Any) -> None:
        """Draw a new adapter from `seed`, and note what the base model computes without one."""
        if not _active(cfg):
            return
        if not shards_parameters(cfg):
            from genpi_plugin.teacher.mark import mark_of

            self.base = mark_of(model)
        _seed(cfg)

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """The options that the joint loss needs for DDP, and `use_cpu` without an accelerator."""
        if not _active(cfg):
            return {}
        # Ranks may call the model unequally often in a step, and broadcasting buffers would
        # synchronize each call. A language model's buffers are constants.
        if slow := slow_bfloat16(cfg):
            LOG.warning(f"genpi: {slow}")
        return {"ddp_broadcast_buffers": False, **training_arguments(cfg)}

    def get_trainer_cls(self, cfg: Any) -> type | None:
        if not _active(cfg):
            return None
        from genpi_plugin.training.trainer import GenPITrainer

        return GenPITrainer

    def get_collator_cls_and_kwargs(self, cfg: Any, is_eval: bool = False) -> Any:
        if not _active(cfg):
            return None
        from genpi_plugin.training.collator import GenPICollator

        return GenPICollator, {}

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        if not _active(cfg):
            return
        from genpi_plugin.training.collator import GenPICollator
        from genpi_plugin.training.precedence import check_trainer
        from genpi_plugin.training.trained import check_lengths, check_trained
        from genpi_plugin.training.trainer import GenPITrainer

        with plain_exit():
            check_trainer(trainer, GenPITrainer, GenPICollator)
            trainer.sharded = shards_parameters(cfg)
            if not trainer.sharded:
                check_trained(trainer.model)
            check_lengths(
                trainer.model, trainer.train_dataset, trainer.eval_dataset, sharded=trainer.sharded
            )
            trainer.genpi = parse_settings(dict(cfg.genpi))
            if trainer.genpi.learns_from_rows:
                check_told(trainer.train_dataset)
        if trainer.accelerator.num_processes > 1:
            kind = trainer.accelerator.distributed_type.value
            LOG.info(f"genpi: {trainer.accelerator.num_processes} processes, {kind}")
            if shards(cfg) and kind == "MULTI_CPU":
                LOG.warning(
                    "genpi: asked for CPUs, accelerate leaves DeepSpeed and FSDP out: this is DDP"
                )
        unpacked = "padded" if trainer.sharded else "bucketed"
        trainer.layout = "packed" if cfg.sample_packing else unpacked
        from genpi_plugin.teacher.opening import open_teacher

        who, top_k = trainer.genpi.teacher, trainer.genpi.distill_top_k
        if trainer.genpi.has_teacher:
            if cfg.lora_model_dir:
                LOG.info(f"genpi: {TEACHERS[who].format(cfg.lora_model_dir)}")
            trainer.distill_from(
                open_teacher(cfg, top_k, who, self.base, trainer.accelerator, trainer.sharded)
            )
            if trainer.genpi.on_policy:
                from genpi_plugin.on_policy.opening import open_on_policy

                with plain_exit():
                    trainer.on_policy = open_on_policy(cfg, trainer.genpi.on_policy, trainer)
        if trainer.genpi.keeps:
            from genpi_plugin.keeping.opening import open_keeping

            top_k = trainer.genpi.keep_top_k
            reference = open_teacher(cfg, top_k, who, self.base, trainer.accelerator)
            with plain_exit():
                trainer.keeping = open_keeping(
                    cfg, trainer.genpi, trainer.processing_class, trainer.model, reference,
                    self.kept,
                )  # fmt: skip
        self.base = None

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        if not _active(cfg):
            return []
        from genpi_plugin.training.manifest import ManifestCallback, build_manifest

        manifest = build_manifest(cfg, len(trainer.train_dataset))
        if parse_settings(dict(cfg.genpi)).keeps:
            manifest["keep"] = self.kept
        return [ManifestCallback(manifest, cfg.resume_from_checkpoint)]

    def post_lora_merge(self, cfg: Any, adapter_path: str, output_path: str) -> None:
        """Put the adapter's manifest beside the merged model, which says what is in its weights."""
        from genpi_plugin.training.manifest import copy_manifest

        if copy_manifest(adapter_path, output_path):
            LOG.info(f"genpi: what was internalized is in {output_path}, too.")

    def post_train_unload(self, cfg: Any) -> None:
        """Log the next command. The process group is gone at this point, so rank 0 alone logs."""
        if not _active(cfg) or not cfg.adapter:
            return  # without an adapter to switch off there is nothing to evaluate against
        if cfg.axolotl_config_path and os.environ.get("RANK", "0") == "0":
            LOG.info(
                f"{GREEN}The adapter is in {cfg.output_dir}. What did it internalize? "
                f"axolotl genpi-eval {cfg.axolotl_config_path}{RESET}",
                main_process_only=False,
            )


def _seed(cfg: Any) -> None:
    """axolotl sets the seed later, and the state of the random numbers while a model loads depends
    on how training was launched."""
    import torch

    torch.manual_seed(42 if cfg.seed is None else cfg.seed)


def _active(cfg: Any) -> bool:
    return cfg.get("genpi") is not None
