"""`axolotl train` with the options that people train with: the same losses as without them.

Each training is a process of its own, for options that replace code of transformers, and several
run side by side. Compared are the parts of the loss and the norm of the gradients, step by step,
which axolotl writes into a checkpoint's `trainer_state.json`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu_check.checks import Check, Finding, Machine
from benchmarks.gpu_check.made import SMALL, TINY, base_model
from benchmarks.gpu_check.packages import need, need_capability, need_compiler, need_gpu
from tests.genpi_plugin.rows_made import our_row
from tests.tiny import make_tokenizer

# All rows are one step, however they are packed.
STEPS, ROWS, MICRO_BATCH = 3, 12, 2
PLAIN = "plain"
# Of the losses and the gradients' norm, relative, in each step. A step is taken before the next is
# compared, so differences grow.
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}
COMPARED = ("behaviour_loss", "prompt_generation_loss", "divergence", "grad_norm")
# Seconds that a training may go on behind the time at which no check is started any more.
GRACE = 40.0
LIGER = "axolotl.integrations.liger.LigerPlugin"
CCE = "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"
LORA_KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel")
QLORA = {"adapter": "qlora", "load_in_4bit": True}
BASE: dict[str, Any] = {
    "plugins": ["genpi_plugin.GenPIPlugin"],
    "genpi": {"prompt_generation_share": 0.5},
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


def _bf16(changes: dict[str, Any] | None = None, **more: Any) -> Training:
    return Training({"bf16": True, **(changes or {})}, least=(8, 0), **more)


TRAININGS: dict[str, Training] = {
    PLAIN: Training(on_cpu=True, like=""),
    "sample packing": Training({"sample_packing": True}, on_cpu=True),
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
    "cut cross entropy": Training(
        {"plugins": ["genpi_plugin.GenPIPlugin", CCE], "cut_cross_entropy": True},
        module="cut_cross_entropy", compiles=True,
    ),
    "torch_compile": Training({"torch_compile": True}, compiles=True),
    "flex attention, sample packing": Training(
        {"attn_implementation": "flex_attention", "sample_packing": True}, compiles=True
    ),
    "bf16": _bf16(),
    "bf16, sample packing": _bf16({"sample_packing": True}),
    "bf16, flash attention 2, sample packing": _bf16(
        {"attn_implementation": "flash_attention_2", "sample_packing": True}, module="flash_attn"
    ),
    "bf16, QLoRA": _bf16(QLORA, like="", module="bitsandbytes"),
    "bf16, QLoRA as in the recipes": _bf16(
        {**QLORA, "gradient_checkpointing": True, "optimizer": "paged_adamw_32bit",
         "sample_packing": True, **dict.fromkeys(LORA_KERNELS, True)},
        like="bf16, QLoRA", module="bitsandbytes", compiles=True,
    ),
}  # fmt: skip


class Trainings:
    """Runs trainings, each once, some side by side, in a folder with model and data."""

    def __init__(self, machine: Machine, folder: Path, width: int) -> None:
        self.machine = machine
        self.folder = folder
        self._pool = ThreadPoolExecutor(width)
        self._started: dict[str, Future[list[dict[str, float]]]] = {}
        make_place(folder, machine)

    def start(self) -> None:
        """Begin with all trainings that this machine can."""
        for name, training in TRAININGS.items():
            if can(training, self.machine):
                self._started[name] = self._pool.submit(self._train, name, training)

    def steps(self, name: str) -> list[dict[str, float]]:
        """What a training logged, step by step."""
        if name not in self._started:
            self._started[name] = self._pool.submit(self._train, name, TRAININGS[name])
        return self._started[name].result()

    def _train(self, name: str, training: Training) -> list[dict[str, float]]:
        place = "".join(letter if letter.isalnum() else "_" for letter in name)
        config = self.folder / f"{place}.yml"
        config.write_text(yaml.safe_dump(config_of(training, f"out/{place}")))
        run(["axolotl", "train", config.name, "--launcher", "python"], self.folder,
            self.machine.deadline + GRACE - time.time())  # fmt: skip
        state = self.folder / "out" / place / f"checkpoint-{STEPS}" / "trainer_state.json"
        return [entry for entry in json.loads(state.read_text())["log_history"] if "loss" in entry]


def checks(machine: Machine) -> list[Check]:
    """Of the group, in order; the first one starts all trainings."""
    # Kept until the process ends.
    place = tempfile.TemporaryDirectory()
    found: list[Trainings] = []

    def compare(here: Machine, name: str) -> Finding:
        need_for(TRAININGS[name], here)
        if not found:
            found.append(Trainings(here, Path(place.name), width(here)))
            found[0].start()
        return judged(name, found[0])

    return [
        Check(f"axolotl train, {name}", lambda here, name=name: compare(here, name),
              "rel. difference", TOLERANCE[training.precision])
        for name, training in TRAININGS.items()
    ]  # fmt: skip


def judged(name: str, trainings: Trainings) -> Finding:
    """A training's steps against those of the training that it has to be like.

    Raises:
        RuntimeError: it did not learn.
    """
    training = TRAININGS[name]
    steps = trainings.steps(name)
    if len(steps) != STEPS or not steps[-1]["loss"] < steps[0]["loss"]:
        told = ", ".join(f"{step['loss']:.4g}" for step in steps)
        raise RuntimeError(f"the loss does not fall in {STEPS} steps: {told}")
    told = f"loss {steps[0]['loss']:.4g} to {steps[-1]['loss']:.4g}"
    if not training.like:
        return Finding(0.0, f"{told}; what others are compared with")
    return Finding(furthest(steps, trainings.steps(training.like)), f"{told}; like {training.like}")


def furthest(found: list[dict[str, float]], right: list[dict[str, float]]) -> float:
    """The largest relative difference of any logged figure in any step.

    Raises:
        RuntimeError: one has a step or a figure that the other has not.
    """
    names = [{name for name in COMPARED if name in step} for step in right]
    if [{name for name in COMPARED if name in step} for step in found] != names:
        raise RuntimeError("the two trainings logged other figures")
    return max(
        abs(one[name] - other[name]) / max(abs(other[name]), 1e-8)
        for one, other, of in zip(found, right, names, strict=True)
        for name in of
    )


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
    from benchmarks.gpu_check.checks import Skipped

    try:
        need_for(training, machine)
    except Skipped:
        return False
    return True


def width(machine: Machine) -> int:
    """Trainings side by side: a start takes most of their time, and a core or two."""
    return max(1, min(4, (os.cpu_count() or 1) // 4)) if machine.gpu else 1


def config_of(training: Training, output: str) -> dict[str, Any]:
    """The YAML of a training in a place that `make_place` made."""
    return {
        "base_model": "model",
        "datasets": [{"path": "rows.jsonl", "ds_type": "json", "type": "genpi_plugin.strategy",
                      "split": "train"}],
        "output_dir": output,
        **BASE,
        **training.changes,
    }  # fmt: skip


def make_place(folder: Path, machine: Machine) -> None:
    """A model, its tokenizer and rows, in the working directory of the trainings."""
    tokenizer = make_tokenizer()
    shape = {**(SMALL if machine.gpu else TINY), "vocab_size": len(tokenizer)}
    base_model(shape).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = [
        our_row(turns=1 + i % 2, id=f"r{i}", input=f"shirt {i} " * (1 + i % 4)) for i in range(ROWS)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(command: list[str], folder: Path, seconds: float) -> None:
    """Run a program of this environment, and end all its processes where it takes too long.

    Raises:
        RuntimeError: it failed; with the last line that says why.
        TimeoutError: it took longer.
    """
    program = Path(sys.executable).with_name(command[0])
    env = {**os.environ, "AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    with subprocess.Popen(
        [str(program), *command[1:]], cwd=folder, env=env, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            text, _ = process.communicate(timeout=max(1.0, min(seconds, 10**6)))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise TimeoutError(f"still training when the time was up, {seconds:.0f} s") from None
    if process.returncode:
        raise RuntimeError(last_words(text))


def last_words(text: str) -> str:
    """The line of a failed program's output that says why: the last error, or the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line.partition(":")[0]]
    return (errors or lines or ["it said nothing"])[-1]
