"""From messages to token ids, through the tokenizer's own chat template and nothing else.

For every assistant turn the request is rendered as a server renders it at inference (history
plus generation prompt), and the answer is what the model writes behind it: its text, up to and
including the token that ends the turn (see `frame`). Templates that rewrite history (thinking
models) thereby yield more than one sequence for a conversation, and each answer is trained after
exactly the tokens it will follow at inference. A text that was given and is not in what was made
is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genpi_plugin.data import cures
from genpi_plugin.data.frame import Frame, measure, probe
from genpi_plugin.data.rendering import REFUSALS, Renderer
from genpi_plugin.data.rows import Message
from genpi_plugin.data.written import SHOWN, Tokens, missing, open_thoughts, without_thoughts
from genpi_plugin.errors import TemplateError, TextError

IGNORE_INDEX = -100


@dataclass
class TokenSequence:
    """Token ids and labels of one forward pass; labels are -100 where there is no loss."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def extend(self, ids: Sequence[int], supervised: bool) -> None:
        self.ids.extend(ids)
        self.labels.extend(ids if supervised else [IGNORE_INDEX] * len(ids))


class ChatView:
    """A tokenizer's chat template: renders text, request ids and answer ids."""

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
        self._frames: dict[tuple[str, ...], Frame] = {}

    def text(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """Render messages.

        Raises:
            TemplateError: the template refuses them, for example a system message, or leaves out
                a part of one; a message holds a control token.
        """
        try:
            rendered = self.rendering(messages, add_generation_prompt)
        except REFUSALS as error:
            roles = _listed([message["role"] for message in messages])
            raise self._error(
                f"does not take these roles: {roles} ({error})",
                "if it has no system role, give the prompt as a user turn: `prompt_role: user` in "
                "the task, or a transcript.",
            ) from error
        opened = open_thoughts(rendered)
        for turn, message in enumerate(messages):
            self._check_tokens(message["content"], f"turn {turn} ({message['role']})")
            lost = missing(message["content"], rendered)
            if lost and message["role"] == "assistant":
                # By design: thinking models do not read the thoughts of earlier turns.
                lost = missing(without_thoughts(message["content"], opened), rendered)
            if lost:
                raise self._error(
                    f"leaves out a part of turn {turn} ({message['role']}): {_short(lost)} is not "
                    "in what it writes",
                    "take the text out of the row, or use a template that writes it.",
                    lost,
                )
        return rendered

    def ids(self, text: str) -> list[int]:
        return self.tokens.ids(text)

    def request_ids(self, messages: Sequence[Message]) -> list[int]:
        """The tokens a server sends to the model: history and generation prompt.

        Raises:
            TemplateError: as `text`.
        """
        return self._curable(lambda view: view.ids(view.text(messages, True)))

    def request_and_answer(
        self, history: Sequence[Message], answer: Message
    ) -> tuple[list[int], list[int]]:
        """The tokens before an assistant turn, and those of the turn with its end token.

        Raises:
            TemplateError: as `text`; or the answer would not stand right behind the generation
                prompt, or not end with a special token.
        """
        return self._curable(lambda view: view._right_behind(history, answer))

    def turn(self, history: Sequence[Message], answer: Message) -> tuple[list[int], list[int]]:
        """As `request_and_answer`, and with any text that the template writes before the answer.

        To be compared, not to be trained on.
        """
        return self._curable(lambda view: view._turn(history, answer))

    def frame(self, roles: Sequence[str]) -> Frame:
        """What stands around an answer after turns with these roles.

        Raises:
            TemplateError: see `measure`.
        """
        key = tuple(roles)
        if key not in self._frames:
            try:
                self._frames[key] = measure(self.rendering, self.tokens, key)
            except TemplateError as error:
                raise self._error(error.cause, error.cure) from None
            except REFUSALS as error:
                raise self._error(
                    f"does not take these roles: {_listed([*key, 'assistant'])} ({error})",
                    "use another `chat_template:`.",
                ) from error
        return self._frames[key]

    def end_of_turn(self) -> int:
        """The token that ends an answer.

        Raises:
            TemplateError: there is none.
        """
        return self._curable(lambda view: view.frame(("user",)).end)

    def notes(self) -> list[str]:
        """What is unusual about the template and no mistake, a sentence each."""
        frame = self._curable(lambda view: view.frame(("user",)))
        found, name = [], self.rendering.name
        if frame.skipped:
            found.append(
                f"{name} writes {frame.skipped!r} before an answer, and its generation prompt "
                "does not: answers are trained right behind the generation prompt. If they "
                "were made without thinking, set `chat_template_kwargs: {enable_thinking: false}`."
            )
        if frame.opening.strip():
            found.append(
                f"{name} writes {frame.opening!r} before an answer: the model learns to write it "
                "first."
            )
        return [*found, *filter(None, [self.rendering.date_note()])]

    def sequences(self, messages: Sequence[Message], train_from: int = 0) -> list[TokenSequence]:
        """Ids and labels of a conversation: loss on assistant turns from `train_from` on.

        One sequence for templates that only append; otherwise as many as there are histories.
        """
        found: list[TokenSequence] = []
        for turn, message in enumerate(messages):
            if message["role"] != "assistant" or turn < train_from:
                continue
            request, answer = self.request_and_answer(messages[:turn], message)
            known = len(found[-1].ids) if found else 0
            if not found or request[:known] != found[-1].ids:
                found.append(TokenSequence())
                known = 0
            found[-1].extend(request[known:], supervised=False)
            found[-1].extend(answer, supervised=True)
        return found

    def check_same_answer(
        self, student: Sequence[Message], teacher: Sequence[Message], answer: Message
    ) -> None:
        """Contract 5: an answer has the same tokens after the student's and teacher's request.

        Raises:
            TemplateError: naming the first token that differs.
        """
        _, in_student = self.turn(student, answer)
        _, in_teacher = self.turn(teacher, answer)
        if in_student != in_teacher:
            raise self._error(
                "tokenizes the same answer differently with the prompt and without: "
                + self._first_difference(in_student, in_teacher),
                "set `chat_template_kwargs:` or another `chat_template:` so that an answer does "
                "not depend on what comes before it.",
            )

    def _right_behind(
        self, history: Sequence[Message], answer: Message
    ) -> tuple[list[int], list[int]]:
        tokens = self._turn(history, answer)
        frame = self.frame([message["role"] for message in history])
        if frame.foreign:
            raise self._error(
                f"writes {frame.opening!r} between its generation prompt and an answer",
                "use a `chat_template:` whose answers stand right behind the generation prompt.",
            )
        return tokens

    def _turn(self, history: Sequence[Message], answer: Message) -> tuple[list[int], list[int]]:
        before = self.text(history, True)
        frame = self.frame([message["role"] for message in history])
        content = answer["content"] if frame.keeps_space else answer["content"].strip()
        self._check_tokens(content, "an answer")
        if frame.thoughts:
            opener, closer = frame.thoughts
            inside, ended, _ = content.partition(closer)
            if not ended or opener in inside:
                raise self._error(
                    f"leaves {opener!r} open in its generation prompt, and the answer "
                    f"{_short(content)} does not begin inside of thoughts and end them",
                    "train and serve without thoughts, or use another `chat_template:`.",
                    content,
                )
        request = self.ids(before)
        behind = f"{frame.opening}{content}{frame.closing}"
        whole = self.ids(before + behind)
        if whole[: len(request)] == request:
            return request, whole[len(request) :]
        # The answer's first characters would merge with the generation prompt's last ones, which
        # they can't at inference: the request's tokens are fixed before the answer begins.
        return request, self.ids(behind)

    def _check_tokens(self, content: str, where: str) -> None:
        if fault := self.tokens.fault(content):
            what, text = fault
            raise TextError(
                f"{where} {what}.",
                "write it in another way, for example with a space inside, or leave the row out; a "
                "server reads it as the tokenizer does.",
                text,
            )

    def _curable(self, work: Callable[[ChatView], Any]) -> Any:
        """Do it; an error names settings under which it works, where there are any."""
        try:
            return work(self)
        except TextError:
            raise
        except TemplateError as error:
            found = cures.find(self.rendering.source, self.rendering.kwargs, self._trial(work))
            cure = f"{error.cure} Tried, and works: {found}." if found else error.cure
            raise TemplateError(error.cause, cure, error.text) from error

    def _trial(self, work: Callable[[ChatView], Any]) -> Callable[[str, dict[str, Any]], bool]:
        messages = [{"role": "user", "content": probe(0)}]

        def works(template: str, kwargs: dict[str, Any]) -> bool:
            other = ChatView(self.tokenizer, kwargs, template)
            try:
                ours, theirs = (
                    view.rendering(messages, True).rpartition(probe(0))[2].strip()
                    for view in (self, other)
                )
                # Another family's template would suit the tokenizer at best, not the model.
                if not theirs or not (ours.startswith(theirs) or theirs.startswith(ours)):
                    return False
                work(other)
            except (TemplateError, *REFUSALS):
                return False
            return True

        return works

    def _error(self, cause: str, cure: str, text: str = "") -> TemplateError:
        return TemplateError(f"{self.rendering.name} {cause.removesuffix('.')}.", cure, text)

    def _first_difference(self, left: Sequence[int], right: Sequence[int]) -> str:
        place = next(
            (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
            min(len(left), len(right)),
        )
        shown = [
            repr(self.tokens.decoded(side[place : place + 1])) if place < len(side) else "the end"
            for side in (left, right)
        ]
        return f"token {place} is {shown[0]} here and {shown[1]} there."


def _listed(roles: Sequence[str]) -> str:
    return ", ".join(roles[:6]) + (" ..." if len(roles) > 6 else "")


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")
