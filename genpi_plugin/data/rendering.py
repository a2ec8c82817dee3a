"""A tokenizer's chat template, called as servers call it: content as text, or in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from genpi_plugin.data import templates
from genpi_plugin.data.forms import REFUSALS, Forms
from genpi_plugin.data.messages import Message
from genpi_plugin.data.probes import probe
from genpi_plugin.data.tools import Tool
from genpi_plugin.errors import TemplateError

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
        self.forms = Forms(self._render)

    def __call__(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        tools: Sequence[Tool] = (),
    ) -> str:
        """Render messages, in the forms that the template takes.

        Raises:
            jinja2.exceptions.TemplateError, TypeError: the template refuses them.
        """
        shaped = [self.forms.shaped(message) for message in messages]
        return self._render(shaped, add_generation_prompt, tools)

    @property
    def name(self) -> str:
        """The template, for messages: whose it is, and which file holds the same one."""
        own = f"the chat template of {self.tokenizer.name_or_path or 'the tokenizer'}"
        line = templates.name_of(self.source)
        return f"{own} (`{line}`)" if line else own

    def writes_date(self) -> bool:
        """Whether the same messages are rendered differently on another day."""
        messages = [{"role": "user", "content": probe(0)}]
        clocks: list[dict[str, Any]] = [{templates.CLOCK: day.strftime} for day in DAYS]
        try:
            shaped = [self.forms.shaped(message) for message in messages]
            first, second = (self._render(shaped, True, (), clock) for clock in clocks)
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

    def _render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
        tools: Sequence[Tool],
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        rendered: str = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            chat_template=self.source,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **({"tools": list(tools)} if tools else {}),
            **{**self.kwargs, **more},
        )
        return rendered
