"""Which requests are read and decoded together, where the model's forward pass is called by us.

There is one batch, decoded a slice of tokens at a time. Between slices, rows that have ended leave
it and waiting rows come in, so neither a long answer nor a long prompt holds up the others. What
rows share at their beginning is read once and kept once (`choose_group`, `shared_attention`).

This is a small serving engine, and transformers has one, which a GPU uses (`continuous`). On a CPU
ours stays because `python -m benchmarks.synth_throughput --continuous-batching` printed that it is
15.9 times as fast with 32 rows behind a prompt of 1,570 tokens, and 4.1 times with 8, in float32: a
CPU has no paged kernel, so each request attends over the blocks of all, masked (docs/engines.md).
"""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING

from synth.engines.local.grouping import choose_group
from synth.errors import RowError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from synth.engines.local.batch import Batch, Row
    from synth.engines.local.model import LocalModel

# How long requests are gathered before the next slice, in seconds.
GATHER = 0.01
# Rows decoded at once in one batch. On a CPU, a step of 32 takes half as long again as one of 16; a
# GPU, which is bound by reading the weights, has room for more.
BATCH_SIZE = {"cpu": 32, "cuda": 128}
# Rounds after which a batch that was made smaller for want of memory is made larger again.
RECOVERY = 100


class Scheduler:
    """Fills rows with their answers' tokens, many at a time.

    Args:
        local: the model.
        thread: where the model is called.
        batch_size: rows decoded at once, at most; None is 32, on a GPU 128. Memory may allow fewer.
    """

    def __init__(self, local: LocalModel, thread: Executor, batch_size: int | None) -> None:
        self._local = local
        self._thread = thread
        self._batch_size = batch_size
        self._waiting: list[Row] = []
        self._running: list[Row] = []
        self._batch: Batch | None = None  # of the running rows; the model's thread's own
        self._futures: dict[Row, asyncio.Future[Row]] = {}
        self._pump: asyncio.Task[None] | None = None
        self._closed = False
        self._most: int | None = None  # rows decoded at once, after a lack of memory
        self._failures = 0  # lacks of memory in a row
        self._good = 0  # rounds

    async def answer(self, row: Row) -> Row:
        """The row with its tokens written; another object after a lack of memory.

        Raises:
            RowError: there is not the memory even for this row alone.
        """
        loop = asyncio.get_running_loop()
        future = self._futures[row] = loop.create_future()
        self._waiting.append(row)
        if self._pump is None or self._pump.done():
            self._pump = loop.create_task(self._answer_all())
        return await future

    def close(self) -> None:
        """Stop at the next token and cancel what is not answered."""
        self._closed = True
        if self._pump is not None:
            self._pump.cancel()
        for future in self._futures.values():
            future.cancel()
        self._waiting, self._running, self._batch, self._futures = [], [], None, {}

    async def _answer_all(self) -> None:
        """Answer what is waiting; whatever goes wrong is everybody's who waits."""
        try:
            await self._rounds()
        except Exception as error:
            for row in list(self._futures):
                self._settle(row, error)
            self._waiting, self._running, self._batch = [], [], None

    async def _rounds(self) -> None:
        """Take in, decode a slice, hand out, until nothing is left to do."""
        import torch

        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(GATHER)
            self._drop_unwanted()
            if not self._waiting and not self._running:
                self._batch = None
                return
            groups = self._next_groups()
            rows = [*(row for group, _ in groups for row in group), *self._running]
            work = loop.run_in_executor(self._thread, self._round, groups)
            await asyncio.wait([work])
            error = work.exception()
            if error is None:
                self._recover()
                self._running = [row for row in rows if not row.over]
                for row in rows:
                    if row.over:
                        self._settle(row)
                continue
            self._running, self._batch = [], None
            if not isinstance(error, torch.OutOfMemoryError):
                for row in rows:
                    self._settle(row, error)
                continue
            # The frames of the failed round hold its tensors.
            traceback.clear_frames(error.__traceback__)
            del error, work
            await loop.run_in_executor(self._thread, self._local.free_memory)
            self._start_over(rows)

    def _drop_unwanted(self) -> None:
        """Forget the rows whose caller has given up; the running ones leave their batch soon."""
        for row, future in list(self._futures.items()):
            if future.done():
                row.ended = True
                del self._futures[row]
        self._waiting = [row for row in self._waiting if row in self._futures]
        self._running = [row for row in self._running if row in self._futures]

    def _next_groups(self) -> list[tuple[list[Row], int]]:
        """The waiting rows that come in now: rows that are read together, and their prefix.

        The oldest come first. A step takes about as long for one row as for a full batch, and
        reading a few rows as long as reading one: rows come in when an eighth of the batch is
        free, several at a time.
        """
        local = self._local
        free = self._size() - len(self._running)
        groups: list[tuple[list[Row], int]] = []
        if free < max(1, self._size() // 8) or (self._running and not local.shares):
            return groups
        # What the running rows will yet write is theirs.
        promised = sum(row.limit - len(row.tokens) for row in self._running)
        room = local.free_bytes() // 2 // local.bytes_per_token - promised
        while self._waiting and free:
            ids = [row.ids for row in self._waiting]
            group = choose_group(ids, local.known_prefixes(ids[0]), free, local.shares)
            rows = [self._waiting[place] for place in group.rows]
            alone = not groups and not self._running
            while len(rows) > alone and _tokens(rows, group.prefix) > room:
                rows = rows[:-1]
            if rows:
                groups.append((rows, group.prefix))
            if len(rows) < len(group.rows) or not local.shares:
                break
            free -= len(rows)
            room -= _tokens(rows, group.prefix)
            taken = set(rows)
            self._waiting = [row for row in self._waiting if row not in taken]
        taken = {row for rows, _ in groups for row in rows}
        self._waiting = [row for row in self._waiting if row not in taken]
        return groups

    def _size(self) -> int:
        size = self._batch_size or BATCH_SIZE[self._local.device.type]
        return size if self._most is None else min(size, self._most)

    def _round(self, groups: list[tuple[list[Row], int]]) -> None:
        """In the model's thread: begin with the new rows, decode a slice of the batch."""
        from synth.engines.local.batch import merged
        from synth.engines.local.model import SLICE

        local = self._local
        if not local.shares:
            for rows, _ in groups:
                local.answer_plainly(rows, self._stopped)
            return
        for rows, prefix in groups:
            new = local.start(rows, prefix)
            self._batch = merged([self._batch, new] if self._batch else [new])
        if self._batch:
            local.advance(self._batch, SLICE, self._stopped)
            if self._batch.over():
                self._batch = merged([self._batch])

    def _stopped(self) -> bool:
        return self._closed or all(f.cancelled() for f in list(self._futures.values()))

    def _start_over(self, rows: list[Row]) -> None:
        """After a lack of memory: the same rows again. The first time without the beginnings that
        were kept, then in batches of half the size."""
        self._failures += 1
        if self._failures > 1:
            if len(rows) == 1:
                self._settle(rows[0], RowError("out of memory", f"{len(rows[0].ids)} tokens"))
                self._failures = 0
                return
            self._most = max(1, min(self._size(), len(rows)) // 2)
        for row in rows:
            fresh = type(row)(row.request, row.ids, row.limit)
            if row in self._futures:
                self._futures[fresh] = self._futures.pop(row)
                self._waiting.append(fresh)

    def _recover(self) -> None:
        """After a round that went well; many in a row, and the batch may grow again."""
        self._failures = 0
        self._good += 1
        if self._most is not None and self._good % RECOVERY == 0:
            self._most *= 2

    def _settle(self, row: Row, error: BaseException | None = None) -> None:
        future = self._futures.pop(row, None)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(row)
        else:
            future.set_exception(error)


def _tokens(rows: list[Row], prefix: int) -> int:
    """Cache entries that a batch of `rows` may come to."""
    return len(rows) * (max(len(row.ids) + row.limit for row in rows) - prefix)
