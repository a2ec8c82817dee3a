"""One epoch's forward and backward, three ways, on one model and the same pairs with nothing cut.

    python -m benchmarks.train_step data/demo/data/train-00000-of-00001.parquet \\
        --model models/smollm2 --rows 16

* ours: what the trainer does with SDPA. What it does with flash attention, pack, is counted in
  tokens;
* official: the order of work of kaistAI/GenPI, written anew: each half as one batch padded to its
  longest row, logits for every position;
* limit: forward and backward over exactly the real tokens, a sequence at a time, with logits for
  the supervised positions alone. No padding, and no batch to gain by.

Time is the median of interleaved rounds. Memory is the growth of the process's peak over what it
has with the model loaded, each way in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.common import load_model, load_pairs, options_parser
from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import IGNORE_INDEX, TokenSequence
from genpi_plugin.data.examples import BEHAVIOUR_SEQUENCES, LENGTHS, Pair
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.layout import buckets
from genpi_plugin.training.collator import TOKENS, GenPICollator
from genpi_plugin.training.halves import Half, half_sums
from genpi_plugin.training.loss import LossSums, TokenCounts, joint_loss

# Both halves of all rows, the prompt whole.
SETTINGS = GenPISettings(prompt_generation_share=1, prompt_generation_piece=None, distill_weight=0)
WEIGHT = SETTINGS.label_weight
Step = Callable[[Any, list[Pair]], torch.Tensor]


def main() -> None:
    """Measure and print."""
    options = _options()
    pairs = load_pairs(options, SETTINGS)
    signal = _supervised(pairs)
    real = sum(pair.behaviour_length + pair.prompt_generation_length for pair in pairs)
    padded = sum(_padded_tokens(batch) for batch in _batches(pairs, options.batch))
    # First, while this process is small: a new process counts its parent's peak as its own.
    memory = {name: peak_memory(options, name) / 2**20 for name in WAYS}
    model = load_model(options.model)
    bucketed = sum(_bucketed_tokens(batch) for batch in _batches(pairs, options.batch))
    print(f"{options.dataset}: {len(pairs)} pairs, {real} tokens, {signal} with a loss; "
          f"micro-batch {options.batch}")  # fmt: skip
    ways = {"official": (padded, padded), "bucketed": (bucketed, signal), "packed": (real, signal)}
    for way, (tokens, logits) in ways.items():
        print(f"{way:9} {tokens:7} tokens computed, {1 - real / tokens:4.0%} of them padding; "
              f"logits for {logits}, {1 - signal / logits:4.0%} of them for nothing")  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    losses: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, step in WAYS.items():
            started = time.perf_counter()
            losses[name] = epoch(model, pairs, options.batch, step)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, median in medians.items():
        print(f"{name:9} {median:7.1f} s  {signal / median:6.1f} tokens of signal/s  "
              f"{medians['limit'] / median:4.0%} of the limit  "
              f"{medians['official'] / median:4.2f} x official  "
              f"peak +{memory[name]:5.0f} MiB  loss {losses[name]:.4f}")  # fmt: skip


def epoch(model: Any, pairs: list[Pair], size: int, step: Step) -> float:
    """All pairs forward and backward; the mean of the micro-batches' losses."""
    losses = []
    for batch in _batches(pairs, size):
        losses.append(float(step(model, batch)))
        model.zero_grad()
    return statistics.mean(losses)


def ours(model: Any, pairs: list[Pair]) -> torch.Tensor:
    """As `GenPITrainer.compute_loss`, with the micro-batch as the whole step."""
    batch = GenPICollator(None)([pair.columns() for pair in pairs])
    ids, labels, lengths = batch["input_ids"][0], batch["labels"][0], batch[LENGTHS]
    count = batch[BEHAVIOUR_SEQUENCES]
    cut = sum(lengths[:count])
    halves = {
        "behaviour": Half(ids[:cut], labels[:cut], lengths[:count]),
        "recitals": Half(ids[cut:], labels[cut:], lengths[count:]),
    }
    found = half_sums(SupervisedHead(model), model, model, halves, "bucketed", "padded")
    sums = [one.cross_entropy for one in found.values()]
    loss = joint_loss(LossSums(*sums), TokenCounts(*batch[TOKENS]), WEIGHT)
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    return loss.detach()


def official(model: Any, pairs: list[Pair]) -> torch.Tensor:
    """Both halves padded, all logits, the mean cross entropy of each, weighed."""

    def stage(sequences: list[TokenSequence]) -> torch.Tensor:
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad([torch.tensor(s.ids) for s in sequences], batch_first=True)
        labels = pad([torch.tensor(s.labels) for s in sequences], batch_first=True,
                     padding_value=IGNORE_INDEX)  # fmt: skip
        mask = pad([torch.ones(len(s.ids), dtype=torch.long) for s in sequences], batch_first=True)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    recite = stage([s for pair in pairs for s in pair.prompt_generation])
    behave = stage([s for pair in pairs for s in pair.behaviour])
    loss = (1 - WEIGHT) * recite + WEIGHT * behave
    loss.backward()
    return loss.detach()


def limit(model: Any, pairs: list[Pair]) -> torch.Tensor:
    """A sequence at a time, exactly its tokens, logits where there is a loss."""
    total = torch.zeros(())
    halves = {WEIGHT: [s for p in pairs for s in p.behaviour],
              1 - WEIGHT: [s for p in pairs for s in p.prompt_generation]}  # fmt: skip
    for weight, sequences in halves.items():
        count = sum(label != IGNORE_INDEX for s in sequences for label in s.labels)
        for sequence in sequences:
            labels = torch.tensor(sequence.labels[1:])
            keep = (labels != IGNORE_INDEX).nonzero().flatten()
            logits = model(input_ids=torch.tensor([sequence.ids]), use_cache=False,
                           logits_to_keep=keep).logits[0].float()  # fmt: skip
            loss = weight * F.cross_entropy(logits, labels[keep], reduction="sum") / count
            loss.backward()
            total += loss.detach()
    return total


WAYS: dict[str, Step] = {"limit": limit, "ours": ours, "official": official}


def peak_memory(options: argparse.Namespace, name: str) -> int:
    """Bytes that the process grows by in one epoch, measured in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grown_by, (options, name))


def _grown_by(options: argparse.Namespace, name: str) -> int:
    model, pairs = load_model(options.model), load_pairs(options, SETTINGS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    epoch(model, pairs[: options.batch], options.batch, WAYS[name])
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def _batches(pairs: list[Pair], size: int) -> list[list[Pair]]:
    return [pairs[start : start + size] for start in range(0, len(pairs), size)]


def _supervised(pairs: list[Pair]) -> int:
    return sum(
        label != IGNORE_INDEX
        for pair in pairs
        for sequence in [*pair.behaviour, *pair.prompt_generation]
        for label in sequence.labels
    )


def _halves(pairs: list[Pair]) -> list[list[int]]:
    """Lengths of the sequences of each half."""
    return [
        [len(s.ids) for p in pairs for s in p.behaviour],
        [len(s.ids) for p in pairs for s in p.prompt_generation],
    ]


def _bucketed_tokens(pairs: list[Pair]) -> int:
    """Tokens of a micro-batch's calls with sequences of like length side by side."""
    lengths = [length for half in _halves(pairs) for length in half]
    return sum(len(group) * lengths[group[0]] for group in buckets(lengths))


def _padded_tokens(pairs: list[Pair]) -> int:
    return sum(len(half) * max(half) for half in _halves(pairs))


def _options() -> argparse.Namespace:
    parser = options_parser(__doc__, rows=16)
    parser.add_argument("--batch", type=int, default=4, help="rows a micro-batch (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="of each way (default 3)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
