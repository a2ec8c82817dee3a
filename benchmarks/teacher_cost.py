"""What the teacher's targets cost beside the training they serve.

    python -m benchmarks.teacher_cost data/demo/data/train-00000-of-00001.parquet \\
        --model models/smollm2 --rows 48

Three times, on the same rows and the same model: the teacher with its prompt read once, the teacher
that reads the prompt before every row, and epochs of training on the behaviour half alone, which is
the cheapest training there is (prompt-generation halves make it dearer and the teacher's share
smaller).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import torch

from benchmarks.common import load_model, load_pairs, options_parser
from genpi_plugin.args import GenPISettings
from genpi_plugin.data.examples import BEHAVIOUR_SEQUENCES, LENGTHS, TEACHER_KEY, Pair
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.layout import make_calls
from genpi_plugin.teacher.targets import TargetStore
from genpi_plugin.teacher.teacher import Teacher
from genpi_plugin.training.collator import TOKENS, GenPICollator
from genpi_plugin.training.supervised_loss import loss_sums

SETTINGS = GenPISettings(sft_weight=0, prompt_generation_share=0, distill_weight=1)


class OneProcess:
    """What the teacher asks of accelerate."""

    process_index, num_processes, is_local_main_process = 0, 1, False

    def wait_for_everyone(self) -> None:
        """Nobody to wait for."""


def main() -> None:
    """Measure and print."""
    parser = options_parser(__doc__, rows=48)
    parser.add_argument("--epochs", type=int, default=3, help="of training (default 3)")
    options = parser.parse_args()
    pairs, model = load_pairs(options, SETTINGS), load_model(options.model)
    alone = [replace(pair, prompt_id=f"row {i}") for i, pair in enumerate(pairs)]
    with tempfile.TemporaryDirectory() as folder:
        shared_store = TargetStore(Path(folder) / "shared")
        shared = _seconds(lambda: _teach(model, pairs, shared_store))
        each = _seconds(lambda: _teach(model, alone, TargetStore(Path(folder) / "each")))
        epoch = _seconds(lambda: _epoch(model, pairs, shared_store))
    prompt = sum(len(s.ids) for s in pairs[0].teacher) - pairs[0].behaviour_length
    training = options.epochs * epoch
    print(f"{len(pairs)} rows; the prompt has about {prompt} tokens, a behaviour half "
          f"{sum(pair.behaviour_length for pair in pairs) / len(pairs):.0f}")  # fmt: skip
    print(f"training, {options.epochs} epochs of the behaviour half: {training:8.1f} s    100 %")
    for name, seconds in (("teacher, prompt read once:", shared),
                          ("teacher, prompt read for each row:", each)):  # fmt: skip
        print(f"{name:42} {seconds:8.1f} s   {seconds / training:5.0%}")


def _teach(model: Any, pairs: list[Pair], store: TargetStore) -> None:
    teacher = Teacher(store, SETTINGS.distill_top_k, token_budget=16384)
    teacher.claim(datasets.Dataset.from_list([pair.columns() for pair in pairs]))
    teacher.prepare(model, OneProcess())


def _epoch(model: Any, pairs: list[Pair], store: TargetStore) -> None:
    model.train()
    collate = GenPICollator(None)
    head = SupervisedHead(model)
    for start in range(0, len(pairs), 4):
        batch = collate([pair.columns() for pair in pairs[start : start + 4]])
        count = batch[BEHAVIOUR_SEQUENCES]
        calls = make_calls(
            batch["input_ids"][0], batch["labels"][0], batch[LENGTHS][:count], "bucketed"
        )
        teacher = store.get(batch[TEACHER_KEY])
        sums = [loss_sums(head, model, call, teacher)[1] for call in calls]
        loss = torch.stack(sums).sum() / batch[TOKENS][0]
        loss.backward()
        model.zero_grad()


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
