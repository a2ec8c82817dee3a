"""Who takes part, and the settings each trains with: one recipe for all, and what is its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

CLOCK = "benchmarks.peers.clock.ClockPlugin"
ALONE = {"sft_weight": 0.0, "prompt_generation_share": 0.0, "distill_weight": 1.0,
         "keep_weight": 0.0}  # fmt: skip
# kaistAI/GenPI's `joint_loss` (docs/add-genpi.md).
OFFICIAL = {"sft_weight": 0.7, "prompt_generation_share": 1.0, "prompt_generation_piece": None,
            "distill_weight": 0.0}  # fmt: skip


# What any processor computes alike, without kernels of a card's own.
ANY_PROCESSOR: dict[str, Any] = {
    "bf16": False,
    "tf32": False,
    "attn_implementation": "sdpa",
    "lora_mlp_kernel": False,
    "lora_qkv_kernel": False,
    "lora_o_kernel": False,
}


@dataclass(frozen=True)
class Contestant:
    """A way to train.

    Attributes:
        trainer: `genpi`, axolotl with our plugin; `sft`, axolotl alone; or a trainer of TRL.
        what: it in one line, for the page.
        settings: the `genpi:` block, or what is given to TRL's config beside the recipe.
    """

    name: str
    trainer: Literal["genpi", "sft", "sdft", "distillation", "gkd"]
    what: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("ours")


CONTESTANTS = {
    one.name: one
    for one in (
        Contestant("ours", "genpi", "`genpi: {}`, the defaults"),
        Contestant("ours_distill", "genpi", "distillation alone, no recitals", ALONE),
        Contestant("ours_on_policy", "genpi", "the same, its last epoch on the student's own "
                   "answers", {**ALONE, "on_policy": {}}),
        Contestant("ours_keep", "genpi", "distillation alone, and kept to the floor on other "
                   "requests", {**ALONE, "keep_weight": 1.0}),
        Contestant("official", "genpi", "the official joint loss, as our settings have it",
                   OFFICIAL),
        Contestant("sft", "sft", "axolotl's `chat_template` on the rows' conversations"),
        Contestant("sdft", "sdft", "TRL's SDFTTrainer as it ships, one answer an input"),
        Contestant("distillation", "distillation", "TRL's DistillationTrainer as it ships "
                   "(reverse divergence along the student's answers)"),
        Contestant("gkd", "gkd", "TRL's GKDTrainer along the rows' answers (lmbda 0, forward "
                   "divergence)", {"lmbda": 0.0, "beta": 0.0}),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What all contestants train with.

    Attributes:
        data: the dataset's folder.
        chats: its conversations without the prompt, JSON Lines.
        answer_tokens: at which sampled answers end; as many as the rows' longest answer has.
        most_seconds: of training, after which a contestant is stopped; None for its epochs.
        sequence_len: the model's own limit, so that nothing is cut or refused.
        bfloat16: mixed precision, by axolotl's `bf16` or transformers'.
        prepared: a folder for tokens, the teacher's targets and answers that runs share; None:
            each run makes its own anew.
        start: an adapter that training goes on from; None begins with a new one.
    """

    model: str
    data: str
    chats: str
    answer_tokens: int
    sequence_len: int
    epochs: float = 2.0
    rank: int = 16
    learning_rate: float = 1e-3
    scheduler: str = "constant_with_warmup"
    warmup_steps: int = 2
    micro_batch: int = 2
    accumulation: int = 2
    max_grad_norm: float = 0.5
    moments: int = 6
    most_seconds: float | None = None
    bfloat16: bool = False
    prepared: str | None = None
    start: str | None = None


def config(contestant: Contestant, recipe: Recipe, seed: int, folder: Path) -> dict[str, Any]:
    """The run's settings: an axolotl YAML, or what `benchmarks.peers.trl` reads."""
    if contestant.trainer in ("genpi", "sft"):
        return _axolotl(contestant, recipe, seed, folder)
    return {
        "trainer": contestant.trainer,
        "settings": dict(contestant.settings),
        "recipe": asdict(recipe),
        "seed": seed,
        "folder": str(folder),
    }


def _axolotl(contestant: Contestant, recipe: Recipe, seed: int, folder: Path) -> dict[str, Any]:
    found = {
        "base_model": recipe.model,
        "plugins": [CLOCK],
        "peers_moments": recipe.moments,
        **({"peers_most_seconds": recipe.most_seconds} if recipe.most_seconds else {}),
        **({"lora_model_dir": recipe.start} if recipe.start else {}),
        "dataset_prepared_path": recipe.prepared or str(folder / "prepared"),
        "output_dir": str(folder / "adapter"),
        "sequence_len": recipe.sequence_len,
        "adapter": "lora",
        "lora_r": recipe.rank,
        "lora_alpha": 2 * recipe.rank,
        "lora_target_linear": True,
        "num_epochs": recipe.epochs,
        "micro_batch_size": recipe.micro_batch,
        "gradient_accumulation_steps": recipe.accumulation,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler": recipe.scheduler,
        "warmup_steps": recipe.warmup_steps,
        "max_grad_norm": recipe.max_grad_norm,
        "optimizer": "adamw_torch",
        "weight_decay": 0.0,
        "seed": seed,
        "logging_steps": 5,
        "save_strategy": "no",
        "dataset_num_proc": 1,
        **ANY_PROCESSOR,
        "bf16": recipe.bfloat16,
    }
    if contestant.trainer == "sft":
        entry = {"path": recipe.chats, "ds_type": "json", "type": "chat_template",
                 "field_messages": "messages", "roles_to_train": ["assistant"],
                 "train_on_eos": "turn"}  # fmt: skip
        # axolotl would leave out longer rows without an error.
        return {**found, "datasets": [entry], "excess_length_strategy": "raise"}
    block = dict(contestant.settings)
    if "on_policy" in block:
        block["on_policy"] = {"max_new_tokens": recipe.answer_tokens, **block["on_policy"]}
    return {
        **found,
        "plugins": ["genpi_plugin.GenPIPlugin", CLOCK],
        "datasets": [{"path": recipe.data, "type": "genpi_plugin.strategy", "split": "train"}],
        "genpi": block,
    }
