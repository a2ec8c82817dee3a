"""Prompt in, dataset out: the synthesizer of axolotl-genpi. Start with `python -m synth --help`.

From Python: `synth.make(task, target=...)`, with `synth.Reading` for logs of one's own. For filters
and stages of one's own: `synth.after`, `synth.stage`, `synth.Row`, `synth.Ask`, `synth.RowError` to
reject a row, and `synth.ReasonError` to reject what it has for recitals.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genpi_plugin.data.inputs.given import Reading
    from synth.api import Model, make
    from synth.errors import ReasonError, RowError, SynthError
    from synth.quality.shipped import after
    from synth.stages.stage import Ask, stage
    from synth.store.rows import Row

# Read when they are asked for: `import synth` costs nothing.
_PLACES = {
    "make": "synth.api",
    "Model": "synth.api",
    "Reading": "genpi_plugin.data.inputs.given",
    "Row": "synth.store.rows",
    "Ask": "synth.stages.stage",
    "stage": "synth.stages.stage",
    "after": "synth.quality.shipped",
    "ReasonError": "synth.errors",
    "RowError": "synth.errors",
    "SynthError": "synth.errors",
}
__all__ = [
    "Ask", "Model", "Reading", "ReasonError", "Row", "RowError", "SynthError", "after", "make",
    "stage",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
