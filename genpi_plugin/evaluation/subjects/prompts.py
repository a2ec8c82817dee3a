"""Other prompts to compare with, such as a shortened one, in the file formats of `synth`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from genpi_plugin.data.messages import Message
from genpi_plugin.data.prompts import read_prompt
from genpi_plugin.evaluation.figures.names import unique_names

__all__ = ["read_prompt", "read_prompts"]


def read_prompts(
    paths: Sequence[Path], role: str, taken: Sequence[str]
) -> dict[str, list[Message]]:
    """Prompts by the names of their files.

    Args:
        role: the role of a plain text: `system` or `user`, the task's `prompt_role`.
        taken: names that other systems already have.

    Raises:
        GenPIError: a file that does not exist, or holds no prompt.
    """
    names = unique_names([path.stem for path in paths], [str(path) for path in paths], taken)
    return {name: read_prompt(path, role) for name, path in zip(names, paths, strict=True)}
