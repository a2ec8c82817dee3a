"""Packed rows (`sample_packing`): bins of rows, batches of bins, and none left out unsaid."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from genpi_plugin.errors import ConfigError


def with_last_batch(sampler: Any) -> Any:
    """axolotl's sampler of packed rows, its last batch included where that has fewer bins.

    For one process: several need equally many batches.
    """
    sampler.drop_last = False
    # Both were counted without the last batch.
    sampler._batches = sampler._len_across_ranks = None
    sampler.num_count_samples = 1
    len(sampler)
    return sampler


def left_out(sampler: Any, rows: int) -> str:
    """What a sampler of packed rows leaves out of an epoch, in words; empty if nothing.

    Args:
        sampler: axolotl's; its batches have been counted.
        rows: of the dataset.
    """
    count = len(sampler)
    missing = rows - sum(len(bin) for bins in sampler.generate_batches()[:count] for bin in bins)
    if not missing:
        return ""
    return (
        f"{missing} of {rows} rows are left out of an epoch: packed, they are less than a batch of "
        f"{sampler.batch_size} bins, and with several processes axolotl drops such a batch. A "
        "smaller `micro_batch_size` leaves out fewer."
    )


def check_not_empty(loader: Sized, rows: Sized, args: Any) -> None:
    """Before the first step: is there a batch?

    Args:
        args: the training arguments.

    Raises:
        ConfigError: there is none; says what makes one.
    """
    if len(loader):
        return
    size = args.per_device_train_batch_size
    if args.sample_packing:
        raise ConfigError(
            f"{len(rows)} rows, packed into bins of `sequence_len`, do not fill one batch of "
            f"`micro_batch_size: {size}` bins on each process: nothing would be trained.",
            "set `micro_batch_size: 1`, a smaller `sequence_len` or `sample_packing: false`, or "
            "make more rows.",
        )
    raise ConfigError(
        f"{len(rows)} rows do not fill one batch of `micro_batch_size: {size}` on each process, "
        "and `dataloader_drop_last` drops what is less: nothing would be trained.",
        "remove `dataloader_drop_last`, set a smaller `micro_batch_size`, or make more rows.",
    )
