"""A message of a row: its roles, its text, its thoughts, its calls of tools. Checked by name.

The form is that of OpenAI's chat completions. As `datasets` gives them, columns are padded with
nulls and calls may be a JSON string: both are read, and what comes out is plain lists and
dictionaries that hold only what was given.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

from genpi_plugin.errors import RowError

# role, content; reasoning_content, tool_calls (arguments as a JSON string), tool_call_id, name.
Message = dict[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool")
MESSAGE_KEYS = {"role", "content"}
TEXTS = ("reasoning_content", "tool_call_id", "name")
# Which roles have a key that not all have.
ONLY = {"tool_calls": "assistant", "reasoning_content": "assistant", "tool_call_id": "tool"}
# What other tools write, and what to do with it.
UNSUPPORTED = {
    "reasoning": "thoughts stand in `reasoning_content`",
    "thinking": "thoughts stand in `reasoning_content`",
    "function_call": "calls stand in `tool_calls`",
}
DATES = " JSON texts that all look like dates are read as dates: save the rows as Parquet."


def parse_messages(value: Any, name: str, where: str) -> list[Message]:
    """Read a list of messages; their order is for `roles.py` to check.

    Args:
        value: the field as `datasets` gives it.
        name: the field's name, for messages.
        where: file and row.

    Raises:
        RowError: it is no list of messages, it is empty, or a message holds what it may not.
    """
    if not isinstance(value, list | tuple):
        raise RowError(
            f"{where}: the field `{name}` is {kind(value)}, not a list of messages.",
            f'write `{name}` as [{{"role": ..., "content": ...}}, ...].',
        )
    if not value:
        raise RowError(
            f"{where}: the field `{name}` is empty.",
            "every row needs a prompt, and a conversation with at least one assistant turn.",
        )
    return [_message(one, f"{name}[{number}]", number, where) for number, one in enumerate(value)]


def check_known(
    given: Mapping[str, Any],
    known: set[str],
    prefix: str,
    where: str,
    reasons: Mapping[str, str],
) -> None:
    """Refuse what would be dropped. A column that is empty in this row holds nothing to drop."""
    for name, value in given.items():
        if name in known or _is_empty(value):
            continue
        why = reasons.get(name, "nothing reads it")
        raise RowError(
            f"{where}: the field `{prefix}{name}` is not one of a {'message' if prefix else 'row'}"
            f": {why}.",
            "leave the row out, or take the field out of the dataset if the answers do not "
            "depend on it (docs/dataset.md lists the fields there are).",
        )


def check_text(value: Any, name: str, where: str) -> None:
    """Raise a RowError for what is no text, or an empty one."""
    if not isinstance(value, str):
        raise RowError(
            f"{where}: the field `{name}` is {kind(value)}, not text.",
            f"write `{name}` as a string."
            + (DATES if isinstance(value, datetime.date | datetime.time) else ""),
        )
    if not value.strip():
        raise RowError(
            f"{where}: the field `{name}` is empty.",
            "a pair without it would teach an empty answer: regenerate the row, or remove it.",
        )


def kind(value: Any) -> str:
    """What a value is, in a user's words."""
    return {"NoneType": "nothing", "str": "text", "dict": "a mapping", "list": "a list"}.get(
        type(value).__name__, f"of type {type(value).__name__}"
    )


def arguments_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a checked call, by value."""
    return dict(json.loads(call["function"]["arguments"]))


def readable(message: Message) -> str:
    """A message as one text for people: its content, then each call as a line of JSON."""
    calls = [
        json.dumps(
            {"name": call["function"]["name"], "arguments": arguments_of(call)}, ensure_ascii=False
        )
        for call in message.get("tool_calls", [])
    ]
    return "\n".join(text for text in (message["content"], *calls) if text)


def _is_empty(value: Any) -> bool:
    """Whether nothing is lost with a value: Arrow fills columns and structs up with nulls."""
    if isinstance(value, Mapping):
        return all(map(_is_empty, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_empty, value))
    return value is None or value == "" or value != value  # NaN, as pandas writes a null


def _message(given: Any, name: str, number: int, where: str) -> Message:
    place = f"turn {number} of `{name.rpartition('[')[0]}`"
    if not isinstance(given, Mapping):
        raise RowError(
            f"{where}: {place} is {kind(given)}, not a message.",
            'write it as {"role": ..., "content": ...}.',
        )
    role = given.get("role")
    if not isinstance(role, str) or role not in ROLES:
        keys = "" if role else f"; its fields are {', '.join(map(str, given)) or 'none'}"
        raise RowError(
            f"{where}: {place} has the role {role!r}{keys}.",
            f"roles are {', '.join(f'`{one}`' for one in ROLES)}.",
        )
    check_known(given, {*MESSAGE_KEYS, "tool_calls", *TEXTS}, f"{name}.", where, UNSUPPORTED)
    calls = _calls(given.get("tool_calls"), f"{name}.tool_calls", where)
    content = given.get("content")
    if role == "tool" and content == "":
        pass  # a tool may have nothing to say
    elif content in (None, "") and calls:
        content = ""
    else:
        check_text(content, f"{name}.content", where)
    message: Message = {"role": role, "content": content}
    for key in TEXTS:
        if given.get(key) not in (None, ""):
            check_text(given[key], f"{name}.{key}", where)
            message[key] = given[key]
    if calls:
        message["tool_calls"] = calls
    for key, owner in ONLY.items():
        if key in message and role != owner:
            raise RowError(
                f"{where}: the field `{name}.{key}` stands in a message of the role {role!r}.",
                f"only messages of the role `{owner}` have it.",
            )
    if role == "tool" and "tool_call_id" not in message:
        raise RowError(
            f"{where}: the field `{name}.tool_call_id` is missing.",
            "a tool's message names the call that it answers.",
        )
    return message


def _calls(value: Any, name: str, where: str) -> list[dict[str, Any]]:
    """Calls in OpenAI's form; from a list, or from a JSON string of one."""
    if isinstance(value, str) and value:
        value = from_json(value, name, where)
    if _is_empty(value):
        return []
    if not isinstance(value, list | tuple) or not all(isinstance(one, Mapping) for one in value):
        raise RowError(
            f"{where}: the field `{name}` is {kind(value)}, not a list of calls.",
            'write it as [{"id": ..., "type": "function", "function": {"name": ..., "arguments": '
            "...}}, ...].",
        )
    calls = [_call(one, f"{name}[{number}]", where) for number, one in enumerate(value)]
    ids = [call["id"] for call in calls]
    if len(set(ids)) < len(ids):
        raise RowError(
            f"{where}: two calls of `{name}` have one id.", "give each call an id of its own."
        )
    return calls


def _call(given: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    function = given.get("function")
    check_known(given, {"id", "type", "function"}, f"{name}.", where, {})
    if given.get("type") not in (None, "function") or not isinstance(function, Mapping):
        raise RowError(
            f"{where}: the field `{name}` is no call of a function.",
            'write it as {"id": ..., "type": "function", "function": {"name": ..., "arguments": '
            "...}}.",
        )
    check_known(function, {"name", "arguments"}, f"{name}.function.", where, {})
    check_text(given.get("id"), f"{name}.id", where)
    check_text(function.get("name"), f"{name}.function.name", where)
    arguments = _arguments(function.get("arguments"), f"{name}.function.arguments", where)
    return {
        "id": given["id"],
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def _arguments(value: Any, name: str, where: str) -> str:
    """The arguments as a JSON string of an object: as given, or a mapping's values."""
    if isinstance(value, Mapping):
        if _holds_null(value):
            # Rows with other arguments pad a column of mappings with nulls.
            raise RowError(
                f"{where}: the field `{name}` is a mapping that holds nulls, and whether they were "
                "given or fill the columns of other rows can't be told.",
                "write the arguments as a JSON string.",
            )
        return json.dumps(value, ensure_ascii=False)
    check_text(value, name, where)
    if not isinstance(from_json(value, name, where), dict):
        raise RowError(f"{where}: the field `{name}` is no JSON object.", "leave the row out.")
    return str(value)


def from_json(text: str, name: str, where: str) -> Any:
    """What a field that holds JSON says.

    Raises:
        RowError: it is no JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise RowError(
            f"{where}: the field `{name}` is no valid JSON ({error}).",
            "correct it, or leave the row out.",
        ) from None


def _holds_null(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_null, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_null, value))
    return value is None
