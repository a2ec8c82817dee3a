"""Prompts as messages: transcripts, prompt files, and the request a prompt goes into."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2.sandbox import SandboxedEnvironment

from synth.engines.base import Message
from synth.errors import TaskError
from synth.store.rows import as_messages

ROLE_OF = {"SYSTEM": "system", "USER": "user", "AGENT": "assistant"}
MARKER_OF = {role: marker for marker, role in ROLE_OF.items()}
MARKER = re.compile(r"^<(SYSTEM|USER|AGENT)>:", re.MULTILINE)


def parse_transcript(text: str, source: str = "the transcript") -> tuple[Message, ...]:
    """Read a transcript whose turns start with `<SYSTEM>:`, `<USER>:` or `<AGENT>:`.

    A marker counts at the start of a line only. White space around a turn is dropped, and so
    is an empty `<USER>:` at the very end: that is where the input goes.

    Args:
        text: the transcript.
        source: its name, for messages.

    Raises:
        TaskError: text before the first marker, an empty turn, or roles out of order.
    """
    pieces = MARKER.split(text)
    if pieces[0].strip():
        raise TaskError(
            f"{source}: there is text before the first marker: {_start(pieces[0])}",
            "Start the file with <SYSTEM>: or <USER>: at the beginning of a line.",
        )
    turns = [
        Message(ROLE_OF[marker], content.strip())
        for marker, content in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    if turns and turns[-1] == Message("user", ""):
        turns.pop()
    return check_prompt(turns, source)


def render_transcript(messages: Sequence[Message]) -> str:
    """Write messages as a transcript that `parse_transcript` reads back."""
    return "\n\n".join(f"<{MARKER_OF[turn.role]}>:\n{turn.content}" for turn in messages)


def prompt_text(prompt: Sequence[Message]) -> str:
    """The prompt as a document to show: a single turn as it is, several as a transcript."""
    return prompt[0].content if len(prompt) == 1 else render_transcript(prompt)


def check_prompt(messages: Iterable[Message], source: str) -> tuple[Message, ...]:
    """Check that messages can stand before an input: [system], then user and assistant in turn.

    Raises:
        TaskError: no messages, an empty turn, an unknown role, or roles out of order.
    """
    turns = tuple(messages)
    if not turns:
        raise TaskError(f"{source}: the prompt is empty.", "Write the prompt into the file.")
    expected = {"system", "user"}
    for number, turn in enumerate(turns, start=1):
        if turn.role not in MARKER_OF:
            raise TaskError(
                f"{source}: turn {number} has the role {turn.role!r}.",
                "Roles are system, user and assistant.",
            )
        if turn.role not in expected:
            raise TaskError(
                f"{source}: turn {number} is a {turn.role} turn where "
                f"{' or '.join(sorted(expected))} is expected.",
                "A prompt is an optional system turn, then user and assistant turns by turns.",
            )
        if not turn.content.strip():
            raise TaskError(
                f"{source}: turn {number} ({turn.role}) is empty.",
                "Write its text or take it out.",
            )
        expected = {"assistant"} if turn.role == "user" else {"user"}
    return turns


def load_prompt(path: Path, role: str) -> tuple[Message, ...]:
    """Read a prompt file.

    `.md` is plain text and becomes one turn of `role`. `.txt` is a transcript if it has markers
    and plain text if not. `.yml`, `.yaml` and `.json` hold a list of `{role, content}`.

    Raises:
        TaskError: no such file, not UTF-8, empty, or not in its format.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TaskError(
            f"There is no prompt file {path}.",
            "Put the prompt there, or name another file under `prompt:` in task.yml.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(
            f"The prompt file {path} can't be read: {error}.", "A prompt is a UTF-8 text file."
        ) from None
    _check_no_nul(text, str(path))
    suffix = path.suffix.lower()
    if suffix in {".yml", ".yaml", ".json"}:
        turns = _read_list(text, path)
        for number, turn in enumerate(turns, start=1):
            _check_no_nul(turn.content, f"{path}: turn {number}")
        return check_prompt(turns, str(path))
    if suffix == ".txt" and MARKER.search(text):
        return parse_transcript(text, str(path))
    if suffix in {".md", ".txt"}:
        return check_prompt([Message(role, text.strip())] if text.strip() else [], str(path))
    raise TaskError(
        f"{path}: a prompt file ends in .md, .txt, .yml or .json.", "Rename or convert the file."
    )


def teacher_messages(
    prompt: Sequence[Message], input_messages: Sequence[Message]
) -> tuple[Message, ...]:
    """The teacher's request: the prompt, then the conversation that starts with the input.

    When the prompt's last turn is itself a user turn, the input continues it after a blank line.

    Args:
        prompt: the prompt's messages.
        input_messages: user (the input), then assistant and user in turn.
    """
    first, *rest = input_messages
    if prompt[-1].role != "user":
        return (*prompt, *input_messages)
    joined = Message("user", f"{prompt[-1].content}\n\n{first.content}")
    return (*prompt[:-1], joined, *rest)


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


def _read_list(text: str, path: Path) -> tuple[Message, ...]:
    cure = "Write a list of {role: ..., content: ...}."
    try:
        data: Any = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise TaskError(f"{path} can't be parsed: {error}", cure) from None
    if not isinstance(data, list):
        raise TaskError(f"{path}: the prompt is not a list.", cure)
    for number, turn in enumerate(data, start=1):
        if (
            not isinstance(turn, dict)
            or set(turn) != {"role", "content"}
            or not all(isinstance(value, str) for value in turn.values())
        ):
            raise TaskError(
                f"{path}: turn {number} is not {{role: text, content: text}}: {_start(str(turn))}",
                cure,
            )
    return as_messages(data)


def _check_no_nul(text: str, source: str) -> None:
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise TaskError(
            f"{source}, line {line}: there is the character NUL (U+0000), which no dataset holds.",
            "Take it out; a prompt is a UTF-8 text file.",
        )


def _start(text: str) -> str:
    text = " ".join(text.split())
    return repr(text[:60] + ("..." if len(text) > 60 else ""))
