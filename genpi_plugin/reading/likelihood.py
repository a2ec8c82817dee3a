"""How likely a model holds an answer."""

from __future__ import annotations

from typing import Any

import torch

from genpi_plugin.data.chat import IGNORE_INDEX
from genpi_plugin.reading.generation import answering
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.prefix import PrefixCache
from genpi_plugin.reading.supervised import supervised_states


def logprobs_of(model: Any, request: list[int], answer: list[int]) -> torch.Tensor:
    """The log-probabilities of an answer's tokens behind a request, at temperature 1.

    Args:
        model: a causal LM, not wrapped for training, its adapter on or off as it is to read; its
            mode and settings are put back.
        request: at least one token.

    Returns: [tokens of the answer], float32, on the CPU.
    """
    ids, labels = [*request, *answer], [IGNORE_INDEX] * len(request) + answer
    with answering(model):
        head = SupervisedHead(model)
        states = supervised_states(model, head, PrefixCache(model, [ids]), [(ids, labels)])
        found = head.logits(states).log_softmax(-1).cpu()
    return found.gather(-1, torch.tensor(answer)[:, None])[:, 0]
