"""From messages to token ids, through the tokenizer's own chat template and nothing else.

For every assistant turn the request is rendered as a server renders it at inference (history
plus generation prompt), and the answer is what the model writes behind it, up to and
including the token that ends the turn (see `answers`, `frame`). Templates that rewrite history
(thinking models) thereby yield more than one sequence for a conversation, and each answer is
trained after exactly the tokens it will follow at inference. What was given and is not in what was
made is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from genpi_plugin.data import cures, probes
from genpi_plugin.data.forms import REFUSALS
from genpi_plugin.data.messages import Message
from genpi_plugin.data.tools import Tool
from genpi_plugin.data.view import TemplateView
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


class ChatView(TemplateView):
    """A tokenizer's chat template: renders text, request ids and answer ids."""

    def request_ids(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """The tokens a server sends to the model: tools, history and generation prompt.

        Raises:
            TemplateError: as `text`.
        """
        return self._curable(lambda view: view.ids(view.text(messages, True, tools)))

    def request_and_answer(
        self,
        history: Sequence[Message],
        answer: Message,
        tools: Sequence[Tool] = (),
        sampled: Sequence[int] | None = None,
    ) -> tuple[list[int], list[int]]:
        """See `TemplateView.right_behind`; an error names settings that work."""
        return self._curable(lambda view: view.right_behind(history, answer, tools, sampled))

    def turn(
        self,
        history: Sequence[Message],
        answer: Message,
        tools: Sequence[Tool] = (),
        sampled: Sequence[int] | None = None,
    ) -> tuple[list[int], list[int]]:
        """See `TemplateView.turn_of`: to be compared, not to be trained on."""
        return self._curable(lambda view: view.turn_of(history, answer, tools, sampled))

    def end_of_turn(self) -> int:
        """The token that ends an answer.

        Raises:
            TemplateError: there is none.
        """
        return self._curable(lambda view: view.frame(("user",)).end)

    def unthinking(self, text: str) -> str:
        """A text as the answer to a user's turn that nothing is thought before: thoughts that the
        generation prompt leaves open end at once.

        Raises:
            TemplateError: see `frame`.
        """
        thoughts = self._curable(lambda view: view.frame(("user",)).thoughts)
        return f"\n{thoughts[1]}\n\n{text}" if thoughts else text

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

    def sequences(
        self,
        messages: Sequence[Message],
        train_from: int = 0,
        tools: Sequence[Tool] = (),
        sampled: Mapping[int, Sequence[int]] = MappingProxyType({}),
    ) -> list[TokenSequence]:
        """Ids and labels of a conversation: loss on assistant turns from `train_from` on.

        One sequence for templates that only append; otherwise as many as there are histories.

        Args:
            tools: what stands before the messages.
            sampled: the tokens of turns as the model wrote them, by the turns' places behind
                `train_from`.
        """
        found: list[TokenSequence] = []
        for turn, message in enumerate(messages):
            if message["role"] != "assistant" or turn < train_from:
                continue
            ids = sampled.get(turn - train_from)
            request, answer = self.request_and_answer(messages[:turn], message, tools, ids)
            known = len(found[-1].ids) if found else 0
            if not found or request[:known] != found[-1].ids:
                found.append(TokenSequence())
                known = 0
            found[-1].extend(request[known:], supervised=False)
            found[-1].extend(answer, supervised=True)
        return found

    def check_same_answer(
        self,
        student: Sequence[Message],
        teacher: Sequence[Message],
        answer: Message,
        tools: Sequence[Tool] = (),
        sampled: Sequence[int] | None = None,
    ) -> None:
        """Contract 5: an answer has the same tokens after the student's and teacher's request.

        Args:
            tools: the teacher's.

        Raises:
            TemplateError: naming the first token that differs.
        """
        _, in_student = self.turn(student, answer, (), sampled)
        _, in_teacher = self.turn(teacher, answer, tools, sampled)
        if in_student != in_teacher:
            raise self._error(
                "tokenizes the same answer differently with the prompt and without: "
                + self._first_difference(in_student, in_teacher),
                "set `chat_template_kwargs:` or another `chat_template:` so that an answer does "
                "not depend on what comes before it.",
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
        messages = [{"role": "user", "content": probes.probe(0)}]

        def works(template: str, kwargs: dict[str, Any]) -> bool:
            other = ChatView(self.tokenizer, kwargs, template)
            try:
                ours, theirs = (
                    view.rendering(messages, True).rpartition(probes.probe(0))[2].strip()
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
