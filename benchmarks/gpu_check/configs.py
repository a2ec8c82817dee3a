"""The YAML files of the trainings that `trainings` runs, and what each needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.gpu_check.checks import Machine, Skipped
from benchmarks.gpu_check.packages import need, need_capability, need_compiler, need_gpu

# All rows are one step, however they are packed.
STEPS, ROWS, MICRO_BATCH = 3, 12, 2
PLAIN = "plain"
LIGER = "axolotl.integrations.liger.LigerPlugin"
CCE = "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"
LORA_KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel")
QLORA = {"adapter": "qlora", "load_in_4bit": True}
SHARE = {"prompt_generation_share": 0.5, "keep_weight": 0.0}
BASE: dict[str, Any] = {
    "plugins": ["genpi_plugin.GenPIPlugin"],
    "genpi": SHARE,
    "sequence_len": 2048,
    "adapter": "lora",
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.0,
    "lora_target_linear": True,
    **dict.fromkeys((*LORA_KERNELS, "lora_embedding_kernel"), False),
    "attn_implementation": "sdpa",
    "bf16": False,
    "tf32": False,
    "dataset_num_proc": 1,
    "optimizer": "adamw_torch",
    "learning_rate": 1e-3,
    "lr_scheduler": "constant",
    "micro_batch_size": MICRO_BATCH,
    "gradient_accumulation_steps": ROWS // MICRO_BATCH,
    "max_steps": STEPS,
    "save_steps": STEPS,
    "logging_steps": 1,
    "seed": 1,
}


@dataclass(frozen=True)
class Training:
    """One `axolotl train`.

    Attributes:
        changes: of the YAML.
        like: the training whose losses it has to have; its own kind where it is empty.
        module: that it needs beside axolotl.
        on_cpu: whether a CPU can.
        least: compute capability.
        compiles: needs a C compiler.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    like: str = PLAIN
    module: str = ""
    on_cpu: bool = False
    least: tuple[int, int] = (7, 0)
    compiles: bool = False

    @property
    def precision(self) -> str:
        return "bfloat16" if self.changes.get("bf16") else "float32"


def _data(file: str) -> list[dict[str, Any]]:
    return [{"path": file, "ds_type": "json", "type": "genpi_plugin.strategy", "split": "train"}]


def _bf16(changes: dict[str, Any] | None = None, **more: Any) -> Training:
    return Training({"bf16": True, **(changes or {})}, least=(8, 0), **more)


TRAININGS: dict[str, Training] = {
    PLAIN: Training(on_cpu=True, like=""),
    "sample packing": Training({"sample_packing": True}, on_cpu=True),
    # Without labels, the loss has the same parts before the steps on policy and in them.
    "on policy": Training(
        {"genpi": {**SHARE, "sft_weight": 0.0, "on_policy": {"max_new_tokens": 16}}}, like=""
    ),
    "keep_weight": Training({"genpi": {**SHARE, "keep_weight": 1.0, "keep_tokens": 16}}, like=""),
    "distributions of the rows": Training(
        {"genpi": {**SHARE, "distill_from": "rows"}, "datasets": _data("told.jsonl")}, like=""
    ),
    "gradient checkpointing": Training({"gradient_checkpointing": True}),
    "gradient checkpointing, reentrant": Training(
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
    ),
    "axolotl's LoRA kernels": Training(dict.fromkeys(LORA_KERNELS, True), compiles=True),
    "Liger's kernels": Training(
        {"plugins": ["genpi_plugin.GenPIPlugin", LIGER], "liger_rope": True,
         "liger_rms_norm": True, "liger_glu_activation": True,
         "liger_fused_linear_cross_entropy": True},
        module="liger_kernel", compiles=True,
    ),
    "torch_compile": Training({"torch_compile": True}, compiles=True),
    "flex attention, sample packing": Training(
        {"attn_implementation": "flex_attention", "sample_packing": True}, compiles=True
    ),
    "bf16": _bf16(),
    "bf16, sample packing": _bf16({"sample_packing": True}, like="bf16"),
    "bf16, cut cross entropy": _bf16(
        {"plugins": ["genpi_plugin.GenPIPlugin", CCE], "cut_cross_entropy": True},
        like="bf16", module="cut_cross_entropy", compiles=True,
    ),
    "bf16, flash attention 2, sample packing": _bf16(
        {"attn_implementation": "flash_attention_2", "sample_packing": True},
        like="bf16", module="flash_attn",
    ),
    "bf16, QLoRA": _bf16(QLORA, like="", module="bitsandbytes"),
    "bf16, QLoRA as in the recipes": _bf16(
        {**QLORA, "gradient_checkpointing": True, "optimizer": "paged_adamw_32bit",
         "sample_packing": True, **dict.fromkeys(LORA_KERNELS, True)},
        like="bf16, QLoRA", module="bitsandbytes", compiles=True,
    ),
}  # fmt: skip


def config_of(training: Training, output: str) -> dict[str, Any]:
    """The YAML of a training in a place that `make_place` made."""
    return {
        "base_model": "model",
        "datasets": _data("rows.jsonl"),
        "output_dir": output,
        **BASE,
        **training.changes,
    }


def need_for(training: Training, machine: Machine) -> None:
    """
    Raises:
        Skipped: the machine has not what the training needs.
    """
    need("axolotl")
    if not training.on_cpu:
        need_gpu(machine.gpu, "the training")
    if machine.gpu:
        need_capability(training.least, "the training")
    if training.module:
        need(training.module)
    if training.compiles:
        need_compiler()


def can(training: Training, machine: Machine) -> bool:
    """Whether the machine has what the training needs."""
    try:
        need_for(training, machine)
    except Skipped:
        return False
    return True
