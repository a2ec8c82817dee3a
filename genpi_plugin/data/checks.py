"""Nothing is lost: what was given is in what the template wrote, and is text to the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

from genpi_plugin.data.answers import short
from genpi_plugin.data.messages import Message
from genpi_plugin.data.pieces import lost_calls, lost_result, lost_tool
from genpi_plugin.data.tools import Tool
from genpi_plugin.data.written import Tokens, missing, open_thoughts, without_thoughts
from genpi_plugin.errors import TemplateError, TextError

CONTROL = "holds a control token"
NO_TOKENS = "holds characters that its tokens lose"


def check_messages(tokens: Tokens, messages: Sequence[Message], rendered: str) -> None:
    """Each message's text, calls and name are in a rendered request.

    Thoughts of earlier turns may be missing: thinking models are made that way.

    Raises:
        TextError: a message holds what the tokenizer reads as a control token.
        TemplateError: a part of one is missing.
    """
    opened = open_thoughts(rendered)
    for turn, message in enumerate(messages):
        where, role = f"turn {turn} ({message['role']})", message["role"]
        check_control(tokens, message, where)
        lost = missing(message["content"], rendered)
        if lost and role == "assistant":
            lost = missing(without_thoughts(message["content"], opened), rendered)
        if lost and role == "tool":
            lost = lost_result(message["content"], rendered)
        if not lost and role != "tool":
            lost = lost_calls(message, rendered) or missing(message.get("name", ""), rendered)
        if lost:
            raise TemplateError(
                f"leaves out a part of {where}: {short(lost)} is not in what it writes",
                "take the text out of the row, or use a template that writes it.",
                lost,
            )


def check_no_calls(messages: Sequence[Message]) -> None:
    """For a template that writes none.

    Raises:
        TemplateError: a message calls a tool.
    """
    for message in messages:
        for call in message.get("tool_calls", []):
            name = call["function"]["name"]
            raise TemplateError(
                f"leaves out a call of a tool: {name!r} is not in what it writes",
                "use a `chat_template:` that writes calls.",
                name,
            )


def check_tools(tools: Sequence[Tool], rendered: str) -> None:
    """Each tool's name, description and parameters are in a rendered request.

    Raises:
        TemplateError: they are not.
    """
    name, lost = lost_tool(tools, rendered)
    if name:
        raise TemplateError(
            f"leaves out a part of the tool {name!r}: {short(lost)} is not in what it writes",
            "use a `chat_template:` that writes tools.",
        )


def check_control(tokens: Tokens, message: Message, where: str) -> None:
    """No text of a message holds a control token.

    Raises:
        TextError: one does.
    """
    texts = [message["content"], message.get("reasoning_content", ""), message.get("name", "")]
    for call in message.get("tool_calls", []):
        texts += [call["function"]["name"], call["function"]["arguments"]]
    for text in filter(None, texts):
        if fault := tokens.fault(text):
            what, part = fault
            raise TextError(
                f"{where} {what}.",
                "write it in another way, for example with a space inside, or leave the row out; a "
                "server reads it as the tokenizer does.",
                part,
                CONTROL if what.endswith("a control token") else NO_TOKENS,
            )
