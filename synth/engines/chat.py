"""From a request's messages to token ids, and back: what the engines in this process share.

The rendering is the plugin's own, so that what is asked here is what is trained later.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from genpi_plugin.data import probes, templates, thoughts
from genpi_plugin.data.calls import calls_apart
from genpi_plugin.data.chat import ChatView
from genpi_plugin.errors import TemplateError, TextError
from synth.engines.base import OVERLONG, Message, Request
from synth.engines.messages import as_dicts
from synth.errors import EngineError, RowError

log = logging.getLogger("synth")


def check_template(tokenizer: Any, model: str) -> None:
    """Raise an EngineError when the tokenizer has no chat template."""
    if not tokenizer.chat_template:
        raise EngineError(
            f"The tokenizer of {model} has no chat template.",
            "Use an instruction-tuned model, or put its template into the model's folder "
            "as chat_template.jinja.",
        )


class Chat:
    """A model's chat template, as the plugin reads it: requests and answers to token ids."""

    def __init__(self, tokenizer: Any, template_kwargs: Mapping[str, Any], model: str) -> None:
        """
        Args:
            tokenizer: a Hugging Face tokenizer with a chat template.
            template_kwargs: passed to the template; a request's own go over them.
            model: its name, for messages.
        """
        self.tokenizer = tokenizer
        self.template_kwargs = dict(template_kwargs)
        self.model = model
        self._views: dict[tuple[str, str], ChatView] = {}
        self._tried = False

    def request_ids(self, request: Request) -> list[int]:
        """The request's token ids, up to where the answer begins.

        Raises:
            EngineError: the chat template does not take these messages or leaves a part of them
                out, or the request has arguments that a server alone takes.
            RowError: a message holds a control token, or characters without a token.
        """
        if request.sampling.request_args:
            raise EngineError(
                f"{self.model} runs in this process, and a stage of task.yml has request_args for "
                f"it: {', '.join(request.sampling.request_args)}.",
                "They are fields of a server's request: leave them out, or name a server with "
                "--base-url. Arguments of the chat template go into chat_template_kwargs.",
            )
        if request.tools and not self._tried:
            self._tried = True
            if note := self._calls_note(request):
                log.warning(note)
        with _as_ours():
            return self._view(request).request_ids(as_dicts(request.messages), _tools(request))

    def body_ids(self, body: Mapping[str, Any]) -> list[int]:
        """The token ids of a request as it is sent to a server (`BodyFormat.body`).

        Raises:
            EngineError, RowError: as `request_ids`.
        """
        with _as_ours():
            view = self._view_with(body.get("chat_template_kwargs") or {})
            return view.request_ids(body["messages"], body.get("tools") or [])

    def answer_ids(
        self, request: Request, answer: Message, sampled: Sequence[int] | None = None
    ) -> list[int]:
        """The tokens of an answer behind a request, with the one that ends its turn.

        Args:
            request: what is answered.
            answer: an assistant's message.
            sampled: its tokens, where they are known.

        Raises:
            EngineError, RowError: as `request_ids`; no answer can stand behind the request, or
                `sampled` is not the answer.
        """
        with _as_ours():
            [given] = as_dicts([answer])
            history = as_dicts(request.messages)
            return self._view(request).turn(history, given, _tools(request), sampled)[1]

    def end_ids(self, configured: int | list[int] | None) -> list[int]:
        """Every token that ends an answer: the folder's, the tokenizer's, the template's."""
        ends: Iterable[int | None] = configured if isinstance(configured, list) else [configured]
        ends = [*ends, self.tokenizer.eos_token_id, self._end_of_turn()]
        return list(dict.fromkeys(end for end in ends if end is not None))

    def date_note(self) -> str:
        """That the template writes the date, in words for the user; "" where it does not."""
        return _capital(self._view_with(self.template_kwargs).rendering.date_note())

    def _calls_note(self, request: Request) -> str:
        """That calls as the template writes them are not read out of an answer, in words for the
        user; "" where they are."""
        calling = {"role": "assistant", "content": "", "tool_calls": [probes.call(1)]}
        asked = [{"role": "user", "content": probes.probe(0)}]
        try:
            written = self._view(request).turn(asked, calling, [probes.TOOL])[1]
        except TemplateError as error:
            return f"No call of a tool was tried, for the chat template refuses it: {error.cause}"
        text = self.tokenizer.decode(written, skip_special_tokens=False)
        if [call.name for call in calls_apart(text, [probes.TOOL]).calls] == [probes.NAME]:
            return ""
        return (
            f"The chat template of {self.model} writes calls of tools in a form that is not known "
            f"({text!r}): in this process a call stays a part of its answer's text, and no tool "
            "answers it. A server with a parser for them (--base-url) takes them out."
        )

    def _end_of_turn(self) -> int | None:
        try:
            return self._view_with(self.template_kwargs).end_of_turn()
        except TemplateError:
            return None  # it answers all the same; the plugin refuses to train on it

    def arguments(self, request: Request) -> dict[str, Any]:
        """The template's arguments for a request: what switches thinking off where it is to be,
        under those that somebody has named."""
        off = {} if request.sampling.thinking else self.thinking_off
        return {**off, **self.template_kwargs, **request.sampling.chat_template_kwargs}

    @functools.cached_property
    def thinking_off(self) -> dict[str, Any]:
        """What asks the model through its template not to think; {} where nothing does."""
        return templates.thinking_off(self._view_with({}).rendering.source)

    def _view(self, request: Request) -> ChatView:
        return self._view_with(self.arguments(request))

    def _view_with(self, arguments: Mapping[str, Any]) -> ChatView:
        key = (str(self.tokenizer.chat_template), json.dumps(arguments, sort_keys=True))
        if key not in self._views:
            self._views[key] = ChatView(self.tokenizer, dict(arguments))
        return self._views[key]


def request_ids(
    tokenizer: Any, template_kwargs: dict[str, Any], request: Request, model: str
) -> list[int]:
    """See `Chat.request_ids`."""
    return Chat(tokenizer, template_kwargs, model).request_ids(request)


def template_identity(model: str, template_kwargs: Mapping[str, Any]) -> dict[str, str]:
    """What a model's requests depend on besides its folder: the template's arguments, and the day
    where the template writes it; both absent where there is nothing."""
    found = {}
    if template_kwargs:
        found["chat_template_kwargs"] = json.dumps(template_kwargs, sort_keys=True)
    if day := templates.today(templates.of_tokenizer(model), template_kwargs):
        found["today"] = ", ".join(day)
    return found


def answer_limit(ids: list[int], request: Request, context: int) -> int:
    """How many tokens the answer to `ids` may have in a context of so many tokens.

    Raises:
        RowError: there is no room for an answer.
    """
    room = context - len(ids)
    if room < 1:
        raise RowError(
            OVERLONG,
            f"The request has {len(ids)} tokens, the model takes {context}.",
        )
    return min(request.sampling.max_tokens, room)


def answer_text(tokenizer: Any, request: list[int], tokens: list[int]) -> str:
    """The text of an answer's tokens, with the special tokens inside it, which mean something.

    They mark thoughts or tool calls, or begin a turn that is somebody else's. Where the chat
    template has begun a thought at the request's end, the text begins with its mark: what comes
    behind it is a thought, also when the token limit cuts it.

    Args:
        tokenizer: a Hugging Face tokenizer.
        request: the request's token ids.
        tokens: the answer's, without its end token.
    """

    def text_of(ids: list[int]) -> str:
        text: str = tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    return thoughts.begun(text_of(request[-thoughts.MARK_TOKENS :])) + text_of(tokens)


def _tools(request: Request) -> list[dict[str, Any]]:
    return list(json.loads(request.tools)) if request.tools else []


@contextlib.contextmanager
def _as_ours() -> Iterator[None]:
    """Turn the plugin's errors into this package's."""
    try:
        yield
    except TextError as error:
        raise RowError(error.reason, f"{error.cause} {_capital(error.cure)}") from error
    except TemplateError as error:
        raise EngineError(
            _capital(error.cause),
            f"{_capital(error.cure)} A template goes into the model's folder as "
            "chat_template.jinja, and its arguments behind --chat-template-kwargs.",
        ) from error


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
