"""What is to be known of the target besides its name: its template's arguments, its tokenizer."""

from __future__ import annotations

import json
from typing import Any

from genpi_plugin.data import templates
from synth.engines.models import ModelSpec
from synth.secrets import redactor
from synth.task.taskfile import Task

NO_TOKENIZER = (
    "The tokenizer of {} is not known here, so the tokens that its server samples are not kept: "
    "its answers' texts are tokenized when they are trained. To keep them, name it: --tokenizer."
)


def target_settings(task: Task, target: ModelSpec) -> dict[str, Any]:
    """The target's part of synth.yaml, with all arguments of its chat template."""
    known = target.identity_settings()
    if arguments := template_arguments(task, target):
        known["chat_template_kwargs"] = redactor.arguments(arguments)
    return known


def tokenizer_note(target: ModelSpec) -> str:
    """What to say of a target whose tokenizer is not known; "" of any other."""
    return "" if target.known_tokenizer else NO_TOKENIZER.format(target.model)


def template_arguments(task: Task, target: ModelSpec) -> dict[str, Any]:
    """The chat template's arguments of the target's requests, which training and serving need, too:
    those of the command line and of task.yml, and what asks the template not to think, where the
    target is not to and its template is known."""
    off: dict[str, Any] = {}
    if task.config.thinking == "off" and target.known_tokenizer:
        off = templates.thinking_off(templates.of_tokenizer(target.known_tokenizer) or "")
    named = {**target.chat_template_kwargs, **task.config.outputs.chat_template_kwargs}
    return {**off, **named}


def arguments_line(arguments: dict[str, Any]) -> str:
    """The line of an axolotl YAML that trains with these arguments; "" for none."""
    return f"chat_template_kwargs: {json.dumps(arguments)}" if arguments else ""
