"""The teacher's targets: its distribution before each behaviour token, cut to the top k.

The k most likely tokens are kept individually, everything else as one bucket, the tail. The tail's
probability is part of the loss, so the cut does not pull the student towards a distribution that
the teacher does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from genpi_plugin.data.whole_files import write_whole


@dataclass(frozen=True)
class Targets:
    """Log-probabilities in nats, float32, of `tokens` positions.

    Shapes: token_ids [tokens, k] int32, logprobs [tokens, k], tail [tokens] (-inf where the k
    tokens are the whole vocabulary).
    """

    token_ids: torch.Tensor
    logprobs: torch.Tensor
    tail: torch.Tensor

    @classmethod
    def of(cls, logits: torch.Tensor, top_k: int | None) -> Targets:
        """From logits [tokens, vocabulary]; `top_k=None` keeps the whole vocabulary."""
        logprobs = logits.float().log_softmax(-1)
        top = logprobs.topk(min(top_k or logprobs.shape[-1], logprobs.shape[-1]), dim=-1)
        rest = logprobs.scatter(-1, top.indices, -torch.inf)
        return cls(top.indices.int(), top.values, rest.logsumexp(-1))

    @classmethod
    def join(cls, parts: Sequence[Targets]) -> Targets:
        """Concatenate targets."""
        return cls(
            torch.cat([part.token_ids for part in parts]),
            torch.cat([part.logprobs for part in parts]),
            torch.cat([part.tail for part in parts]),
        )

    def select(self, order: torch.Tensor) -> Targets:
        """The positions in `order` ([tokens] indices)."""
        return Targets(self.token_ids[order], self.logprobs[order], self.tail[order])

    def part(self, part: slice) -> Targets:
        return Targets(self.token_ids[part], self.logprobs[part], self.tail[part])

    def to(self, device: torch.device) -> Targets:
        return Targets(self.token_ids.to(device), self.logprobs.to(device), self.tail.to(device))


class TargetStore:
    """Targets on disk, one file per row's key; the page cache keeps recent ones in memory.

    Files appear whole or not at all, so that a stopped run resumes where it was, and processes
    may write concurrently.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def put(self, key: str, targets: Targets) -> None:
        tensors = {name: value.cpu().contiguous() for name, value in vars(targets).items()}
        write_whole(self._path(key), lambda path: save_file(tensors, path))

    def get(self, keys: Iterable[str]) -> Targets:
        """The targets of rows, concatenated."""
        return Targets.join([Targets(**load_file(self._path(key))) for key in keys])

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"
