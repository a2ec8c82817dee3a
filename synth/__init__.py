"""Prompt in, dataset out: the synthesizer of axolotl-genpi. Start with `python -m synth --help`.

From Python: `synth.make(task, target=...)`. For filters and stages of one's own: `synth.after`,
`synth.stage`, `synth.Row`, `synth.Ask`, and `synth.RowError` to reject a row.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synth.api import Model, make
    from synth.errors import RowError, SynthError
    from synth.quality.shipped import after
    from synth.stages.stage import Ask, stage
    from synth.store.rows import Row

# Read when they are asked for: `import synth` costs nothing.
_PLACES = {
    "make": "synth.api",
    "Model": "synth.api",
    "Row": "synth.store.rows",
    "Ask": "synth.stages.stage",
    "stage": "synth.stages.stage",
    "after": "synth.quality.shipped",
    "RowError": "synth.errors",
    "SynthError": "synth.errors",
}
__all__ = ["Ask", "Model", "Row", "RowError", "SynthError", "after", "make", "stage"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
