"""How long the output head takes for the last token of each row: cut out of all, and in one piece.

python -m benchmarks.first_token --rows 32 --vocabulary 49152 --hidden 576
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear


def main() -> None:
    """Print the processor's seconds of both in float32 and bfloat16, and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=32, help="of the batch (default 32)")
    parser.add_argument("--tokens", type=int, default=50, help="of a row (default 50)")
    parser.add_argument("--vocabulary", type=int, default=49152, help="(default SmolLM2's 49152)")
    parser.add_argument("--hidden", type=int, default=576, help="(default SmolLM2-135M's 576)")
    options = parser.parse_args()
    for dtype in (torch.float32, torch.bfloat16):
        weight = torch.randn(options.vocabulary, options.hidden, dtype=dtype)
        states = torch.randn(options.rows, options.tokens, options.hidden, dtype=dtype)
        last = states[:, -1:]
        whole = last.contiguous()
        cut_out = seconds(lambda weight=weight, last=last: linear(last, weight))
        in_one = seconds(lambda weight=weight, whole=whole: linear(whole, weight))
        print(
            f"{dtype}: cut out {cut_out:.3f} s, in one piece {in_one:.3f} s of processor time "
            f"({cut_out / in_one:.0f} times as long)"
        )


def seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    """The processor's, the median of some rounds."""
    found = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return statistics.median(found)


if __name__ == "__main__":
    main()
