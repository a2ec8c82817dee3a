"""A model in this process, with requests answered in batches."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from synth.engines.base import Answer, Request
from synth.engines.grouping import choose_group
from synth.engines.weights import check_model_name, describe
from synth.errors import EngineError, RowError

if TYPE_CHECKING:
    from synth.engines.local import Batch, LocalModel, Row

Result = TypeVar("Result")
# How long requests are gathered before the next slice, in seconds.
GATHER = 0.01
# Rows decoded at once in one batch. On a CPU, a step of 32 takes half as long again as one of 16.
BATCH_SIZE = 32


class TransformersEngine:
    """A Hugging Face model, loaded at the first request and asked by one thread.

    Requests are decoded in batches, a slice of tokens at a time. Between slices, rows that have
    ended leave and waiting requests come in (`choose_group` says which), so neither a long
    answer nor a long prompt holds up the others. What requests share at their beginning is read
    once and kept once (`shared_prefix`).

    A request's answer does not depend on the requests beside it but for rounding: in float32 it
    practically never changes, in bfloat16 a near tie between two tokens may fall either way.

    Args:
        model: a folder or a name on the hub.
        dtype: "auto" (bfloat16 where the hardware has it, else float32), "bfloat16", ...
        batch_size: rows decoded at once, at most; None is 32. Memory may allow fewer.
        chat_template_kwargs: passed to the chat template.

    Raises:
        EngineError: there is no such model folder.
    """

    def __init__(
        self,
        model: str,
        dtype: str = "auto",
        batch_size: int | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        check_model_name(model)
        # Read when torch is loaded. Without it the threads of a CPU spin while they wait for each
        # other: a quarter faster on a machine that does nothing else, several times slower on
        # one that does. Whoever sets the variable is obeyed.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self.model = model
        self.dtype = dtype
        self.batch_size = batch_size
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self._identity: dict[str, str] | None = None
        self._local: LocalModel | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="synth-model")
        self._waiting: list[Row] = []
        self._batches: list[Batch] = []
        self._futures: dict[Row, asyncio.Future[Answer]] = {}
        self._pump: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def identity(self) -> dict[str, str]:
        """Name, revision (a hash of the folder's content, or the hub's commit), dtype, template
        arguments. Not the path, nor the batch size."""
        if self._identity is None:
            _quiet()
            from synth.engines.local import resolve_dtype

            dtype = str(resolve_dtype(self.dtype)).removeprefix("torch.")
            self._identity = {**describe(self.model), "dtype": dtype}
            if self.chat_template_kwargs:
                told = json.dumps(self.chat_template_kwargs, sort_keys=True)
                self._identity["chat_template_kwargs"] = told
        return self._identity

    async def generate(self, request: Request) -> Answer:
        """Answer one request; see `Engine.generate` for what is raised."""
        loop = asyncio.get_running_loop()
        if self._local is None:
            await loop.run_in_executor(self._thread, self._load)
        if self._closed:  # while the model was loading
            raise asyncio.CancelledError
        row = self._to_row(request)
        future = self._futures[row] = loop.create_future()
        self._waiting.append(row)
        if self._pump is None or self._pump.done():
            self._pump = loop.create_task(self._answer_all())
        return await future

    async def on_model(self, work: Callable[[LocalModel], Result]) -> Result:
        """Do something with the model itself, in its thread, between answers."""
        loop = asyncio.get_running_loop()
        if self._local is None:
            await loop.run_in_executor(self._thread, self._load)
        return await loop.run_in_executor(self._thread, lambda: work(self._model()))

    async def close(self) -> None:
        """Stop at the next token, cancel what is not answered, let go of the model."""
        self._closed = True
        if self._pump is not None:
            self._pump.cancel()
        for future in self._futures.values():
            future.cancel()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._local = None
        self._waiting, self._batches, self._futures = [], [], {}

    def _load(self) -> None:
        if self._local is None:
            _quiet()
            from synth.engines.local import LocalModel

            self._local = LocalModel(self.model, self.dtype, self.chat_template_kwargs)

    def _model(self) -> LocalModel:
        assert self._local is not None, "the model is loaded before anything else"
        return self._local

    def _to_row(self, request: Request) -> Row:
        from jinja2 import TemplateError

        from synth.engines.local import Row

        local = self._model()
        try:
            ids = local.render(request)
        except TemplateError as error:
            roles = ", ".join(message.role for message in request.messages)
            raise EngineError(
                f"The chat template of {self.model} does not take these roles: {roles} ({error}).",
                "If it takes no system message, set `prompt_role: user` in task.yml.",
            ) from error
        room = local.context - len(ids)
        if room < 1:
            raise RowError(
                "longer than the model's context",
                f"The request has {len(ids)} tokens, the model takes {local.context}.",
            )
        return Row(request, ids, min(request.sampling.max_tokens, room))

    async def _answer_all(self) -> None:
        """Take in, decode a slice, hand out, until nothing is left to do."""
        import torch

        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(GATHER)
            self._drop_unwanted()
            if not self._waiting and not self._batches:
                return
            new, prefix = self._next_rows()
            work = loop.run_in_executor(self._thread, self._round, new, prefix)
            await asyncio.wait([work])
            error = work.exception()
            if error is None:
                for row in work.result():
                    self._settle(row, self._model().answer_of(row))
                continue
            rows = [*new, *(row for batch in self._batches for row in batch.rows)]
            self._batches = []
            if isinstance(error, torch.OutOfMemoryError):
                self._start_over(rows)
                continue
            for row in rows:
                self._settle(row, error)

    def _drop_unwanted(self) -> None:
        """Forget the rows whose caller has given up."""
        for row, future in list(self._futures.items()):
            if future.done():
                del self._futures[row]
        self._waiting = [row for row in self._waiting if row in self._futures]
        for batch in list(self._batches):
            keep = [at for at, row in enumerate(batch.rows) if row in self._futures]
            if not keep:
                self._batches.remove(batch)
            elif len(keep) < len(batch.rows) and self._model().sliceable:
                batch.keep(keep)

    def _next_rows(self) -> tuple[list[Row], int]:
        """The waiting rows that come in now, and the length of the prefix they share.

        A step takes about as long for one row as for a full batch, so there is one batch at a
        time: rows of its kind join it as others leave, and another kind begins when it has run
        low. The oldest of a kind goes first.
        """
        local = self._model()
        queue = self._waiting
        busy = sum(len(batch.rows) for batch in self._batches)
        enough = max(1, self._size() // 4)
        while queue:
            known = local.known_prefixes(queue[0].ids)
            group = choose_group([row.ids for row in queue], known, self._size(), local.shares)
            rows, prefix = [queue[place] for place in group.rows], group.prefix
            mate = self._mate(rows, prefix)
            free = self._size() - (len(mate.rows) if mate else 0)
            if busy < enough or (mate and free >= enough):
                return self._taken(rows[:free], prefix, alone=not busy), prefix
            head = queue[0].ids[:prefix]
            queue = [
                row
                for row in queue
                if (row.ids[:prefix] != head if prefix else local.known_prefixes(row.ids))
            ]
        return [], 0

    def _taken(self, rows: list[Row], prefix: int, alone: bool) -> list[Row]:
        """Take from the queue as many of `rows` as memory allows, one at least when `alone`."""
        local = self._model()
        room = _free_bytes(local) // 2 // local.bytes_per_token()
        while len(rows) > alone and _tokens(rows, prefix) > room:
            rows = rows[:-1]
        taken = set(rows)
        self._waiting = [row for row in self._waiting if row not in taken]
        return rows

    def _mate(self, rows: list[Row], prefix: int) -> Batch | None:
        """The running batch that these rows can join."""
        if not self._model().sliceable:
            return None
        width = max(len(row.ids) for row in rows) - prefix
        head = rows[0].ids[:prefix]
        return next((b for b in self._batches if b.begins_like(head, width)), None)

    def _size(self) -> int:
        return self.batch_size or BATCH_SIZE

    def _round(self, new: list[Row], prefix: int) -> list[Row]:
        """In the model's thread: begin with the new rows, decode a slice of every batch.

        Returns:
            The rows that have ended.
        """
        from synth.engines.local import SLICE

        local = self._model()
        over: list[Row] = []
        if new:
            mate = self._mate(new, prefix)
            batch = local.start(new, prefix)
            if mate:
                over += local.advance(batch, 1, self._stopped)
                if batch.rows:
                    mate.join(batch, local.pad_id)
            else:
                self._batches.append(batch)
        for batch in list(self._batches):
            over += local.advance(batch, SLICE, self._stopped)
            if not batch.rows:
                self._batches.remove(batch)
        return over

    def _stopped(self) -> bool:
        return self._closed or all(f.cancelled() for f in list(self._futures.values()))

    def _start_over(self, rows: list[Row]) -> None:
        """After a lack of memory: the same rows again, in batches of half the size."""
        if len(rows) == 1:
            self._settle(rows[0], RowError("out of memory", f"{len(rows[0].ids)} tokens"))
            return
        self.batch_size = max(1, min(self._size(), len(rows)) // 2)
        for row in rows:
            fresh = type(row)(row.request, row.ids, row.limit)
            if row in self._futures:
                self._futures[fresh] = self._futures.pop(row)
                self._waiting.append(fresh)

    def _settle(self, row: Row, result: Answer | BaseException) -> None:
        future = self._futures.pop(row, None)
        if future is None or future.done():
            return
        if isinstance(result, Answer):
            future.set_result(result)
        else:
            future.set_exception(result)


def _quiet() -> None:
    """Keep off the terminal what libraries say while they are imported: extras that this machine
    has no use for, and deprecations among themselves."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _tokens(rows: list[Row], prefix: int) -> int:
    """Cache entries that a batch of `rows` may come to."""
    return len(rows) * (max(len(row.ids) + row.limit for row in rows) - prefix)


def _free_bytes(local: LocalModel) -> int:
    """Memory that is left; without bound where the system does not tell."""
    if local.device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0]
    told = Path("/proc/meminfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return free[0] if free else 2**62
