"""ShareGPT's conversations: `from` and `value`, where calls and their results are turns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from genpi_plugin.data.inputs.vendor import ABOUT, UNMARKED
from genpi_plugin.data.messages import Message, from_json, kind
from genpi_plugin.errors import RowError

ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant",
         "assistant": "assistant"}  # fmt: skip
CALLS = "function_call"
RESULTS = ("tool", "observation")
KEYS = {"from", "value"}


def as_messages(value: Any, name: str, where: str) -> list[Message]:
    """Turns as messages; results answer the calls before them, in order.

    Raises:
        RowError: a turn has another form, a role that is not known, or results can't be told
            apart.
    """
    if not isinstance(value, list | tuple):
        raise RowError(
            f"{where}: the field `{name}` is {kind(value)}, not a list of turns.",
            'write it as [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}, ...].',
        )
    messages: list[Message] = []
    waiting: list[str] = []
    for number, turn in enumerate(value):
        place = f"{name}[{number}]"
        role, said = _turn(turn, place, where)
        if role in RESULTS:
            if not waiting:
                raise RowError(
                    f"{where}: the turn `{place}` is a result ({role}), and there is no call "
                    f"before it that it could answer (`from`: {CALLS}).",
                    "write the log as `messages`, where results name their calls.",
                )
            messages.append({"role": "tool", "content": said, "tool_call_id": waiting.pop(0)})
            continue
        if waiting and messages[-1]["role"] == "tool":
            raise RowError(
                f"{where}: there are fewer results than calls before the turn `{place}`: which "
                "call each answers can't be told.",
                "write the log as `messages`, where results name their calls.",
            )
        if role == CALLS:
            calls = _calls(said, place, number, where)
            waiting = [call["id"] for call in calls]
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            continue
        waiting = []
        messages.append({"role": ROLES[role], "content": said})
    return messages


def _turn(turn: Any, place: str, where: str) -> tuple[str, str]:
    if not isinstance(turn, Mapping) or "from" not in turn:
        keys = f"; its keys are {', '.join(map(str, turn))}" if isinstance(turn, Mapping) else ""
        raise RowError(
            f"{where}: the turn `{place}` has no `from`{keys}.",
            'ShareGPT\'s turns are {"from": ..., "value": ...}; turns with `role` and `content` '
            "stand in `messages`.",
        )
    role, said = turn["from"], turn.get("value")
    if role not in (*ROLES, CALLS, *RESULTS):
        known = ", ".join((*ROLES, CALLS, *RESULTS))
        raise RowError(f"{where}: the turn `{place}` is from {role!r}.", f"known are: {known}.")
    more = [
        key
        for key, value in turn.items()
        if key not in KEYS | ABOUT
        and value not in UNMARKED.get(key, (None,))
        and value not in ("", [])
    ]
    if more:
        raise RowError(
            f"{where}: the turn `{place}` has the key {more[0]!r}, which nothing reads.",
            "take it out if the answers do not depend on it.",
        )
    if not isinstance(said, str):
        raise RowError(
            f"{where}: the field `{place}.value` is {kind(said)}, not text.",
            "write `value` as a string.",
        )
    return role, said


def _calls(said: str, place: str, number: int, where: str) -> list[dict[str, Any]]:
    """The calls in a turn's text: one {"name", "arguments"}, or a list of them."""
    found = from_json(said, f"{place}.value", where)
    calls = found if isinstance(found, list) else [found]
    if not calls or not all(isinstance(one, Mapping) and "name" in one for one in calls):
        raise RowError(
            f"{where}: the turn `{place}` holds no call.",
            'write its value as the JSON of {"name": ..., "arguments": {...}}, or a list of them.',
        )
    return [
        {
            "id": f"call_{number}_{place_of_it}",
            "type": "function",
            "function": {
                "name": one["name"],
                "arguments": _arguments(one.get("arguments", {})),
            },
        }
        for place_of_it, one in enumerate(calls)
    ]


def _arguments(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else value
