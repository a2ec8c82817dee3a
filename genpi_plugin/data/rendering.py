"""A tokenizer's chat template, called as servers call it: content as text, or in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2

from genpi_plugin.data import templates
from genpi_plugin.data.frame import probe
from genpi_plugin.data.rows import Message
from genpi_plugin.errors import TemplateError

ROLES = ("system", "user", "assistant")
# Jinja's errors, and those of Python that an expression in a template can end in.
REFUSALS = (jinja2.exceptions.TemplateError, TypeError, ValueError, LookupError, ArithmeticError)
DAYS = (datetime(2001, 2, 3), datetime(2002, 3, 4))


class Renderer:
    """From messages to text."""

    def __init__(
        self, tokenizer: Any, kwargs: Mapping[str, Any], source: str | None = None
    ) -> None:
        """
        Args:
            tokenizer: a Hugging Face tokenizer.
            kwargs: passed to the template.
            source: a template in place of the tokenizer's own.

        Raises:
            TemplateError: the tokenizer has no chat template, or several and none is its default.
        """
        if not (source or getattr(tokenizer, "chat_template", None)):
            raise TemplateError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no chat template.",
                "use an instruct model, or set `chat_template:` in the YAML.",
            )
        self.tokenizer = tokenizer
        self.kwargs = dict(kwargs)
        own = tokenizer.chat_template
        if not source and isinstance(own, dict) and "default" not in own:
            raise TemplateError(
                f"the tokenizer of {tokenizer.name_or_path!r} has several chat templates "
                f"({', '.join(own)}) and none of them is the default.",
                "choose one: `chat_template_jinja:` with a file of it in the YAML, or "
                "chat_template.jinja in the model's folder.",
            )
        self.source: str = source or tokenizer.get_chat_template()
        self._in_parts: frozenset[str] | None = None

    def __call__(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """Render messages.

        Raises:
            jinja2.exceptions.TemplateError, TypeError: the template refuses them.
        """
        return self._render(messages, add_generation_prompt, self.in_parts, {})

    @property
    def name(self) -> str:
        """The template, for messages: whose it is, and which file holds the same one."""
        own = f"the chat template of {self.tokenizer.name_or_path or 'the tokenizer'}"
        line = templates.name_of(self.source)
        return f"{own} (`{line}`)" if line else own

    @property
    def in_parts(self) -> frozenset[str]:
        """The roles whose content the template takes as a list of parts and not as text.

        Servers look for that, too (vLLM's `--chat-template-content-format auto`).
        """
        if self._in_parts is None:
            self._in_parts = self._measured_parts()
        return self._in_parts

    def writes_date(self) -> bool:
        """Whether the same messages are rendered differently on another day."""
        messages = [{"role": "user", "content": probe(0)}]
        clocks: list[dict[str, Any]] = [{templates.CLOCK: day.strftime} for day in DAYS]
        try:
            first, second = (self._render(messages, True, self.in_parts, clock) for clock in clocks)
        except REFUSALS:
            return False
        return first != second

    def date_note(self) -> str:
        """That the template writes the date, and how to fix it; "" where it does not."""
        if not self.writes_date():
            return ""
        given = templates.date_variables(self.source)
        cure = (
            f"`chat_template_kwargs: {{{given[0]}: ...}}` sets a fixed one."
            if given
            else "It takes no fixed one; a copy of it with a date in place of the clock would."
        )
        return f"{self.name} writes today's date: the tokens are others every day. {cure}"

    def _measured_parts(self) -> frozenset[str]:
        for roles in (ROLES, ROLES[1:]):
            not_as_text = self._lost(roles, frozenset())
            for in_parts in (frozenset[str](), not_as_text, frozenset(roles)):
                if not self._lost(roles, in_parts):
                    return in_parts
        return frozenset()

    def _lost(self, roles: Sequence[str], in_parts: frozenset[str]) -> frozenset[str]:
        """The roles whose content is not in what the template writes."""
        messages = [{"role": role, "content": probe(turn)} for turn, role in enumerate(roles)]
        try:
            rendered = self._render(messages, False, in_parts, {})
        except REFUSALS:
            return frozenset(roles)
        texts = {role: probe(turn) for turn, role in enumerate(roles)}
        # Some write the list itself, as Python shows it.
        return frozenset(
            role for role, text in texts.items() if text not in rendered or f"'{text}'" in rendered
        )

    def _render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        in_parts: frozenset[str],
        more: Mapping[str, Any],
    ) -> str:
        shaped = [
            {**message, "content": [{"type": "text", "text": message["content"]}]}
            if message["role"] in in_parts
            else dict(message)
            for message in messages
        ]
        return self.tokenizer.apply_chat_template(
            shaped,
            chat_template=self.source,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **{**self.kwargs, **more},
        )
