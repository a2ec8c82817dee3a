"""What an object of a file is, by the keys it has: an input, or the log of a conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genpi_plugin.data.inputs import openai, sharegpt
from genpi_plugin.data.inputs.file import BOM
from genpi_plugin.data.inputs.packed import is_packed, unpacked
from genpi_plugin.data.inputs.vendor import messages_of
from genpi_plugin.data.messages import Message, kind
from genpi_plugin.data.tools import Tool, parse_tools
from genpi_plugin.errors import RowError

INPUT, MESSAGES, CONVERSATIONS, REQUEST, BODY = FORMS = (
    "input", "messages", "conversations", "request", "body",
)  # fmt: skip
# Those of them that hold messages, or the JSON of them, and no text of a user's.
LOGS = FORMS[1:]
# The user's own names for an object, the most telling first.
IDS = ("custom_id", "id", "conversation_id", "request_id")
# Values of the prompt's slots, which only a prompt with slots makes of it.
SLOTS = "slots"
# What a log may hold beside its messages that the answers depend on.
READ = {"tools", "system", "response", "choices"}
UNREAD = {
    "functions": "write them as `tools`",
    "images": "texts alone can be internalized",
    "videos": "texts alone can be internalized",
    "audios": "texts alone can be internalized",
}
WHAT = (
    'write {"input": ...}, {"messages": [...]}, ShareGPT\'s {"conversations": [...]}, a request '
    "and its response, or a line of a batch file; or name the key with --input-column."
)


@dataclass(frozen=True)
class Log:
    """An object of a file, read: a text, or messages; `tools` and `id` where it has them.

    `answer_fault` says why its last answer is none to keep. `is_request`: the messages are what
    stands before one answer, and answers among them are its history. `slots` is what it has under
    that key, as it is.
    """

    text: str = ""
    messages: list[Message] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    id: str = ""
    answer_fault: str = ""
    is_request: bool = False
    slots: Any = None


def read_log(value: Any, where: str, column: str, ignored: set[str], from_json: bool) -> Log:
    """Read an object, by the one form that its keys declare.

    Args:
        value: a text, or an object of JSON or of a table.
        where: its place, for messages.
        column: the key that holds the input or the messages; "" where the keys declare it.
        ignored: gets the keys that are left out.
        from_json: see `messages_of`.

    Raises:
        RowError: it declares no form or two, or does not keep to it.
    """
    if isinstance(value, str):
        return Log(_text(value, INPUT, where))
    if not isinstance(value, Mapping):
        raise RowError(f"{where}: {_no_object(value)}.", WHAT)
    value = {key: one for key, one in value.items() if one is not None or key == column}
    form = column or _declared(value, where)
    for key, why in UNREAD.items():
        if value.get(key) and key != form:
            raise RowError(f"{where}: the key `{key}` is not read: {why}.", "take the log out.")
    log_id = _id(value, where)
    held = value.get(form)
    if column and column not in value:
        raise RowError(
            f"{where}: no `{column}`{_keys(value)}.", "name another key with --input-column."
        )
    # A text stands in `input`, or where the user says so; a log's own key may hold its JSON.
    if isinstance(held, str) and form in LOGS and (not column or is_packed(held)):
        held, from_json = unpacked(held, form, where), True
        value[form] = held
    if isinstance(held, str):
        ignored |= set(value) - {form, SLOTS, *IDS}
        return Log(_text(held, form, where), id=log_id, slots=value.get(SLOTS))
    request = form in (REQUEST, BODY) and isinstance(held, Mapping)
    if form == INPUT or (column and not isinstance(held, list | tuple) and not request):
        raise RowError(
            f"{where}: `{form}` is not a text but {type(held).__name__}.",
            "write the text that the application sends; messages stand in `messages`.",
        )
    parts = openai.parts_of(value, form, where)
    beside = {SLOTS} if parts.request is value else set()
    ignored |= set(parts.request) - {form, MESSAGES, INPUT, *READ, *IDS, *beside}
    ignored |= set(value) - {form, INPUT, SLOTS, "response", "method", "url", *READ, *IDS}
    messages = _messages(parts.request, form, where, ignored, from_json)
    if parts.answer is not None:
        messages += messages_of([parts.answer], "response.choices.message", where, ignored,
                                from_json)  # fmt: skip
    return Log(
        messages=messages,
        tools=_tools(parts.request.get("tools"), where),
        id=log_id or parts.id,
        slots=value.get(SLOTS),
        answer_fault=parts.fault,
        is_request=form == REQUEST and isinstance(held, list | tuple),
    )


def looks_like_log(line: str) -> bool:
    """Whether a text is JSON that would be read as an input or a log in a .jsonl file, or is a
    log's messages."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if isinstance(value, list):
        return bool(value) and all(
            isinstance(one, dict)
            and ({"role", "content"} <= set(one) or {"from", "value"} <= set(one))
            for one in value
        )
    return isinstance(value, dict) and not set(FORMS).isdisjoint(value)


def _declared(value: Mapping[str, Any], where: str) -> str:
    found = [name for name in FORMS if name in value]
    if found == [INPUT, REQUEST]:
        return REQUEST if _is_list(value[REQUEST]) else INPUT  # a row of a dataset
    if len(found) > 1:
        named = " and ".join(f"`{name}`" for name in found)
        raise RowError(
            f"{where}: it has {named}; which of them holds the input is not said.",
            "name one with --input-column.",
        )
    if found:
        return found[0]
    if "response" in value and "custom_id" in value:
        raise RowError(
            f"{where}: it is a batch's answer to the request {value['custom_id']!r}, which is "
            "not in the file.",
            "put requests and answers into one file: cat batch.jsonl batch_output.jsonl > NEW",
        )
    if {"role", "content"} <= set(value):
        raise RowError(
            f"{where}: it is one message, not a log.",
            'a log is an object: {"messages": [...]}.',
        )
    raise RowError(f"{where}: no `input`, and no messages{_keys(value)}.", WHAT)


def _messages(
    request: Mapping[str, Any], form: str, where: str, ignored: set[str], from_json: bool
) -> list[Message]:
    name = form if form in request else MESSAGES
    held = request.get(name)
    if isinstance(held, str):
        held, from_json = unpacked(held, name, where), True
    turns: Any = held
    if name == CONVERSATIONS or _is_sharegpt(held):
        turns = sharegpt.as_messages(held, name, where)
    messages = messages_of(turns, name, where, ignored, from_json)
    system = request.get("system")
    if system in (None, ""):
        return messages
    if not isinstance(system, str) or messages[0]["role"] in ("system", "developer"):
        raise RowError(
            f"{where}: the key `system` is {kind(system)}"
            + (", and the messages have a system message, too." if isinstance(system, str)
               else ", not text."),
            "write the system message once, as a text.",
        )  # fmt: skip
    return [*messages_of([{"role": "system", "content": system}], "system", where, ignored,
                         from_json), *messages]  # fmt: skip


def _is_list(held: Any) -> bool:
    return isinstance(held, list) or (
        isinstance(held, str) and held.lstrip().startswith("[") and is_packed(held)
    )


def _is_sharegpt(held: Any) -> bool:
    return (
        isinstance(held, list | tuple)
        and bool(held)
        and all(isinstance(one, Mapping) and "from" in one and "role" not in one for one in held)
    )


def _tools(given: Any, where: str) -> list[Tool]:
    """Tools as a list or as its JSON, each in OpenAI's form or as the bare function."""
    if given in (None, "", []):
        return []
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise RowError(f"{where}: the field `tools` is no valid JSON ({error}).",
                           "correct it.") from None  # fmt: skip
        if not given:
            return []
    if isinstance(given, Sequence):
        given = [
            {"type": "function", "function": one}
            if isinstance(one, Mapping) and "name" in one and "function" not in one
            else one
            for one in given
        ]
    return parse_tools(json.dumps(given), "tools", where)


def _id(value: Mapping[str, Any], where: str) -> str:
    for key in IDS:
        one = value.get(key)
        if one in (None, "") or one != one:
            continue
        if isinstance(one, bool) or not isinstance(one, str | int) or not str(one).strip():
            raise RowError(
                f"{where}: the key `{key}` is {kind(one)}, not a name.",
                "write the id as a text or a number, or take it out.",
            )
        return str(one).strip()
    return ""


def _text(text: str, name: str, where: str) -> str:
    text = text.strip().lstrip(BOM).strip()
    if not text:
        raise RowError(f"{where}: `{name}` is empty.", "write an input, or take it out.")
    return text


def _no_object(value: Any) -> str:
    if isinstance(value, list):
        return "a list, not an object with `input` or `messages`"
    return f"no `input`: it is {kind(value)}"


def _keys(value: Mapping[str, Any]) -> str:
    return f"; its keys are {', '.join(map(str, value))}" if value else ""
