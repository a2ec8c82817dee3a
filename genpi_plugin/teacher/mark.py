"""What a base model computes on fixed tokens: by this it is known, whatever its settings say.

The teacher is the model in training with its adapter off. Some ways of starting an adapter (PiSSA,
OLoRA, LoftQ) move a part of the base's weights into it, so that off is no longer the base. And
settings that no list names change what the teacher holds likely. Both show in a mark: it is taken
before the adapter comes, compared with the model when its adapter is off, and kept beside targets
that were computed from that model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from axolotl.utils.logging import get_logger
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from genpi_plugin.errors import GenPIError
from genpi_plugin.reading.agreement import (
    base_of,
    divergence,
    plain_logits,
    special_ids,
    steady,
    test_ids,
    tolerance,
)
from genpi_plugin.teacher.targets import Targets

LOG = get_logger("axolotl.genpi")
# Fixed tokens: some from all over the vocabulary, and its last ones, where new rows are drawn.
SPREAD, LAST = 48, 32
# Tokens of each distribution that are kept.
TOP = 64
# Ways of starting LoRA that leave the base's weights alone. Of any other that is not said here.
LEAVE_BASE = (True, False, "gaussian", "orthogonal", "eva")
CURE = (
    "start the adapter another way (remove `peft_init_lora_weights` and `peft.loftq_config`), "
    "or train without a teacher: `distill_weight: 0`. To evaluate such an adapter, convert it "
    "to one of the base model (PEFT: `path_initial_model_for_weight_conversion`)."
)
REPEATED = (
    "`peft_layer_replication` repeats the base's layers, also where the adapter is off.",
    "remove it, or train without a teacher: `distill_weight: 0`.",
)


@dataclass(frozen=True)
class Mark:
    """Log-probabilities [SPREAD + LAST tokens, vocabulary] of a model on the fixed tokens, float32
    on the CPU, and how far rounding may move them, in nats a token."""

    logprobs: torch.Tensor
    tolerance: float

    @classmethod
    def of(cls, model: Any, forward: Any = None) -> Mark:
        """The mark of a model, its adapter off if it has one.

        Args:
            forward: the model as it is called, where processes hold parts of its parameters; all
                must call then.
        """
        logits = _logits(model, forward)
        return cls(logits.log_softmax(-1), tolerance(base_of(model), logits))

    def distance(self, other: Mark) -> float:
        """Mean KL(self‖other) in nats a token; infinite with another vocabulary."""
        if self.logprobs.shape != other.logprobs.shape:
            return float("inf")
        return divergence(other.logprobs, self.logprobs)

    def save(self, path: Path) -> None:
        """Keep the likeliest tokens."""
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {**vars(Targets.of(self.logprobs, TOP)), "tolerance": torch.tensor(self.tolerance)}
        save_file({name: value.contiguous() for name, value in kept.items()}, path)

    def is_of(self, path: Path) -> bool:
        """Whether the mark kept in a file is the same model's, as far as rounding allows to say."""
        try:
            kept = load_file(path)
        except (OSError, SafetensorError):
            return False
        ids = kept["token_ids"].long()
        if len(ids) != len(self.logprobs) or int(ids.max()) >= self.logprobs.shape[-1]:
            return False
        # All tokens that are not kept count as one.
        mine = self.logprobs.gather(-1, ids)
        mine_rest = self.logprobs.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
        found = torch.cat([mine, mine_rest], -1)
        right = torch.cat([kept["logprobs"], kept["tail"][:, None]], -1)
        return divergence(found, right) <= max(self.tolerance, float(kept["tolerance"]))


def mark_of(model: Any) -> Mark | None:
    """The mark of a model that has no adapter yet; None, with a log line, where there is none."""
    try:
        return Mark.of(model)
    except Exception as error:  # of whatever architecture, on whatever device it lies by now
        LOG.info(
            f"genpi: the base model could not be read before its adapter came ({error!r}); whether "
            "the adapter can be switched off is not checked."
        )
        return None


def check_off_is_base(model: Any, base: Mark) -> None:
    """With its adapter off, the model must be what it was before the adapter came.

    Args:
        model: with its adapter switched off.
        base: taken before the adapter.

    Raises:
        GenPIError: it is not; names how the adapter was started.
    """
    now = Mark.of(model)
    far = base.distance(now)
    if far <= max(base.tolerance, now.tolerance):
        return
    off = f"with its adapter off the model is not the base model: {far:.2g} nats a token away."
    configs = _configs(model)
    if any(getattr(one, "layer_replication", None) for one in configs):
        raise GenPIError(f"{off} {REPEATED[0]}", REPEATED[1])
    start = ", ".join(sorted({str(getattr(one, "init_lora_weights", "")) for one in configs}))
    raise GenPIError(
        f"{off} The adapter was started with `init_lora_weights: {start}`, which may rewrite the "
        "base's weights (PiSSA, OLoRA and LoftQ do).",
        CURE,
    )


def check_start_leaves_base(model: Any) -> None:
    """As `check_off_is_base`, by the adapter's settings alone: for a model that could not be read
    before its adapter came, because no process holds the whole of it.

    Raises:
        GenPIError: the adapter was started in a way that is not known to leave the base alone.
    """
    for config in _configs(model):
        if getattr(config, "layer_replication", None):
            raise GenPIError(*REPEATED)
        start = getattr(config, "init_lora_weights", True)
        if start not in LEAVE_BASE:
            raise GenPIError(
                f"the adapter was started with `init_lora_weights: {start}`, which may rewrite the "
                "base's weights (PiSSA, OLoRA and LoftQ do), and under FSDP and ZeRO-3 the base "
                "can't be read before the adapter comes.",
                CURE,
            )


def _configs(model: Any) -> list[Any]:
    return list(getattr(model, "peft_config", {}).values())


def _logits(model: Any, forward: Any = None) -> torch.Tensor:
    """Logits [tokens, vocabulary] of the fixed tokens, each run of them read by itself.

    From the model inside all wrappers, so that nothing (autocast) rounds in one mark and not in
    another; from the outermost, where parts of the parameters are gathered by it.
    """
    base = base_of(model)
    weight = base.get_input_embeddings().weight
    # ZeRO-3 keeps the shape of a weight beside it.
    size = getattr(weight, "ds_shape", weight.shape)[0]
    special = special_ids(base)
    last = [token for token in range(max(0, size - LAST), size) if token not in special]
    with steady(base, forward), torch.autocast(base.device.type, enabled=False):
        rows = [row for row in (test_ids(base, SPREAD), last) if row]
        logits = [plain_logits(base, row, len(row), forward) for row in rows]
        return torch.cat(logits).float().cpu()
