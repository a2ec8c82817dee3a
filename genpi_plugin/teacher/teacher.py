"""The teacher: the model in training with its adapter off and the prompt before each request.

No second model and no server. The prompt is read once for every `ROWS_AT_ONCE` rows. Each row's
targets are computed once, before the first step, and stored under a key of everything they depend
on, so that later epochs, resumed runs and runs with other settings of the student find them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from axolotl.utils.logging import get_logger
from tqdm.auto import tqdm

from genpi_plugin.data.chat import IGNORE_INDEX
from genpi_plugin.data.digests import sample
from genpi_plugin.data.examples import (
    TEACHER_IDS,
    TEACHER_KEY,
    TEACHER_LABELS,
    TEACHER_LENGTHS,
    TEACHER_PROMPT,
)
from genpi_plugin.errors import GenPIError
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.prefix import PrefixCache
from genpi_plugin.reading.supervised import supervised_states
from genpi_plugin.teacher.mark import Mark, check_off_is_base
from genpi_plugin.teacher.targets import Targets, TargetStore

LOG = get_logger("axolotl.genpi")
# Increase when the same model and rows would give different targets.
TARGETS_VERSION = 1
PREFIX = "genpi-teacher-"
# What the teacher's distributions depend on besides the tokens it reads.
MODEL_KEYS = ("base_model", "base_model_config", "revision_of_model", "type_of_model",
              "overrides_of_model_config", "overrides_of_model_kwargs", "model_quantization_config",
              "model_quantization_config_kwargs", "load_in_4bit", "load_in_8bit",
              "bnb_config_kwargs", "gptq", "bf16", "fp16", "bfloat16", "float16", "torch_dtype",
              "tokens", "added_tokens_overrides", "special_tokens",
              "resize_token_embeddings_to_32x", "shrink_embeddings", "mean_resizing_embeddings",
              "rope_theta", "rope_scaling", "peft_layer_replication", "trust_remote_code",
              "quantize_moe_experts", "fix_untrained_tokens")  # fmt: skip
# What the base model computes, beside the targets that were computed from it.
MARK_FILE = "base-model.safetensors"
# Rows held in memory with their prompts; the prompt is read once for this many.
ROWS_AT_ONCE = 2048
TEACHER_COLUMNS = [TEACHER_IDS, TEACHER_LABELS, TEACHER_LENGTHS, TEACHER_PROMPT]


@dataclass(frozen=True)
class TeacherRow:
    """One row as the teacher reads it: token ids, and which of them are behaviour tokens."""

    key: str
    prompt: str
    sequences: list[tuple[list[int], list[int]]]

    @property
    def longest(self) -> int:
        return max(len(ids) for ids, _ in self.sequences)

    @property
    def supervised(self) -> int:
        return sum(label != IGNORE_INDEX for _, labels in self.sequences for label in labels)


class Teacher:
    """Gives the targets of rows by their key, and computes those that are missing."""

    def __init__(
        self, store: TargetStore, top_k: int | None, token_budget: int, base: Mark | None = None
    ) -> None:
        """
        Args:
            store: where targets are stored.
            top_k: tokens kept at each position; None keeps the whole vocabulary.
            token_budget: tokens in one forward pass, cached ones included; a longer sequence
                gets a pass of its own.
            base: of the base model before it had an adapter.
        """
        self.base = base
        self.store = store
        self.top_k = top_k
        self.token_budget = token_budget
        self.rows: dict[str, tuple[Any, int]] = {}
        self._ready = False

    def take_teacher_columns(self, dataset: Any) -> Any:
        """Keep the teacher's columns of a dataset; returns the dataset without them."""
        view = dataset.select_columns([*TEACHER_COLUMNS, TEACHER_KEY])
        for index, key in enumerate(view[TEACHER_KEY]):
            self.rows[key] = (view, index)
        self._ready = False
        return dataset.remove_columns(TEACHER_COLUMNS)

    def prepare(self, model: Any, accelerator: Any) -> None:
        """Compute missing targets; every rank must call, and each computes its share.

        Args:
            model: the model in training, not wrapped; its adapter can be switched off.

        Raises:
            GenPIError: the model with its adapter off is not the base model, a row is longer
                than its context, or the targets of another process are not visible here.
        """
        if self._ready:
            return
        keys = sorted(self.rows)
        missing = {key for key in keys if key not in self.store}
        LOG.info(
            f"genpi: the teacher reads {len(missing)} of {len(keys)} rows; its targets are "
            f"stored in {self.store.folder}"
        )
        if self.base is not None:
            with _adapter_off(model):
                check_off_is_base(model, self.base)
            self.base = None  # it holds a whole vocabulary's numbers
        # By position among all keys, so that targets that others wrote don't change the shares.
        share = keys[accelerator.process_index :: accelerator.num_processes]
        mine = [key for key in share if key in missing]
        with tqdm(total=len(mine), desc="Teacher", unit="row", leave=False,
                  disable=not (mine and accelerator.is_local_main_process)) as bar:  # fmt: skip
            for start in range(0, len(mine), ROWS_AT_ONCE):
                rows = [self._row(key) for key in mine[start : start + ROWS_AT_ONCE]]
                self._compute(model, rows, bar.update)
        accelerator.wait_for_everyone()
        absent = sum(key not in self.store for key in keys)
        if absent:
            raise GenPIError(
                f"{absent} of the teacher's {len(keys)} targets are not in {self.store.folder}.",
                "set `dataset_prepared_path` to a folder that all nodes share.",
            )
        self._ready = True

    def targets(self, keys: Sequence[str], device: torch.device) -> Targets:
        """The targets of rows, concatenated, in the order of their behaviour tokens."""
        return self.store.get(keys).to(device)

    def _row(self, key: str) -> TeacherRow:
        view, index = self.rows[key]
        row = view[index]
        sequences, start = [], 0
        for length in row[TEACHER_LENGTHS]:
            stop = start + length
            sequences.append((row[TEACHER_IDS][start:stop], row[TEACHER_LABELS][start:stop]))
            start = stop
        return TeacherRow(key, row[TEACHER_PROMPT], sequences)

    def _compute(
        self, model: Any, rows: Sequence[TeacherRow], advance: Callable[[int], Any]
    ) -> None:
        _check_lengths(model, rows)
        by_prompt: dict[str, list[TeacherRow]] = {}
        for row in rows:
            by_prompt.setdefault(row.prompt, []).append(row)
        with _adapter_off(model):
            head = SupervisedHead(model)
            for group in by_prompt.values():
                requests = [
                    ids[: _first_target(labels)] for row in group for ids, labels in row.sequences
                ]
                longest = max(row.longest for row in group)
                prefix = PrefixCache(model, requests, longest=longest)
                for batch in self._batches(group):
                    for row, targets in self._read(model, head, prefix, batch):
                        self.store.put(row.key, targets)
                    advance(len(batch))

    def _read(
        self, model: Any, head: SupervisedHead, prefix: PrefixCache, rows: Sequence[TeacherRow]
    ) -> Iterator[tuple[TeacherRow, Targets]]:
        """The targets of each row, from one forward pass."""
        sequences = [sequence for row in rows for sequence in row.sequences]
        states = supervised_states(model, head, prefix, sequences)
        targets = Targets.join(
            [Targets.of(head.logits(states[part]), self.top_k) for part in head.parts(states)]
        )
        start = 0
        for row in rows:
            yield row, targets.part(slice(start, start + row.supervised))
            start += row.supervised

    def _batches(self, rows: Sequence[TeacherRow]) -> Iterator[list[TeacherRow]]:
        """Rows of similar length together, longest first, within the token budget."""
        batch: list[TeacherRow] = []
        sequences = 0
        for row in sorted(rows, key=lambda row: (-row.longest, row.key)):
            sequences += len(row.sequences)
            if batch and batch[0].longest * sequences > self.token_budget:
                yield batch
                batch, sequences = [], len(row.sequences)
            batch.append(row)
        if batch:
            yield batch


def open_teacher(
    cfg: Any, top_k: int | None, base: Mark | None = None, accelerator: Any = None
) -> Teacher:
    """The teacher of a training run, with a store beside its prepared data.

    Args:
        base: of the base model before it had an adapter.
        accelerator: of several processes, which all take the first one's store.
    """
    folder = Path(cfg.dataset_prepared_path).parent / f"{PREFIX}{model_digest(cfg, top_k)}"
    if base is not None:
        folder = _store_of(folder, base, accelerator)
    # A training step holds activations of this many tokens, so without gradients they fit.
    budget = int(cfg.sequence_len) * int(cfg.micro_batch_size)
    return Teacher(TargetStore(folder), top_k, budget, base)


def _store_of(folder: Path, base: Mark, accelerator: Any) -> Path:
    """`folder`, or with a number behind its name where that holds another model's targets.

    Models with equal settings can still differ, in rows drawn for new tokens for one. The first
    process decides for all: rounding on another device is no other model.
    """
    number = 1
    if accelerator is None or accelerator.is_main_process:
        while (path := _numbered(folder, number) / MARK_FILE).is_file() and not base.is_of(path):
            number += 1
        if not path.is_file():
            base.save(path)
    if accelerator is not None and accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        [number] = broadcast_object_list([number])
    return _numbered(folder, number)


def _numbered(folder: Path, number: int) -> Path:
    return folder if number == 1 else folder.with_name(f"{folder.name}-{number}")


def model_digest(cfg: Mapping[str, Any], top_k: int | None) -> str:
    """16 hex digits for the base model as it is loaded, and for `top_k`.

    A model on a hub counts by name and revision; one in a local folder also by its files, so that
    the digest is the same on every node and changes with the weights.
    """
    folder = Path(str(cfg.get("base_model")))
    files = sorted(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
    facts = [
        TARGETS_VERSION,
        top_k,
        {key: cfg.get(key) for key in MODEL_KEYS},
        [(path.name, path.stat().st_size, sample(path)) for path in files],
    ]
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _adapter_off(model: Any) -> Iterator[None]:
    """The model as its own teacher: adapter off, no dropout, no gradients."""
    training = model.training
    model.eval()
    try:
        with model.disable_adapter(), torch.no_grad():
            yield
    finally:
        model.train(training)


def _check_lengths(model: Any, rows: Sequence[TeacherRow]) -> None:
    limit = getattr(model.config, "max_position_embeddings", None)
    longest = max((row.longest for row in rows), default=0)
    if limit and longest > limit:
        raise GenPIError(
            f"with its prompt the longest conversation has {longest} tokens, but the model reads "
            f"{limit} at most (max_position_embeddings).",
            "shorten the prompt or the conversations, or train without `distill_weight`.",
        )


def _first_target(labels: Sequence[int]) -> int:
    return next(i for i, label in enumerate(labels) if label != IGNORE_INDEX)
