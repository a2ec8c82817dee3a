"""The user's own inputs, in place of generated ones: read as the evaluation reads them."""

from __future__ import annotations

from pathlib import Path

from genpi_plugin.data.inputs import lines
from synth.errors import plugin_errors


def read_inputs(path: Path, count: int | None = None) -> lines.GivenInputs:
    """Inputs as the application sends them: neither `inputs.wrap` nor `inputs.pattern` is applied.

    Raises:
        SynthError: see `genpi_plugin.data.inputs.lines.read_inputs`.
    """
    with plugin_errors():
        return lines.read_inputs(path, count)
