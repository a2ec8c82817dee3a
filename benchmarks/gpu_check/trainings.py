"""`axolotl train` with the options that people train with: the same losses as without them.

Each training is a process of its own, for options that replace code of transformers, and several
run side by side. Compared are the parts of the loss and the norm of the gradients, step by step,
which axolotl writes into a checkpoint's `trainer_state.json`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import yaml

from benchmarks.gpu_check.checks import Check, Finding, Machine, TimeUp
from benchmarks.gpu_check.configs import ROWS, STEPS, TRAININGS, Training, can, config_of, need_for
from benchmarks.gpu_check.made import SMALL, TINY, base_model
from genpi_plugin.data.chat import ChatView
from tests.genpi_plugin.rows_made import our_row
from tests.genpi_plugin.told_made import told_row
from tests.tiny import make_tokenizer

# Of the losses and the gradients' norm, relative, in each step. A step is taken before the next is
# compared, so differences grow.
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}
COMPARED = ("behaviour_loss", "prompt_generation_loss", "divergence", "grad_norm")
# Seconds that a training may go on behind the time at which no check is started any more.
GRACE = 40.0
# Likeliest tokens at each place of the rows with distributions.
TOLD = 20


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
              *(("relative", TOLERANCE[training.precision]) if training.like else ("nats", None)))
        for name, training in TRAININGS.items()
    ]  # fmt: skip


def judged(name: str, trainings: Trainings) -> Finding:
    """How far a training's steps are from those of the training that it has to be like.

    Of one that is compared with none: its last loss.

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
        return Finding(steps[-1]["loss"], told)
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


def width(machine: Machine) -> int:
    """Trainings side by side: a start takes most of their time, and a core or two."""
    return max(1, min(4, (os.cpu_count() or 1) // 4)) if machine.gpu else 1


def make_place(folder: Path, machine: Machine) -> None:
    """A model, its tokenizer, rows, and rows with the model's distributions, in the working
    directory of the trainings."""
    tokenizer = make_tokenizer()
    shape = {**(SMALL if machine.gpu else TINY), "vocab_size": len(tokenizer)}
    model = base_model(shape)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = [
        our_row(turns=1 + i % 2, id=f"r{i}", input=f"shirt {i} " * (1 + i % 4)) for i in range(ROWS)
    ]
    told = [told_row(row, ChatView(tokenizer), model, TOLD) for row in rows]
    for name, its in (("rows", rows), ("told", told)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in its))


def run(command: list[str], folder: Path, seconds: float) -> None:
    """Run a program of this environment, and end it where it takes too long.

    Raises:
        RuntimeError: it failed; with the last line that says why.
        TimeUp: it took longer.
    """
    program = Path(sys.executable).with_name(command[0])
    env = {**os.environ, "AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    try:
        done = subprocess.run(
            [str(program), *command[1:]], cwd=folder, env=env, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=max(1.0, min(seconds, 10**6)),
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TimeUp("it was still training when the time was up") from None
    if done.returncode:
        raise RuntimeError(last_words(done.stdout))


def last_words(text: str) -> str:
    """The line of a failed program's output that says why: the last error, or the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line.partition(":")[0]]
    return (errors or lines or ["it said nothing"])[-1]
