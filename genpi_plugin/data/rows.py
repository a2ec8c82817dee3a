"""Contract 1: the dataset row. Parse it, check it, read the official implementation's names too.

A malformed row is refused with the file, the row, the field and the cure. Nothing is filled in
or left out silently.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genpi_plugin.errors import RowError

Message = dict[str, str]

# Our name -> the name in kaistAI/GenPI (dataset.py, save_pseudo_dataset).
OFFICIAL_NAMES = {
    "prompt_id": "context_id",
    "prompt": "context",
    "input": "pseudo_input",
    "floor_output": "student_output_single",
    "teacher_output": "teacher_output_single",
    "reason": "reason",
    "conversation": "teacher_output_conv",
}
TEXT_FIELDS = ("input", "floor_output", "teacher_output", "reason")
# What recitals alone need: a row may do without them.
OPTIONAL = ("floor_output", "reason")
MARKERS = {"<SYSTEM>:": "system", "<USER>:": "user", "<AGENT>:": "assistant"}
MARKER_OF = {role: marker for marker, role in MARKERS.items()}
MESSAGE_KEYS = {"role", "content"}
# What other tools write, and what becomes of it for now.
UNSUPPORTED = {
    "tools": "tools are not trained yet",
    "tool_calls": "calls of tools are not trained yet",
    "tool_call_id": "results of tools are not trained yet",
    "reasoning_content": "thoughts beside an answer are not trained yet",
    "reasoning": "thoughts beside an answer are not trained yet",
}
DATES = " JSON texts that all look like dates are read as dates: save the rows as Parquet."
# Roles that other tools write, and what to do about them for now.
ROLES = "roles are `system`, `user` and `assistant`"
ROLE_CURES = {
    "developer": "write `system`: templates without a developer's turn know it as that.",
    "tool": f"{ROLES}; results of tools are not trained yet: leave the row out.",
    "function": f"{ROLES}; results of tools are not trained yet: leave the row out.",
}


@dataclass(frozen=True)
class Row:
    """One input with everything generated for it. See contract 1 for the fields.

    `floor_output` and `reason` are None where they were not made.
    """

    id: str
    prompt_id: str
    prompt: list[Message]
    input: str
    floor_output: str | None
    teacher_output: str
    reason: str | None
    conversation: list[Message]
    where: str = ""

    def field_of(self, text: str) -> str:
        """The field in which a piece of text stands; "" where it is in none."""
        fields = {name: getattr(self, name) or "" for name in TEXT_FIELDS}
        for name in ("prompt", "conversation"):
            fields |= {
                f"{name}[{turn}].content": message["content"]
                for turn, message in enumerate(getattr(self, name))
            }
        return next((name for name, content in fields.items() if text in content), "")

    @property
    def can_recite(self) -> bool:
        """Whether there is all that a prompt-generation half shows and asks for."""
        return self.floor_output is not None and self.reason is not None


def parse(raw: Mapping[str, Any], where: str) -> Row:
    """Read one row with our names or the official ones.

    Args:
        raw: the row as `datasets` gives it.
        where: file and row number, for messages.

    Raises:
        RowError: a field is missing, empty, unknown, of the wrong type, or its roles are out of
            order.
    """
    official = "prompt" not in raw and "context" in raw
    names = OFFICIAL_NAMES if official else {name: name for name in OFFICIAL_NAMES}
    named: dict[str, Any] = {ours: raw.get(theirs) for ours, theirs in names.items()}
    _check_known(raw, {"id", *names.values()}, "", where)
    for field, name in names.items():
        if named.get(field) is None and field not in OPTIONAL:
            raise RowError(
                f"{where}: the field `{name}` is missing.",
                "make the dataset with `python -m synth run`, or add the field to the row "
                "(docs/dataset.md lists them all).",
            )
    for field in TEXT_FIELDS:
        if named[field] is not None:
            _check_text(named[field], names[field], where)
    row_id = raw.get("id")
    for name, value in (("id", row_id), (names["prompt_id"], named["prompt_id"])):
        _check_name(value, name, where)
    prompt = parse_prompt(named["prompt"], names["prompt"], where)
    conversation = _check_messages(named["conversation"], names["conversation"], where)
    if official:
        conversation = _without_trailing_users(conversation)
    _check_conversation(conversation, names["conversation"], where)
    return Row(
        id=str(row_id) if row_id not in (None, "") else where,
        prompt_id=str(named["prompt_id"]),
        prompt=prompt,
        conversation=conversation,
        where=where,
        **{field: named[field] for field in TEXT_FIELDS},
    )


def parse_prompt(value: Any, name: str, where: str) -> list[Message]:
    """Read a prompt: a list of messages, or a transcript (official datasets hold one string)."""
    messages = parse_transcript(value) if isinstance(value, str) else value
    prompt = _check_messages(messages, name, where)
    roles = [message["role"] for message in prompt]
    turns = roles[1:] if roles[0] == "system" else roles
    expected = [("user", "assistant")[i % 2] for i in range(len(turns))]
    if turns != expected:
        raise RowError(
            f"{where}: the roles of `{name}` are {_short(roles)}.",
            "a prompt is a system message, or turns in the order user, assistant, user ..., or "
            "both.",
        )
    return prompt


def parse_transcript(text: str) -> list[Message]:
    """Read `<SYSTEM>:`, `<USER>:`, `<AGENT>:` markers at line starts; an empty end is left out.

    As the official datasets have them: text before the first marker is a system message, and so
    is text without a marker. Prompt files are read more strictly (`prompts.read_transcript`).
    """
    before, turns = split_transcript(text)
    while turns and not turns[-1]["content"]:
        turns.pop()
    return [{"role": "system", "content": before}, *turns] if before or not turns else turns


def split_transcript(text: str) -> tuple[str, list[Message]]:
    """The text before the first marker of a transcript, and its turns, without white space."""
    pieces = re.split(r"^(<(?:SYSTEM|USER|AGENT)>:)", text, flags=re.MULTILINE)
    turns = [
        {"role": MARKERS[marker], "content": content.strip()}
        for marker, content in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    return pieces[0].strip(), turns


def prompt_text(prompt: Sequence[Message]) -> str:
    """The prompt as one text: the adapter learns to write it, and recitals are compared with it."""
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n\n".join(f"{MARKER_OF[m['role']]}\n{m['content']}" for m in prompt)


def teacher_messages(prompt: Sequence[Message], messages: Sequence[Message]) -> list[Message]:
    """Put the prompt before a conversation that begins with a user turn.

    A prompt that ends in a user turn ("Now, my problem is:") continues in the first message.
    """
    if prompt and prompt[-1]["role"] == "user":
        joined = f"{prompt[-1]['content']}\n\n{messages[0]['content']}"
        return [*prompt[:-1], {"role": "user", "content": joined}, *messages[1:]]
    return [*prompt, *messages]


def _check_known(given: Mapping[str, Any], known: set[str], prefix: str, where: str) -> None:
    """Refuse what would be dropped. A column that is empty in this row holds nothing to drop."""
    for name, value in given.items():
        if name in known or _is_empty(value):
            continue
        why = UNSUPPORTED.get(name, "nothing reads it")
        raise RowError(
            f"{where}: the field `{prefix}{name}` is not one of a {'message' if prefix else 'row'}"
            f": {why}.",
            "leave the row out, or take the field out of the dataset if the answers do not "
            "depend on it (docs/dataset.md lists the fields there are).",
        )


def _is_empty(value: Any) -> bool:
    """Whether nothing is lost with a value: Arrow fills columns and structs up with nulls."""
    if isinstance(value, Mapping):
        return all(map(_is_empty, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_empty, value))
    return value is None or value == "" or value != value  # NaN, as pandas writes a null


def _check_name(value: Any, name: str, where: str) -> None:
    """Check an id: a text that is not empty, or a whole number; `id` may be missing."""
    if name == "id" and value in (None, ""):
        return
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(
            f"{where}: the field `{name}` is {_kind(value)}, not a name.",
            f"write `{name}` as a string.",
        )
    if not str(value).strip():
        raise RowError(
            f"{where}: the field `{name}` is empty.",
            "it tells the rows of one prompt from those of another: write a name of the prompt.",
        )


def _check_text(value: Any, name: str, where: str) -> None:
    if not isinstance(value, str):
        raise RowError(
            f"{where}: the field `{name}` is {_kind(value)}, not text.",
            f"write `{name}` as a string."
            + (DATES if isinstance(value, datetime.date | datetime.time) else ""),
        )
    if not value.strip():
        raise RowError(
            f"{where}: the field `{name}` is empty.",
            "a pair without it would teach an empty answer: regenerate the row, or remove it.",
        )


def _check_messages(value: Any, name: str, where: str) -> list[Message]:
    if not isinstance(value, list | tuple):
        raise RowError(
            f"{where}: the field `{name}` is {_kind(value)}, not a list of messages.",
            f'write `{name}` as [{{"role": ..., "content": ...}}, ...].',
        )
    if not value:
        raise RowError(
            f"{where}: the field `{name}` is empty.",
            "every row needs a prompt, and a conversation with at least one assistant turn.",
        )
    messages: list[Message] = []
    for number, message in enumerate(value):
        if not isinstance(message, Mapping):
            raise RowError(
                f"{where}: turn {number} of `{name}` is {_kind(message)}, not a message.",
                'write it as {"role": ..., "content": ...}.',
            )
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or role not in MARKER_OF:
            keys = "" if role else f"; its fields are {_short(list(map(str, message)))}"
            raise RowError(
                f"{where}: turn {number} of `{name}` has the role {role!r}{keys}.",
                ROLE_CURES.get(str(role), f"{ROLES}."),
            )
        _check_known(message, MESSAGE_KEYS, f"{name}[{number}].", where)
        _check_text(content, f"{name}[{number}].content", where)
        messages.append({"role": role, "content": str(content)})
    return messages


def _check_conversation(conversation: list[Message], name: str, where: str) -> None:
    roles = [message["role"] for message in conversation]
    if not roles or len(roles) % 2 == 0 or roles != _alternating(len(roles)):
        raise RowError(
            f"{where}: the roles of `{name}` are {_short(roles)}.",
            "it follows the input, so its order is assistant, user, assistant ..., and it ends "
            "with assistant.",
        )


def _alternating(count: int) -> list[str]:
    return [("assistant", "user")[i % 2] for i in range(count)]


def _without_trailing_users(conversation: list[Message]) -> list[Message]:
    """Official conversations may end with the environment's turn, which nobody answers."""
    end = len(conversation)
    while end and conversation[end - 1]["role"] == "user":
        end -= 1
    return conversation[:end]


def _short(roles: Sequence[str]) -> str:
    return ", ".join(roles[:8]) + (" ..." if len(roles) > 8 else "") if roles else "none"


def _kind(value: Any) -> str:
    return {"NoneType": "nothing", "str": "text", "dict": "a mapping", "list": "a list"}.get(
        type(value).__name__, f"of type {type(value).__name__}"
    )
