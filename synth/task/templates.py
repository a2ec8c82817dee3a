"""Prompts as messages: transcripts, prompt files, and the request a prompt goes into.

They are read by the plugin's own room for rows and messages, so that both read the same.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from genpi_plugin.data import prompt_generation, prompts, rows, transcripts
from genpi_plugin.errors import RowError
from synth.engines.base import Message
from synth.engines.messages import as_dicts, as_messages
from synth.errors import TaskError


def parse_transcript(text: str, source: str = "the transcript") -> tuple[Message, ...]:
    """Read a transcript; see `read_transcript` of the plugin.

    Raises:
        TaskError: text before the first marker, an empty turn, or roles out of order.
    """
    with _as_ours():
        return as_messages(prompts.read_transcript(text, source))


def render_transcript(messages: Sequence[Message]) -> str:
    """Write messages as a transcript that `parse_transcript` reads back."""
    return prompts.render_transcript(as_dicts(messages))


def prompt_text(prompt: Sequence[Message], tools: str = "") -> str:
    """The prompt as a document to show: a single turn as it is, several as a transcript; behind it
    the tools (a JSON list), a line each."""
    text = transcripts.prompt_text(as_dicts(prompt))
    return prompt_generation.recited_text(text, json.loads(tools) if tools else ())


def load_prompt(path: Path, role: str) -> tuple[Message, ...]:
    """Read a prompt file; see `read_prompt` of the plugin.

    Raises:
        TaskError: no such file, not UTF-8, empty, or not in its format.
    """
    with _as_ours():
        return as_messages(prompts.read_prompt(path, role))


def teacher_messages(
    prompt: Sequence[Message], input_messages: Sequence[Message]
) -> tuple[Message, ...]:
    """The teacher's request: the prompt, then the conversation that starts with the input.

    When the prompt's last turn is itself a user turn, the input continues it after a blank line.

    Args:
        prompt: the prompt's messages.
        input_messages: user (the input), then assistant and user in turn.
    """
    return as_messages(rows.teacher_messages(as_dicts(prompt), as_dicts(input_messages)))


def instructed(role: str, instruction: str, turns: Sequence[Message]) -> tuple[Message, ...]:
    """An instruction of ours before `turns`, which start with a user turn.

    As a system turn, or with role "user" at the head of the first turn: for chat templates that
    take no system turn (`prompt_role: user` in task.yml).
    """
    if role == "system":
        return (Message("system", instruction), *turns)
    return (Message("user", f"{instruction}\n\n{turns[0].content}"), *turns[1:])


def compile_wrap(template: str) -> Callable[[str], str]:
    """A function from a generated text to the input, by a Jinja template with `{{ text }}`.

    The template is sandboxed, may use nothing but `text`, and must use it.

    Raises:
        TaskError: a syntax error, an unknown variable, or a template without the text.
    """
    environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    # Jinja's own `tojson` escapes for HTML (`'` becomes `\u0027`), which no application sends.
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    try:
        compiled = environment.from_string(template)
        trial = compiled.render(text="a trial text")
    except jinja2.TemplateError as error:
        raise TaskError(
            f"`inputs.wrap` is not a usable template: {error}.",
            "Write a Jinja template with {{ text }} in it.",
        ) from None
    if "a trial text" not in trial:
        raise TaskError(
            "`inputs.wrap` leaves the generated text out: every input would be the same.",
            "Write {{ text }} where the generated text goes.",
        )
    return lambda text: compiled.render(text=text).strip()


@contextlib.contextmanager
def _as_ours() -> Iterator[None]:
    """Turn the plugin's errors into this package's."""
    try:
        yield
    except RowError as error:
        raise TaskError(error.cause, error.cure) from None
