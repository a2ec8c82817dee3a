"""In which form a template takes content, calls and thoughts: found by rendering each form.

A form is the template's when what was given is whole in what it writes. Servers look for some of
this, too (vLLM's `--chat-template-content-format auto`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2

from genpi_plugin.data import probes
from genpi_plugin.data.messages import Message, arguments_of
from genpi_plugin.data.probes import probe
from genpi_plugin.data.tools import Tool

ROLES = ("system", "user", "assistant")
# How templates name thoughts beside an answer.
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
# Jinja's errors, and those of Python that an expression in a template can end in.
REFUSALS = (jinja2.exceptions.TemplateError, TypeError, ValueError, LookupError, ArithmeticError)

Raw = Callable[[Sequence[Mapping[str, Any]], bool, Sequence[Tool]], str]


class Forms:
    """The forms that one template takes, each measured when it is first needed."""

    def __init__(self, render: Raw) -> None:
        """
        Args:
            render: calls the template with messages as they are, whether there is a generation
                prompt, and tools.
        """
        self.render = render

    @functools.cached_property
    def in_parts(self) -> frozenset[str]:
        """The roles whose content is taken as a list of parts and not as text; without tools'."""
        for roles in (ROLES, ROLES[1:]):
            not_as_text = self._lost(roles, frozenset())
            for in_parts in (frozenset[str](), not_as_text, frozenset(roles)):
                if not self._lost(roles, in_parts):
                    return in_parts
        return frozenset()

    @functools.cached_property
    def tools_in_parts(self) -> bool:
        """Whether the content of tools' messages is taken as a list of parts."""
        talk = [self._shaped(one) for one in probes.turns(("user", "assistant+1", "tool"))]
        for in_parts in (False, True):
            talk[-1] = {**talk[-1], "content": _content(probe(2), in_parts)}
            rendered = self._tried(talk)
            if probe(2) in rendered and f"'{probe(2)}'" not in rendered:
                return in_parts
        return False

    @functools.cached_property
    def arguments_as_text(self) -> bool | None:
        """Whether a call's arguments are taken as JSON or as a mapping; None: calls are lost."""
        for as_text in (False, True):
            for tools in ((), (probes.TOOL,)):
                rendered = self._tried(self._calling(as_text), tools)
                if "".join(probes.ARGUMENTS.split()) in "".join(rendered.split()):
                    return as_text
                # Or each by itself, in a form of the template's own; Python's is no form.
                whole = all(one in rendered for one in (probes.NAME, probes.KEY, probes.VALUE))
                if whole and f"'{probes.KEY}'" not in rendered:
                    return as_text
        return None

    @functools.cached_property
    def thoughts(self) -> str | None:
        """The key under which an answer's thoughts are taken; None where they are lost."""
        for key in THOUGHTS:
            answer = {**self._shaped(_assistant(probes.ANSWER)), key: probe(1)}
            rendered = self._tried([self._shaped(_user()), answer])
            if probe(1) in rendered and probes.ANSWER in rendered:
                return key
        return None

    def shaped(self, message: Message) -> dict[str, Any]:
        """A message in the template's forms."""
        if message["role"] == "tool":
            return {**message, "content": _content(message["content"], self.tools_in_parts)}
        return self._shaped(message)

    def _shaped(self, message: Message) -> dict[str, Any]:
        in_parts = message["role"] in self.in_parts
        shaped = {**message, "content": _content(message["content"], in_parts)}
        if "tool_calls" in message:
            shaped["tool_calls"] = _shaped_calls(message, bool(self.arguments_as_text))
        if "reasoning_content" in message:
            shaped[self.thoughts or THOUGHTS[0]] = shaped.pop("reasoning_content")
        return shaped

    def _calling(self, as_text: bool) -> list[dict[str, Any]]:
        message = {**_assistant(""), "tool_calls": [probes.call(1)]}
        calls = _shaped_calls(message, as_text)
        return [self._shaped(_user()), {**self._shaped(_assistant("")), "tool_calls": calls}]

    def _lost(self, roles: Sequence[str], in_parts: frozenset[str]) -> frozenset[str]:
        """The roles whose content is not in what the template writes."""
        messages = [
            {"role": role, "content": _content(probe(turn), role in in_parts)}
            for turn, role in enumerate(roles)
        ]
        rendered = self._tried(messages)
        texts = {role: probe(turn) for turn, role in enumerate(roles)}
        # Some write the list itself, as Python shows it.
        return frozenset(
            role for role, text in texts.items() if text not in rendered or f"'{text}'" in rendered
        )

    def _tried(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool] = ()) -> str:
        try:
            return self.render(messages, False, tools)
        except REFUSALS:
            return ""


def _user() -> Message:
    return {"role": "user", "content": probe(0)}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _content(text: str, in_parts: bool) -> str | list[dict[str, str]]:
    return [{"type": "text", "text": text}] if in_parts else text


def _shaped_calls(message: Message, as_text: bool) -> list[dict[str, Any]]:
    if as_text:
        return list(message["tool_calls"])
    return [
        {**call, "function": {**call["function"], "arguments": arguments_of(call)}}
        for call in message["tool_calls"]
    ]
