"""The chat template's arguments of the target's requests, which training and serving need, too."""

from __future__ import annotations

import json
from typing import Any

from genpi_plugin.data import templates
from synth.engines.models import ModelSpec
from synth.task.taskfile import Task


def template_arguments(task: Task, target: ModelSpec) -> dict[str, Any]:
    """Those of the command line and of task.yml, and what asks the template not to think, where
    the target is not to and its template is known."""
    off: dict[str, Any] = {}
    if task.config.thinking == "off" and target.known_tokenizer:
        off = templates.thinking_off(templates.of_tokenizer(target.known_tokenizer) or "")
    named = {**target.chat_template_kwargs, **task.config.outputs.chat_template_kwargs}
    return {**off, **named}


def arguments_line(arguments: dict[str, Any]) -> str:
    """The line of an axolotl YAML that trains with these arguments; "" for none."""
    return f"chat_template_kwargs: {json.dumps(arguments)}" if arguments else ""
