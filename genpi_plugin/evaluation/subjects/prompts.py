"""Other prompts to compare with, such as a shortened one, in the file formats of `synth`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from genpi_plugin.data.rows import MARKERS, Message, parse_prompt
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures.names import unique_names


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


def read_prompt(path: Path, role: str = "system") -> list[Message]:
    """A prompt file: `.md` plain text, `.txt` plain text or a transcript, `.yml`/`.json` messages.

    Raises:
        GenPIError: no such file, empty, or not in its format.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise GenPIError(
            f"the prompt {path} can't be read: {error}.", "give a text file."
        ) from error
    suffix = path.suffix.lower()
    if suffix in (".yml", ".yaml", ".json"):
        return parse_prompt(_messages(text, path, suffix == ".json"), "prompt", str(path))
    if suffix not in (".md", ".txt"):
        raise GenPIError(
            f"{path} is not a prompt file.", "a prompt file ends in .md, .txt, .yml or .json."
        )
    if not text.strip():
        raise GenPIError(f"the prompt {path} is empty.", "write the prompt into it.")
    if suffix == ".txt" and any(line.startswith(tuple(MARKERS)) for line in text.splitlines()):
        return parse_prompt(text, "prompt", str(path))
    return [{"role": role, "content": text.strip()}]


def _messages(text: str, path: Path, is_json: bool) -> Any:
    try:
        found = json.loads(text) if is_json else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise GenPIError(
            f"the prompt {path} can't be read: {error}",
            "write a list of {role: ..., content: ...}.",
        ) from error
    if not isinstance(found, list):
        raise GenPIError(
            f"the prompt {path} is not a list.", "write a list of {role: ..., content: ...}."
        )
    return found
