"""Peak memory of the loss alone: a large vocabulary, a long pair.

    python -m benchmarks.loss_memory --tokens 8192 --vocabulary 128256

* ours: the head sees a chunk of the supervised positions at a time (`genpi_plugin.reading.head`);
* distilled: the same with the divergence from a teacher's 128 likeliest tokens;
* plain: all logits, in float32 for the cross entropy, as a model's forward with labels makes them.

Each runs in a process of its own, forward and backward, from hidden states in bfloat16 to their
gradient. Printed is what the process's peak grows by.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.layout import make_calls
from genpi_plugin.teacher.targets import Targets
from genpi_plugin.training.supervised_loss import loss_sums


class HeadOnly(torch.nn.Module):
    """A language model without a body: hidden states are its parameters."""

    def __init__(self, tokens: int, hidden: int, vocabulary: int) -> None:
        super().__init__()
        self.states = torch.nn.Parameter(torch.randn(1, tokens, hidden, dtype=torch.bfloat16))
        self.lm_head = torch.nn.Linear(hidden, vocabulary, bias=False, dtype=torch.bfloat16)
        self.lm_head.requires_grad_(False)

    def get_output_embeddings(self) -> torch.nn.Module:
        """The head."""
        return self.lm_head

    def forward(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        """Logits at all positions."""
        return SimpleNamespace(logits=self.lm_head(self.states[:, : input_ids.shape[1]]))


def ours(model: HeadOnly, ids: torch.Tensor) -> torch.Tensor:
    """The mean cross entropy, a chunk at a time."""
    head = SupervisedHead(model)
    [call] = make_calls(ids, ids, [len(ids)], "bucketed")
    return loss_sums(head, model, call)[0] / (len(ids) - 1)


def distilled(model: HeadOnly, ids: torch.Tensor) -> torch.Tensor:
    """The mean cross entropy, a chunk at a time, with a teacher's divergence added."""
    count, top_k = len(ids) - 1, 128
    vocabulary = model.lm_head.out_features
    # Any tokens, each once in its row, with half of the probability in the tail.
    first = torch.randint(vocabulary - top_k, (count, 1))
    logprobs = torch.full((count, top_k), 0.5 / top_k).log()
    tokens = (first + torch.arange(top_k)).int()
    teacher = Targets(tokens, logprobs, torch.full((count,), 0.5).log())
    head = SupervisedHead(model)
    [call] = make_calls(ids, ids, [len(ids)], "bucketed")
    return sum(loss_sums(head, model, call, teacher)) / count


def plain(model: HeadOnly, ids: torch.Tensor) -> torch.Tensor:
    """The mean cross entropy, from all logits in float32."""
    logits = model(ids[None]).logits[0].float()
    return F.cross_entropy(logits[:-1], ids[1:])


WAYS = {"plain": plain, "ours": ours, "distilled": distilled}


def measure(options: argparse.Namespace, name: str) -> tuple[float, float, float]:
    """(MiB that the peak grows by, seconds, loss) of one way."""
    torch.manual_seed(0)
    model = HeadOnly(options.tokens, options.hidden, options.vocabulary)
    ids = torch.randint(options.vocabulary, (options.tokens,))
    before, started = _peak(), time.perf_counter()
    loss = WAYS[name](model, ids)
    loss.backward()
    return _peak() - before, time.perf_counter() - started, float(loss.detach())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tokens", type=int, default=8192, help="supervised (default 8192)")
    parser.add_argument("--vocabulary", type=int, default=128256, help="default 128256")
    parser.add_argument("--hidden", type=int, default=256, help="default 256")
    options = parser.parse_args()
    found = {}
    for name in WAYS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[name] = pool.apply(measure, (options, name))
    for name, (grown, seconds, loss) in found.items():
        print(f"{name:9} peak +{grown:7.0f} MiB  {grown / found['plain'][0]:4.0%} of plain  "
              f"{seconds:5.1f} s  loss {loss:.5f}")  # fmt: skip


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
