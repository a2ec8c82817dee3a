"""The user's own inputs, in place of generated ones: read as the evaluation reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genpi_plugin.data.inputs import lines
from genpi_plugin.data.inputs.given import GivenInputs, Reading
from genpi_plugin.data.inputs.own_prompt import OwnPrompt
from synth.engines.messages import as_dicts
from synth.errors import plugin_errors
from synth.task.taskfile import Task


def read_inputs(
    path: Path, count: int | None = None, reading: Reading | None = None, task: Task | None = None
) -> GivenInputs:
    """Inputs as the application sends them: neither `inputs.wrap` nor `inputs.pattern` is applied.

    Args:
        path: see `genpi_plugin.data.inputs.lines.read_inputs`, as for `count` and `reading`.
        task: its prompt and tools are taken out of logs.

    Raises:
        SynthError: see there.
    """
    own = None
    if task is not None:
        tools = json.loads(task.tools) if task.tools else []
        own = OwnPrompt(as_dicts(task.prompt), tools, bool(task.slots))
    with plugin_errors():
        return lines.read_inputs(path, count, reading, own)


def described(path: Path, reading: Reading, task: Task | None = None) -> dict[str, str]:
    """What inputs are known by: name, SHA-256, and how they are read where they do not say it.

    Of a dataset, all that rows take from it counts: messages, ids, answers, values of slots.
    """
    if path.is_file():
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    else:
        inputs = read_inputs(path, None, reading).inputs
        found: list[Any] = [one.messages for one in inputs]
        values = [one.values or {} for one in read_inputs(path, None, reading, task).inputs]
        more: list[list[Any]] = [
            [one.id for one in inputs],
            [one.conversation for one in inputs],
            values,
        ]
        if any(any(each) for each in more):
            found += more
        sha256 = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    said = {name: value for name, value in asdict(reading).items()
            if value != getattr(Reading(), name)}  # fmt: skip
    return {"name": path.name, "sha256": sha256, **said}


def logs_of(positions: Sequence[int], given: GivenInputs | None) -> list[int]:
    """For each row the number of the log it is out of; a row that is out of none has its own.

    Args:
        positions: of the rows among the inputs.
        given: the inputs; None where they were generated.
    """
    if given is None:
        return list(positions)
    return [given.inputs[position].number for position in positions]
