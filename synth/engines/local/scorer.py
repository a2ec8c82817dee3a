"""How likely the model in this process holds a given answer, with a prompt and without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import torch

from genpi_plugin.reading.capabilities import begin
from synth.engines.base import Divergence, Message, Request
from synth.engines.local.model import LocalModel

Result = TypeVar("Result")


class OnModel(Protocol):
    """Does something with the model, in its thread."""

    def __call__(self, work: Callable[[LocalModel], Result]) -> Awaitable[Result]: ...


class LocalScorer:
    """A `Scorer` whose divergences are exact.

    Args:
        on_model: does something with the model, in its thread, between answers.
    """

    exact = True

    def __init__(self, on_model: OnModel) -> None:
        self._on_model = on_model

    async def divergence(
        self, teacher: Request, floor: Request, answer: Message, sampled: Sequence[int] | None
    ) -> Divergence:
        """KL(teacher‖floor), and whether both views have the same tokens."""
        return await self._on_model(
            lambda local: _divergence(local, teacher, floor, answer, sampled)
        )

    async def tokens(self, request: Request, answer: str = "") -> int:
        """How many tokens a request takes, with a given answer behind it."""

        def count(local: LocalModel) -> int:
            behind = answer_ids(local, request, Message("assistant", answer)) if answer else []
            return len(local.render(request)) + len(behind)

        return await self._on_model(count)


def _divergence(
    local: LocalModel,
    teacher: Request,
    floor: Request,
    answer: Message,
    sampled: Sequence[int] | None,
) -> Divergence:
    with_prompt, without = (answer_ids(local, view, answer, sampled) for view in (teacher, floor))
    other = "" if with_prompt == without else repr(local.tokenizer.decode(with_prompt)[:80])
    found = kl(local, local.render(teacher), local.render(floor), with_prompt)
    return Divergence(float(found.sum()), len(with_prompt), other)


@torch.inference_mode()
def kl(local: LocalModel, teacher: list[int], floor: list[int], answer: list[int]) -> torch.Tensor:
    """KL(teacher‖floor) at each token of an answer, in nats, over the whole vocabulary.

    Args:
        local: the model.
        teacher: the request's token ids with the prompt.
        floor: the request's token ids without it.
        answer: the answer's token ids; not empty.
    """
    ahead = [_log_probs(local, request, answer) for request in (teacher, floor)]
    return (ahead[0].exp() * (ahead[0] - ahead[1])).sum(-1)


def _log_probs(local: LocalModel, request: list[int], answer: list[int]) -> torch.Tensor:
    begin(local.model, len(request) + len(answer))
    ids = torch.tensor([[*request, *answer]], device=local.device)
    logits = local.model(input_ids=ids, use_cache=False, logits_to_keep=len(answer) + 1).logits
    return logits[0, :-1].float().log_softmax(-1)


def answer_ids(
    local: LocalModel, request: Request, answer: Message, sampled: Sequence[int] | None = None
) -> list[int]:
    """The tokens of an answer after a request, with what ends its turn; see `Chat.answer_ids`."""
    return local.chat.answer_ids(request, answer, sampled)
