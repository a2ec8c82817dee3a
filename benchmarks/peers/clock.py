"""One clock for every trainer: adapters at several moments, and the seconds that led to each."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel
from transformers import TrainerCallback

from genpi_plugin.training.cpu import training_arguments

# When the process was started, set by who starts it.
STARTED = "PEERS_STARTED"
ADAPTERS, MOMENTS, LOG = "moments", "moments.jsonl", "log.json"


def moments(steps: int, count: int) -> set[int]:
    """The steps at which an adapter is kept: half of the next each, from the last one down.

    >>> sorted(moments(96, 4))
    [12, 24, 48, 96]
    """
    return {max(1, round(steps / 2**power)) for power in range(count)}


class Clock(TrainerCallback):
    """Keeps adapters and the seconds up to each, from the moment when the trainer is there.

    All that a trainer does from there on counts: its teacher's reading, its sampling, its steps.
    What keeping an adapter takes does not. The start before it (imports, model, tokens) is noted,
    and how many of the seconds were over at the end of the first micro-batch: before it the
    teacher reads.

    Args:
        folder: for `moments.jsonl` and the adapters; they replace those of a run that was stopped.
        count: of the moments.
        most_seconds: after which training ends, at the step that reaches them.
    """

    def __init__(self, folder: Path, count: int, most_seconds: float | None = None) -> None:
        self._folder = folder
        self._count = count
        self._most_seconds = most_seconds
        self._due: set[int] = set()
        self._left_out = self._cpu_left_out = 0.0
        self._start_seconds = time.time() - float(os.environ.get(STARTED, time.time()))
        (folder / MOMENTS).unlink(missing_ok=True)
        self._began, self._cpu_began = time.perf_counter(), time.process_time()
        self._before: float | None = None

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._before is None:
            self._before = time.perf_counter() - self._began

    on_pre_optimizer_step = on_substep_end  # of a step of one micro-batch

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._due = moments(state.max_steps, self._count)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        now, cpu = time.perf_counter(), time.process_time()
        seconds = now - self._began - self._left_out
        over = self._most_seconds is not None and seconds >= self._most_seconds
        if state.global_step in self._due or over:
            self._keep(model, state, seconds, cpu - self._cpu_began - self._cpu_left_out)
            self._left_out += time.perf_counter() - now
            self._cpu_left_out += time.process_time() - cpu
        if over:
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        (self._folder / LOG).write_text(json.dumps(state.log_history), encoding="utf-8")

    def _keep(self, model: Any, state: Any, seconds: float, cpu_seconds: float) -> None:
        name = f"step-{state.global_step:05}"
        model.save_pretrained(self._folder / ADAPTERS / name)
        line = {
            "adapter": name,
            "step": state.global_step,
            "epoch": state.epoch,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "start_seconds": self._start_seconds,
            "before_seconds": self._before or 0.0,
        }
        with (self._folder / MOMENTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class ClockSettings(BaseModel):
    """The keys of the YAML that are the clock's."""

    peers_moments: int = 1
    peers_most_seconds: float | None = None


class ClockPlugin(BasePlugin):
    """The clock, in axolotl's trainers."""

    def get_input_args(self) -> str:
        return "benchmarks.peers.clock.ClockSettings"

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """`use_cpu` without an accelerator: axolotl alone refuses bfloat16 there."""
        return training_arguments(cfg)

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        folder = Path(cfg.output_dir).parent
        return [Clock(folder, cfg.peers_moments, cfg.peers_most_seconds)]
