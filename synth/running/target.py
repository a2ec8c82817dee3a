"""What is to be known of the target besides its name: its template's arguments, its tokenizer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from genpi_plugin.data import made, templates
from synth.engines.models import ModelSpec
from synth.engines.server.switch import USUAL_OFF, usual_off
from synth.engines.vllm import check_told
from synth.errors import SynthError
from synth.secrets import redactor
from synth.store.folder import read_config
from synth.task.taskfile import Task

NO_TOKENIZER = (
    "The tokenizer of {} is not known here, so the tokens that its server samples are not kept: "
    "its answers' texts are tokenized when they are trained. To keep them, name it: --tokenizer."
)
log = logging.getLogger("synth")


def with_usual_off(
    task: Task,
    target: ModelSpec,
    folder: Path | None = None,
    run_async: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run,
) -> Task:
    """The task with what asks the target not to think, where it is not to and its servers alone
    know its chat template: so it goes with its requests and their keys, and into synth.yaml.

    Args:
        task: says whether it may think.
        target: whose servers are asked whether they take the template's arguments.
        folder: of the dataset; what it was begun with counts while no server is there.
        run_async: runs a coroutine.

    Raises:
        SynthError: no server says, and the folder was not begun.
    """
    if task.config.thinking != "off" or target.engine != "openai" or target.known_tokenizer:
        return task
    off: dict[str, Any] = {}

    async def ask() -> None:
        off.update(
            await usual_off(target.model, target.base_urls, target.api_key_env, target.header_env)
        )

    try:
        run_async(ask())
    except SynthError as error:
        begun = _begun_with(folder)
        if begun is None:
            raise
        log.warning("%s What asks the target not to think is taken from synth.yaml.", error.cause)
        off = begun
    outputs = task.config.outputs
    own = {name: value for name, value in off.items() if name not in target.chat_template_kwargs}
    if not own:
        return task
    named = {**own, **outputs.chat_template_kwargs}
    asking = outputs.model_copy(update={"chat_template_kwargs": named})
    return replace(task, config=task.config.model_copy(update={"outputs": asking}))


def _begun_with(folder: Path | None) -> dict[str, Any] | None:
    """Which of the usual arguments went with a folder's requests; None where it was not begun."""
    task = ((read_config(folder) if folder else None) or {}).get("task") or {}
    if task.get("thinking") != "off":
        return None
    sent = (task.get("outputs") or {}).get("chat_template_kwargs") or {}
    return {name: off for name, off in USUAL_OFF.items() if sent.get(name, True) == off}


def target_settings(task: Task, target: ModelSpec) -> dict[str, Any]:
    """The target's part of synth.yaml, with all arguments of its chat template."""
    known = target.identity_settings()
    if arguments := template_arguments(task, target):
        known["chat_template_kwargs"] = redactor.arguments(arguments)
    return known


def check_logprobs(task: Task, target: ModelSpec) -> None:
    """Check that the likeliest tokens, where they are to be kept, are of a tokenizer that is known,
    and that vLLM in this process is to tell as many.

    Raises:
        SynthError: it is not.
    """
    k = task.config.outputs.logprobs
    if not k:
        return
    if target.engine == "vllm":
        check_told(k, target.engine_args)
    if not target.known_tokenizer:
        raise SynthError(
            f"--logprobs {k}: the tokenizer of {target.model} is not "
            "known here, and log-probabilities are of its tokens.",
            "Name it: --tokenizer, a folder or a name on the hub.",
        )


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


def arguments_line(folder: Path, arguments: Mapping[str, Any]) -> str:
    """The line of an axolotl YAML that trains a folder's rows; "" for none.

    Args:
        folder: of the dataset, whose synth.yaml says what was sent.
        arguments: those that are known (`template_arguments`), secrets included.
    """
    arguments = {**(made.template_arguments(str(folder)) or {}), **arguments}
    return f"chat_template_kwargs: {json.dumps(arguments)}" if arguments else ""
