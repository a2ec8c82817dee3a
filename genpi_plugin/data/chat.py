"""From messages to token ids, through the tokenizer's own chat template and nothing else.

For every assistant turn the request is rendered as a server renders it at inference (history
plus generation prompt), and the answer is what the template puts after it, up to and including
its end-of-turn token. Templates that rewrite history (thinking models) thereby yield more than
one sequence for a conversation, and each answer is trained after exactly the tokens it will
follow at inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2

from genpi_plugin.data.rows import Message
from genpi_plugin.errors import TemplateError

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

    def __init__(self, tokenizer: Any, template_kwargs: dict[str, Any] | None = None) -> None:
        """
        Raises:
            TemplateError: the tokenizer has no chat template.
        """
        if not getattr(tokenizer, "chat_template", None):
            raise TemplateError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no chat template.",
                "use an instruct model, or set `chat_template:` in the YAML.",
            )
        self.tokenizer = tokenizer
        self.template_kwargs = dict(template_kwargs or {})
        self._end_ids = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}

    def text(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """Render messages.

        Raises:
            TemplateError: the template refuses them, for example a system message.
        """
        try:
            return self.tokenizer.apply_chat_template(
                list(messages),
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **self.template_kwargs,
            )
        except jinja2.exceptions.TemplateError as error:
            roles = ", ".join(message["role"] for message in messages[:6])
            raise TemplateError(
                f"the chat template refuses a conversation with the roles {roles} ...: {error}.",
                "if it has no system role, give the prompt as a user turn: `prompt_role: user` in "
                "the task, or a transcript.",
            ) from error

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def request_ids(self, messages: Sequence[Message]) -> list[int]:
        """The tokens a server sends to the model: history and generation prompt."""
        return self.ids(self.text(messages, add_generation_prompt=True))

    def request_and_answer(
        self, history: Sequence[Message], answer: Message
    ) -> tuple[list[int], list[int]]:
        """The tokens before an assistant turn, and those of the turn with its end token.

        Raises:
            TemplateError: the template's answer does not continue its own generation prompt, or
                the turn does not end with a special token.
        """
        before = self.text(history, add_generation_prompt=True)
        whole = self.text([*history, answer], add_generation_prompt=False)
        request, conversation = self.ids(before), self.ids(whole)
        if conversation[: len(request)] == request:
            return request, self._up_to_end_of_turn(conversation[len(request) :])
        # Either the answer's first characters merge with the generation prompt's last ones, which
        # they can't at inference (the request's tokens are fixed before the answer begins), or
        # the template rewrites what comes before the answer once there is one (Mistral moves the
        # system message). The request is what inference sends; the answer is what comes after.
        answer_text = _after(before, whole, history[-1]["content"].strip())
        if answer_text is None:
            raise TemplateError(
                "the chat template writes an assistant turn differently from its generation "
                "prompt: " + self._first_difference(request, conversation),
                "set `chat_template_kwargs:` (for example `enable_thinking: false`) or another "
                "`chat_template:` so that both agree.",
            )
        return request, self._up_to_end_of_turn(self.ids(answer_text))

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
        _, in_student = self.request_and_answer(student, answer)
        _, in_teacher = self.request_and_answer(teacher, answer)
        if in_student != in_teacher:
            raise TemplateError(
                "the chat template tokenizes the same answer differently with the prompt and "
                "without: " + self._first_difference(in_student, in_teacher),
                "set `chat_template_kwargs:` or another `chat_template:` so that an answer does "
                "not depend on what comes before it.",
            )

    def _up_to_end_of_turn(self, answered: list[int]) -> list[int]:
        end = len(answered)
        while end and answered[end - 1] not in self._end_ids:
            if self._decoded(answered[end - 1 : end]).strip():
                end = 0  # text, not an end-of-turn token
                break
            end -= 1
        if not end:
            tail = self._decoded(answered[-8:])
            raise TemplateError(
                f"the chat template ends an assistant turn without a special token (...{tail!r}).",
                "the model could not learn where an answer ends; set `chat_template:` to one that "
                "ends turns with a special token.",
            )
        return answered[:end]

    def _decoded(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)

    def _first_difference(self, left: Sequence[int], right: Sequence[int]) -> str:
        place = next(
            (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
            min(len(left), len(right)),
        )
        shown = [
            repr(self._decoded(side[place : place + 1])) if place < len(side) else "the end"
            for side in (left, right)
        ]
        return f"token {place} is {shown[0]} here and {shown[1]} there."


def _after(request: str, whole: str, last_user: str) -> str | None:
    """What follows the generation prompt in `whole`, located by the last user turn if necessary."""
    if whole.startswith(request):
        return whole[len(request) :]
    start = request.rfind(last_user)
    turn_and_generation_prompt = request[start:]
    place = whole.rfind(turn_and_generation_prompt)
    if start < 0 or place < 0:
        return None
    return whole[place + len(turn_and_generation_prompt) :]
