"""TRL's trainers with the recipe of all contestants: `python -m benchmarks.peers.trl CONFIG.yml`.

Each keeps the objective it ships with. What it would cut gets the lengths of the dataset, its
models are float32 (in bfloat16 by mixed precision, as ours), and its teacher reads what ours reads:

- SDFTTrainer puts "privileged context" into the user's message. Here the context is the teacher's
  whole request, prompt first, as the evaluation's teacher is asked; the same model is the teacher,
  its adapter off.
- DistillationTrainer and GKDTrainer know no prompt: teacher and student read one sequence. Here the
  teacher, which is a second copy of the base model, has `Prompted` around its decoder.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import torch
import yaml
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from benchmarks.folders import TRAIN
from benchmarks.peers.clock import Clock
from benchmarks.peers.contestants import Recipe
from benchmarks.peers.prompted import Prompted, Turn, tokens, turns
from genpi_plugin.data.all_rows import parse_all
from genpi_plugin.data.chat import ChatView


@dataclasses.dataclass
class Given:
    """What a trainer is built of."""

    recipe: Recipe
    found: list[Turn]
    requests: dict[tuple[int, ...], Any]
    tokenizer: Any
    arguments: dict[str, Any]
    settings: Mapping[str, Any]

    def model(self) -> Any:
        return AutoModelForCausalLM.from_pretrained(
            self.recipe.model, dtype=torch.float32, attn_implementation="sdpa"
        )

    def prompted(self) -> Any:
        """The base model that reads the prompt."""
        teacher = self.model().eval()
        Prompted(teacher, self.requests)
        return teacher

    def config(self, kind: type, **lengths: Any) -> Any:
        """A trainer's config; lengths that this version of TRL has no field for are left out."""
        known = {one.name for one in dataclasses.fields(kind)}
        lengths = {name: value for name, value in lengths.items() if name in known}
        return kind(**self.arguments, **lengths, **self.settings)

    @property
    def common(self) -> dict[str, Any]:
        rank = self.recipe.rank
        adapter = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear",
                             task_type="CAUSAL_LM")  # fmt: skip
        return {"model": self.model(), "processing_class": self.tokenizer, "peft_config": adapter}


def sdft(given: Given) -> Any:
    """SDFTTrainer; its default of eight answers an input would be two steps' rows, so one."""
    from trl.experimental.sdft import SDFTConfig, SDFTTrainer
    from trl.experimental.sdft.sdft_trainer import DemonstrationTeacherContextBuilder

    class AsAsked(DemonstrationTeacherContextBuilder):
        def _compose_teacher_prompt(self, prompt: Any, privileged_context: Any) -> Any:
            return privileged_context

    rows = [{"prompt": one.student, "privileged_context": one.teacher} for one in given.found]
    args = given.config(SDFTConfig, num_generations=1, max_prompt_length=None,
                        max_completion_length=given.recipe.answer_tokens)  # fmt: skip
    trainer = SDFTTrainer(args=args, train_dataset=datasets.Dataset.from_list(rows), **given.common)
    trainer.teacher_context_builder = AsAsked(trainer)
    return trainer


def distillation(given: Given) -> Any:
    """DistillationTrainer, on the student's own answers."""
    try:  # in TRL's experimental part before it was stable
        from trl import DistillationConfig, DistillationTrainer
    except ImportError:
        from trl.experimental.distillation import DistillationConfig, DistillationTrainer

    longest = max(map(len, given.requests))
    args = given.config(DistillationConfig, max_completion_length=given.recipe.answer_tokens,
                        max_prompt_length=longest,
                        max_length=longest + given.recipe.answer_tokens)  # fmt: skip
    rows = datasets.Dataset.from_list([{"prompt": one.student} for one in given.found])
    return DistillationTrainer(
        args=args, train_dataset=rows, teacher_model=given.prompted(), **given.common
    )


def gkd(given: Given) -> Any:
    """GKDTrainer, along the answers of the rows."""
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    rows = [{"messages": [*one.student, one.answer]} for one in given.found]
    args = given.config(GKDConfig, max_new_tokens=given.recipe.answer_tokens,
                        max_length=given.recipe.sequence_len)  # fmt: skip
    return GKDTrainer(args=args, train_dataset=datasets.Dataset.from_list(rows),
                      teacher_model=given.prompted(), **given.common)  # fmt: skip


TRAINERS: dict[str, Callable[[Given], Any]] = {
    "sdft": sdft, "distillation": distillation, "gkd": gkd,
}  # fmt: skip


def build(config: Mapping[str, Any]) -> Any:
    """The trainer of a config with the clock in it, ready to train.

    Raises:
        SystemExit: rows that TRL's trainers can't take, or fewer than a step has.
    """
    recipe, folder = Recipe(**config["recipe"]), Path(config["folder"])
    set_seed(config["seed"])
    tokenizer = AutoTokenizer.from_pretrained(recipe.model)
    raw = datasets.load_dataset("parquet", data_files=str(Path(recipe.data) / TRAIN), split="train")
    found = turns(parse_all(raw, recipe.data))
    step = recipe.micro_batch * recipe.accumulation
    if len(found) < step:
        raise SystemExit(f"{len(found)} answers are fewer than a step has ({step}): add rows.")
    arguments = {
        "output_dir": str(folder / "adapter"),
        "num_train_epochs": recipe.epochs,
        "per_device_train_batch_size": recipe.micro_batch,
        "gradient_accumulation_steps": recipe.accumulation,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.scheduler,
        "warmup_steps": recipe.warmup_steps,
        "max_grad_norm": recipe.max_grad_norm,
        "optim": "adamw_torch",
        "weight_decay": 0.0,
        "seed": config["seed"],
        "bf16": recipe.bfloat16,
        "gradient_checkpointing": False,
        "use_cpu": not torch.accelerator.is_available(),
        "report_to": [],
        "logging_steps": 5,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    view = ChatView(tokenizer)
    requests = tokens(found, view, tokenizer)
    given = Given(recipe, found, requests, tokenizer, arguments, config["settings"])
    trainer = TRAINERS[config["trainer"]](given)
    trainer.add_callback(Clock(folder, recipe.moments, recipe.most_seconds))
    return trainer


def main() -> None:
    """Train, and leave adapters at several moments."""
    build(yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))).train()


if __name__ == "__main__":
    main()
