"""A teacher that no process holds the whole of: ZeRO-3 and FSDP2 gather a layer when it is called.

All processes take part in every gathering, so all must call the model equally often. Here they walk
through the same prompts and the same batches of all rows, and each takes its turn: in a round of as
many batches as there are processes, each reads one. Who finds none left reads another's again, and
drops the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch

from genpi_plugin.reading.capabilities import check_one_call
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.teacher.mark import Mark, check_start_leaves_base
from genpi_plugin.teacher.targets import TargetStore
from genpi_plugin.teacher.teacher import Teacher, TeacherRow, teaching


class TeacherInStep(Teacher):
    """As `Teacher`, with the same targets; all processes read in step."""

    standalone = False

    def __init__(
        self,
        store: TargetStore,
        top_k: int | None,
        token_budget: int,
        with_adapter: bool,
        accelerator: Any,
        store_of: Callable[[Mark], TargetStore],
    ) -> None:
        """
        Args:
            store, top_k, token_budget, with_adapter: as of `Teacher`.
            accelerator: of the processes that hold the model.
            store_of: the store for the model with this mark, the same on all processes; it takes
                the place of `store` once the model can be read.
        """
        super().__init__(store, top_k, token_budget, with_adapter)
        self._accelerator = accelerator
        self._store_of: Callable[[Mark], TargetStore] | None = store_of

    def check_base(self, model: Any) -> None:
        """Once: the adapter must leave the base model alone; raises `GenPIError`.

        The model is known by what it computes here, its adapter off, since it could not be called
        before its parts were spread.
        """
        if self._store_of is None:
            return
        check_start_leaves_base(model)
        with teaching(model, with_adapter=False):
            self.store = self._store_of(Mark.of(model, forward=model))
        self._store_of = None

    def read(
        self, model: Any, rows: Sequence[TeacherRow], advance: Callable[[int], Any]
    ) -> Iterator[tuple[TeacherRow, SupervisedHead, torch.Tensor]]:
        """As the parent's, with the rows that this process reads; all must be given the same."""
        with teaching(model, self.with_adapter):
            check_one_call(model, max((row.longest for row in rows), default=0))
        yield from super().read(model, rows, advance)

    def _missing(self, keys: Sequence[str]) -> set[str]:
        # Others may be writing there, and a folder on another node may be seen later.
        return set(the_firsts(sorted(super()._missing(keys)), self._accelerator))

    def _to_read(
        self, keys: Sequence[str], missing: Collection[str], accelerator: Any
    ) -> list[str]:
        return [key for key in keys if key in missing]

    def _turns(
        self, batches: Sequence[list[TeacherRow]]
    ) -> Iterator[tuple[list[TeacherRow], bool, int]]:
        place, processes = self._accelerator.process_index, self._accelerator.num_processes
        for start in range(0, len(batches), processes):
            round_ = batches[start : start + processes]
            counts = place < len(round_)
            yield round_[place if counts else -1], counts, sum(map(len, round_))


def the_firsts(value: Any, accelerator: Any) -> Any:
    """What the first process has, on all of them."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]
