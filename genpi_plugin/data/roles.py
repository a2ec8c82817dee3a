"""The order of roles in each field that holds messages."""

from __future__ import annotations

from collections.abc import Sequence

from genpi_plugin.data.messages import Message
from genpi_plugin.errors import RowError

INSTRUCTIONS = ("system", "developer")
SHOWN = 8


def check_prompt(prompt: Sequence[Message], name: str, where: str) -> None:
    """An instruction, or turns that begin with the user's, or both; results of tools after calls.

    Raises:
        RowError: another order.
    """
    turns = prompt[1:] if prompt[0]["role"] in INSTRUCTIONS else prompt
    if not _in_turn([*turns], ("user",)) or (turns and turns[-1]["role"] == "tool"):
        raise _error(
            prompt,
            name,
            where,
            "a prompt is a system message, or turns in the order user, assistant, user ..., or "
            "both; results of tools follow the assistant's calls, and the assistant answers them.",
        )
    check_answers(prompt, name, where)


def check_kept(kept: Sequence[Message], name: str, where: str) -> None:
    """Messages without calls, in any order that a template takes.

    Raises:
        RowError: a tool's message, or a call.
    """
    if any(message["role"] == "tool" or "tool_calls" in message for message in kept):
        raise _error(kept, name, where, "calls and results of tools belong into `request`.")


def check_request(request: Sequence[Message], name: str, where: str) -> None:
    """Everything before the first answer: it ends with what is answered.

    Raises:
        RowError: another order.
    """
    start = next(
        (place for place, one in enumerate(request) if one["role"] not in INSTRUCTIONS),
        len(request),
    )
    turns = request[start:]
    ends = turns[-1]["role"] if turns else ""
    if ends not in ("user", "tool") or not _in_turn(turns, ("user", "assistant")):
        raise _error(
            request,
            name,
            where,
            "after system messages its order is user, assistant, user or tool ..., and it ends "
            "with the user's or a tool's message, which is answered.",
        )
    check_answers(request, name, where)


def check_conversation(conversation: Sequence[Message], name: str, where: str) -> None:
    """From the first answer on: it begins and ends with the assistant.

    Raises:
        RowError: another order.
    """
    if not _in_turn(conversation, ("assistant",)) or conversation[-1]["role"] != "assistant":
        raise _error(
            conversation,
            name,
            where,
            "it follows the input, so its order is assistant, user, assistant ..., with tools' "
            "messages after calls, and it ends with assistant.",
        )
    check_answers(conversation, name, where)


def check_answers(messages: Sequence[Message], name: str, where: str) -> None:
    """Each tool's message answers a call of the assistant's turn before it, and none twice.

    Raises:
        RowError: it does not.
    """
    open_calls: set[str] = set()
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            open_calls = {call["id"] for call in message.get("tool_calls", [])}
        elif message["role"] == "tool":
            called = message["tool_call_id"]
            if called not in open_calls:
                raise RowError(
                    f"{where}: the field `{name}[{number}].tool_call_id` is {called!r}, which is "
                    "no open call of the assistant's turn before it.",
                    "name the call's id; a call is answered once.",
                )
            open_calls.remove(called)


def without_trailing_users(conversation: list[Message]) -> list[Message]:
    """Official conversations may end with the environment's turn, which nobody answers."""
    end = len(conversation)
    while end and conversation[end - 1]["role"] == "user":
        end -= 1
    return conversation[:end]


def _in_turn(turns: Sequence[Message], first: tuple[str, ...]) -> bool:
    expected = first
    for turn in turns:
        role = turn["role"]
        if role not in expected:
            return False
        if role == "user":
            expected = ("assistant",)
        elif role == "assistant":
            expected = ("user", "tool") if "tool_calls" in turn else ("user",)
        else:
            expected = ("tool", "user", "assistant")
    return True


def _error(messages: Sequence[Message], name: str, where: str, cure: str) -> RowError:
    roles = [message["role"] for message in messages]
    shown = ", ".join(roles[:SHOWN]) + (" ..." if len(roles) > SHOWN else "") if roles else "none"
    return RowError(f"{where}: the roles of `{name}` are {shown}.", cure)
