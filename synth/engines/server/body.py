"""A request as OpenAI-compatible servers take it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synth.engines.base import Request
from synth.engines.messages import as_dicts
from synth.errors import EngineError

# What bounds an answer of models that think.
NEW_LIMIT = "max_completion_tokens"
# Fields of a request whose answer would not be one text, and the values that are harmless.
ONE_ANSWER: dict[str, tuple[Any, ...]] = {"n": (None, 1), "stream": (None, False)}


@dataclass(frozen=True)
class BodyFormat:
    """What goes with every request to a model behind a server.

    Args:
        model: the name the servers know the model by.
        chat_template_kwargs: arguments of the server's chat template.
        request_args: more fields of a request, or other values for those it has; None leaves a
            field out.
    """

    model: str
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    request_args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_fields(self.request_args)

    def body(
        self, request: Request, limit: str, template: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The JSON body of a chat completion; `top_p` and `seed` only when sampling.

        The request's own arguments go over those of every request, key by key.

        Args:
            request: what is asked.
            limit: the field that bounds the answer (`max_tokens`, `max_completion_tokens`).
            template: arguments of the chat template, under those that anybody has named.

        Raises:
            EngineError: the request asks for several answers, or for one in pieces.
        """
        _check_fields(request.sampling.request_args)
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "messages": as_dicts(request.messages),
            "temperature": sampling.temperature,
            limit: sampling.max_tokens,
        }
        if sampling.temperature > 0:
            body |= {"top_p": sampling.top_p, "seed": request.seed % 2**31}
        named = {**self.chat_template_kwargs, **sampling.chat_template_kwargs}
        if arguments := {**(template or {}), **named}:
            body["chat_template_kwargs"] = arguments
        if request.tools:
            body["tools"] = json.loads(request.tools)
        body |= {**self.request_args, **sampling.request_args}
        return {name: value for name, value in body.items() if value is not None}


def with_both_names(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request whose history holds thoughts under both names that servers read.

    `reasoning_content` was the first; some versions of vLLM read `reasoning` alone.
    """
    messages = [
        {**turn, "reasoning": turn["reasoning_content"]} if "reasoning_content" in turn else turn
        for turn in body["messages"]
    ]
    return {**body, "messages": messages}


def thinks(body: Mapping[str, Any]) -> bool:
    """Whether a request's history holds thoughts."""
    return any("reasoning_content" in turn for turn in body["messages"])


def _check_fields(given: Mapping[str, Any]) -> None:
    for name, harmless in ONE_ANSWER.items():
        if name in given and given[name] not in harmless:
            raise EngineError(
                f"The request's arguments hold {name}: {given[name]!r}; of a request one answer is "
                "taken, whole.",
                f"Leave {name} out of --request-args and of `request_args` in task.yml.",
            )
