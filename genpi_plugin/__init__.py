"""Prompt internalization for axolotl: `plugins: [genpi_plugin.GenPIPlugin]`.

Importing this package loads neither torch nor axolotl; `GenPIPlugin` does, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genpi_plugin.args import GenPIArgs, GenPISettings
from genpi_plugin.version import __version__

if TYPE_CHECKING:
    from genpi_plugin.plugin import GenPIPlugin

__all__ = ["GenPIArgs", "GenPIPlugin", "GenPISettings", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "GenPIPlugin":
        from genpi_plugin.plugin import GenPIPlugin

        return GenPIPlugin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
