"""One chat template and its tokenizer: a request, and an answer behind it, as text and tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genpi_plugin.data import answers, checks, probes, tokenizers
from genpi_plugin.data.answers import Place
from genpi_plugin.data.forms import REFUSALS
from genpi_plugin.data.frame import Frame, measure
from genpi_plugin.data.messages import Message
from genpi_plugin.data.rendering import Renderer
from genpi_plugin.data.tools import Tool
from genpi_plugin.data.written import Tokens
from genpi_plugin.errors import TemplateError, TextError


class TemplateView:
    """What a template makes of messages, and of an answer behind them."""

    def __init__(
        self,
        tokenizer: Any,
        template_kwargs: Mapping[str, Any] | None = None,
        template: str | None = None,
    ) -> None:
        """
        Args:
            tokenizer: a Hugging Face tokenizer.
            template_kwargs: passed to the template.
            template: in place of the tokenizer's own.

        Raises:
            TemplateError: the tokenizer has no chat template.
        """
        self.tokenizer = tokenizer
        self.rendering = Renderer(tokenizer, template_kwargs or {}, template)
        self.tokens = Tokens(tokenizer)
        self._frames: dict[tuple[tuple[str, ...], bool], Frame] = {}
        self._own: dict[str, bool] = {}

    def text(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        tools: Sequence[Tool] = (),
    ) -> str:
        """Render messages, and the tools that stand before them.

        Raises:
            TemplateError: the template refuses them, for example a system message, or leaves out
                a part of one, a call, or a tool; a message holds a control token.
        """
        try:
            rendered = self.rendering(messages, add_generation_prompt, tools)
        except REFUSALS as error:
            roles = _listed([message["role"] for message in messages])
            raise self._error(
                f"does not take these roles: {roles} ({error})",
                "if it has no system role, give the prompt as a user turn: `prompt_role: user` in "
                "the task, or a transcript.",
            ) from error
        with self._named():
            self._check_calls(messages)
            checks.check_messages(self.tokens, messages, rendered)
            checks.check_tools(tools, rendered)
        return rendered

    def ids(self, text: str) -> list[int]:
        return self.tokens.ids(text)

    def frame(self, kinds: Sequence[str], tools: Sequence[Tool] = ()) -> Frame:
        """What stands around an answer after turns of these kinds (`probes.kinds`).

        Raises:
            TemplateError: see `measure`.
        """
        key = (tuple(kinds), bool(tools))
        if key not in self._frames:
            try:
                with self._named():
                    self._frames[key] = measure(self.rendering, self.tokens, kinds, tools)
            except REFUSALS as error:
                raise self._error(
                    f"does not take these roles: {_listed([*kinds, 'assistant'])} ({error})",
                    "use another `chat_template:`.",
                ) from error
        return self._frames[key]

    def check_tokenizer(self, mark: str) -> None:
        """Token ids with this mark (`tokenizers.mark`) are of this tokenizer.

        Raises:
            TextError: they are of another.
        """
        if mark not in self._own:
            self._own[mark] = tokenizers.agrees(self.tokenizer, mark)
        if not self._own[mark]:
            raise TextError(
                f"the `token_ids` were sampled with another tokenizer ({mark}) than "
                f"{self.tokenizer.name_or_path or 'the one'} that trains "
                f"({tokenizers.mark(self.tokenizer)}).",
                "train the model that gave the answers, or take the fields `token_ids` and "
                "`tokenizer` out of the dataset: the answers' texts are then tokenized anew.",
            )

    def right_behind(
        self,
        history: Sequence[Message],
        answer: Message,
        tools: Sequence[Tool],
        sampled: Sequence[int] | None,
    ) -> tuple[list[int], list[int]]:
        """The tokens before an assistant turn, and those of the turn with its end token.

        Args:
            tools: what stands before the messages.
            sampled: the turn's tokens as the model wrote them, where they are known.

        Raises:
            TemplateError: as `text`; or the answer would not stand right behind the generation
                prompt, or not end with a special token; or `sampled` is not the answer.
        """
        tokens = self.turn_of(history, answer, tools, sampled)
        frame = self.frame(probes.kinds(history), tools)
        if frame.foreign and sampled is None:
            raise self._error(
                f"writes {frame.opening!r} between its generation prompt and an answer",
                "use a `chat_template:` whose answers stand right behind the generation prompt.",
            )
        return tokens

    def turn_of(
        self,
        history: Sequence[Message],
        answer: Message,
        tools: Sequence[Tool],
        sampled: Sequence[int] | None,
    ) -> tuple[list[int], list[int]]:
        """As `right_behind`, and with any text that the template writes before the answer."""
        before = self.text(history, True, tools)
        place = Place(before, self.frame(probes.kinds(history), tools), self.tokens)
        checks.check_control(self.tokens, answer, "an answer")
        request = self.ids(before)
        if sampled is not None:
            ends = self._ends(place, history, answer, tools)
            return request, answers.sampled(place, answer, sampled, ends)
        behind = self._behind(place, history, answer, tools)
        whole = self.ids(before + behind)
        if whole[: len(request)] == request:
            return request, whole[len(request) :]
        # The answer's first characters would merge with the generation prompt's last ones, which
        # they can't at inference: the request's tokens are fixed before the answer begins.
        return request, self.ids(behind)

    def _behind(
        self, place: Place, history: Sequence[Message], answer: Message, tools: Sequence[Tool]
    ) -> str:
        """What the model writes behind its generation prompt, as far as texts tell."""
        with self._named():
            if answers.is_plain(answer):
                return answers.plain(place, answer["content"])
            self._check_calls([answer])
            try:
                whole = self.rendering([*history, answer], False, tools)
            except REFUSALS as error:
                raise TemplateError(
                    f"does not take an answer with {answers.beside(answer)} ({error})",
                    "use another `chat_template:`, or give the answer's `token_ids`.",
                ) from error
            return answers.rendered(place, answer, whole)

    def _check_calls(self, messages: Sequence[Message]) -> None:
        calling = [one for one in messages if "tool_calls" in one]
        if calling and self.rendering.forms.arguments_as_text is None:
            checks.check_no_calls(calling)

    def _ends(
        self, place: Place, history: Sequence[Message], answer: Message, tools: Sequence[Tool]
    ) -> set[int]:
        """The tokens that may end an answer: the template's, the tokenizer's, and that behind
        a call where the template writes another."""
        ends = {place.frame.end, self.tokenizer.eos_token_id} - {None}
        if not answers.is_plain(answer):
            with contextlib.suppress(TemplateError):
                ends.add(self.ids(self._behind(place, history, answer, tools))[-1])
        return ends

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Put the template's name before what is wrong with it."""
        try:
            yield
        except TextError:
            raise
        except TemplateError as error:
            raise self._error(error.cause, error.cure, error.text) from error.__cause__

    def _error(self, cause: str, cure: str, text: str = "") -> TemplateError:
        return TemplateError(f"{self.rendering.name} {cause.removesuffix('.')}.", cure, text)


def _listed(roles: Sequence[str]) -> str:
    return ", ".join(roles[:6]) + (" ..." if len(roles) > 6 else "")
