"""Prompt files: plain text, transcripts, lists of messages. The synthesizer reads them so, too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from genpi_plugin.data import roles
from genpi_plugin.data.inputs.file import not_utf8
from genpi_plugin.data.messages import (
    MESSAGE_KEYS,
    TEXTS,
    Message,
    parse_messages,
    readable,
)
from genpi_plugin.data.text import surrogate_fault
from genpi_plugin.data.transcripts import MARKER_OF, MARKERS, split_transcript
from genpi_plugin.data.yaml_keys import repeated_key
from genpi_plugin.errors import RowError

LISTS = {".yml", ".yaml", ".json"}


def read_prompt(path: Path, role: str = "system") -> list[Message]:
    """Read a prompt file.

    `.md` is plain text and becomes one turn of `role`. `.txt` is a transcript if it has markers
    and plain text if not. `.yml`, `.yaml` and `.json` hold a list of `{role, content}`, or of
    messages with all that a row's have: calls of tools, results, thoughts.

    Raises:
        RowError: no such file, not UTF-8, empty, or not in its format.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RowError(
            f"There is no prompt file {path}.", "Put the prompt there, or name another file."
        ) from None
    except OSError as error:
        raise RowError(
            f"The prompt file {path} can't be read: {error}.", "A prompt is a UTF-8 text file."
        ) from None
    except UnicodeDecodeError as error:
        cause, cure = not_utf8(path, error)
        raise RowError(f"The prompt file {path} can't be read: {cause}.", cure) from None
    _check_characters(text, str(path))
    suffix = path.suffix.lower()
    if suffix in LISTS:
        turns = _listed(text, path)
        for number, turn in enumerate(turns, start=1):
            _check_characters(readable(turn), f"{path}: turn {number}")
        return turns
    if suffix == ".txt" and has_markers(text):
        return read_transcript(text, str(path))
    if suffix in {".md", ".txt"}:
        turns = [{"role": role, "content": text.strip()}] if text.strip() else []
        return check_prompt(turns, str(path))
    raise RowError(
        f"{path} is not a prompt file: one ends in .md, .txt, .yml or .json.",
        "Rename or convert the file.",
    )


def has_markers(text: str) -> bool:
    """Whether a line of the text starts with a transcript's marker."""
    return bool(split_transcript(text)[1])


def read_transcript(text: str, source: str = "the transcript") -> list[Message]:
    """Read a transcript whose turns start with `<SYSTEM>:`, `<USER>:` or `<AGENT>:`.

    A marker counts at the start of a line only. White space around a turn is dropped, and so
    is an empty `<USER>:` at the very end: that is where the input goes.

    Args:
        text: the transcript.
        source: its name, for messages.

    Raises:
        RowError: text before the first marker, an empty turn, or roles out of order.
    """
    before, turns = split_transcript(text)
    if before:
        raise RowError(
            f"{source}: there is text before the first marker: {_start(before)}",
            "Start the file with <SYSTEM>: or <USER>: at the beginning of a line.",
        )
    if turns and turns[-1] == {"role": "user", "content": ""}:
        turns.pop()
    return check_prompt(turns, source)


def render_transcript(messages: Sequence[Message]) -> str:
    """Write messages as a transcript that `read_transcript` reads back."""
    return "\n\n".join(f"{MARKER_OF[turn['role']]}\n{turn['content']}" for turn in messages)


def check_prompt(turns: Sequence[Message], source: str) -> list[Message]:
    """Check that messages can stand before an input: [system], then user and assistant in turn.

    Raises:
        RowError: no messages, an empty turn, an unknown role, or roles out of order.
    """
    if not turns:
        raise RowError(f"{source}: the prompt is empty.", "Write the prompt into the file.")
    expected = {"system", "user"}
    for number, turn in enumerate(turns, start=1):
        role = turn["role"]
        if role not in MARKERS.values():
            raise RowError(
                f"{source}: turn {number} has the role {role!r}.",
                "Roles are system, user and assistant.",
            )
        if role not in expected:
            raise RowError(
                f"{source}: turn {number} is a {role} turn where "
                f"{' or '.join(sorted(expected))} is expected.",
                "A prompt is an optional system turn, then user and assistant turns by turns.",
            )
        if not turn["content"].strip():
            raise RowError(
                f"{source}: turn {number} ({role}) is empty.", "Write its text or take it out."
            )
        expected = {"assistant"} if role == "user" else {"user"}
    return list(turns)


def _listed(text: str, path: Path) -> list[Message]:
    """The messages of a list, checked."""
    cure = "Write a list of {role: ..., content: ...}."
    try:
        data: Any = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise RowError(f"{path} can't be read, or can't be parsed: {error}", cure) from None
    if twice := repeated_key(text):
        raise RowError(f"{path}, {twice}.", "Keep one of them.")
    if not isinstance(data, list):
        raise RowError(f"{path}: the prompt is not a list.", cure)
    if any(isinstance(turn, Mapping) and _is_more(turn) for turn in data):
        turns = parse_messages(data, "prompt", str(path))
        roles.check_prompt(turns, "prompt", str(path))
        return turns
    for number, turn in enumerate(data, start=1):
        if (
            not isinstance(turn, Mapping)
            or set(turn) != MESSAGE_KEYS
            or not all(isinstance(value, str) for value in turn.values())
        ):
            raise RowError(
                f"{path}: turn {number} is not {{role: text, content: text}}: {_start(str(turn))}",
                cure,
            )
    return check_prompt([dict(turn) for turn in data], str(path))


def _is_more(turn: Mapping[Any, Any]) -> bool:
    """Whether a message is of the kind that only lists can hold."""
    return turn.get("role") in ("tool", "developer") or not {*TEXTS, "tool_calls"}.isdisjoint(turn)


def _check_characters(text: str, source: str) -> None:
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise RowError(
            f"{source}, line {line}: there is the character NUL (U+0000), which no dataset holds.",
            "Take it out; a prompt is a UTF-8 text file.",
        )
    if half := surrogate_fault(text):
        raise RowError(f"{source}: there is {half}.", "Write the whole character.")


def _start(text: str) -> str:
    text = " ".join(text.split())
    return repr(text[:60] + ("..." if len(text) > 60 else ""))
