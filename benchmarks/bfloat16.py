"""How long one step takes here in bfloat16, against float32: forward and backward of one sequence.

python -m benchmarks.bfloat16 --model models/smollm2
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from transformers import AutoModelForCausalLM

from genpi_plugin.training.cpu import computes_bfloat16, gains_by_bfloat16


def main() -> None:
    """Print the seconds of processor time of both, and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="a folder or a hub name")
    parser.add_argument("--tokens", type=int, default=128, help="of the sequence (default 128)")
    parser.add_argument("--steps", type=int, default=5, help="the median of so many (default 5)")
    options = parser.parse_args()
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype).train()
        ids = torch.arange(options.tokens)[None] + 100
        seconds = []
        for _ in range(options.steps):
            begun = time.process_time()
            model(input_ids=ids, labels=ids).loss.backward()
            seconds.append(time.process_time() - begun)
        found[dtype] = statistics.median(seconds)
        print(f"{dtype}: {found[dtype]:.2f} s of processor time", flush=True)
    ratio = found[torch.bfloat16] / found[torch.float32]
    has = "has" if computes_bfloat16() else "has no"
    chosen = "bfloat16" if gains_by_bfloat16() else "float32"
    print(
        f"bfloat16 takes {ratio:.1f} times as long; this machine {has} instructions for it, and "
        f"the demo and the benchmarks train in {chosen}."
    )


if __name__ == "__main__":
    main()
