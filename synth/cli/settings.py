"""From options to a task and a run's settings; heavy imports wait until a command needs them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genpi_plugin.data.inputs.given import Reading
from synth.cli.options import PROGRAM

if TYPE_CHECKING:
    from synth.running.settings import RunSettings
    from synth.task.taskfile import Task

PRICES = ("price_in", "price_out", "generator_price_in", "generator_price_out")


def load(
    task: str,
    sets: tuple[str, ...],
    count: int | None,
    max_turns: int | None,
    test_share: float | None,
    inputs_file: Path | None,
    reading: Reading,
    logprobs: int | None = None,
) -> Task:
    """The task that a command is about, with what its options change."""
    from synth.task.given import read_inputs
    from synth.task.taskfile import load_task, parse_override

    overrides = dict(parse_override(text) for text in sets)
    if count is None and inputs_file is not None and "inputs.count" not in overrides:
        logs_of = load_task(task, overrides)
        count = len(read_inputs(inputs_file, None, reading, logs_of).inputs)
    for key, value in (
        ("inputs.count", count),
        ("conversations.max_turns", max_turns),
        ("split.test", test_share),
        ("outputs.logprobs", logprobs),
    ):
        if value is not None:
            overrides[key] = value
    return load_task(task, overrides)


def run_settings(
    models: dict[str, Any],
    seed: int = 0,
    inputs_file: Path | None = None,
    reading: Reading | None = None,
    arguments: Sequence[str] = (),
) -> RunSettings:
    """What the options say of models and run."""
    from synth.engines.models import model_specs
    from synth.progress.prices import Prices
    from synth.running.settings import RunSettings
    from synth.secrets import redactor

    target, generator = model_specs(**models)
    return RunSettings(
        target,
        generator,
        seed,
        inputs_file,
        models["concurrency"],
        models["batch_size"],
        f"{PROGRAM} {redactor.command(arguments)}" if arguments else "",
        prices=Prices(*(models.get(name) for name in PRICES)),
        input_timeout=models["input_timeout"],
        reading=reading or Reading(),
    )


def named(folder: Path) -> str:
    """A folder as it must be typed: a shipped task of the same name would come first."""
    from synth.task.taskfile import shipped_tasks

    text = str(folder)
    return os.path.join(".", text) if text in shipped_tasks() else text
