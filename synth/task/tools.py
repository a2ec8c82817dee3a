"""The tools of a task: a JSON file of schemas beside its prompt."""

from __future__ import annotations

import json
from pathlib import Path

from genpi_plugin.data.tools import parse_tools
from genpi_plugin.errors import RowError
from synth.errors import TaskError

CURE = (
    'Write a list of schemas in OpenAI\'s form: [{"type": "function", "function": {"name": ..., '
    '"description": ..., "parameters": {...}}}, ...].'
)


def load_tools(path: Path) -> str:
    """The tools in a JSON file, as one line of JSON that keeps their order.

    Raises:
        TaskError: no such file, no JSON, or not a list of schemas.
    """
    try:
        tools = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise TaskError(
            f"There is no file of tools {path}.", "Put it there, or correct `tools` in task.yml."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise TaskError(f"The tools in {path} can't be read: {error}.", CURE) from None
    text = json.dumps(tools, ensure_ascii=False)
    try:
        parse_tools(text, "tools", str(path))
    except RowError as error:
        raise TaskError(error.cause, CURE) from None
    return text
