"""Whether losses, trainings, memory and speed on this machine's GPU are as told, in ten minutes.

    make gpu-check
    python -m benchmarks.gpu_check --minutes 5 --only exactness memory

One GPU, no network, no model to download. Without a GPU the checks that a CPU can do are done, in
float32 on tiny models. The status is 1 where a tolerance is missed or a check fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from benchmarks.gpu_check import packages, report
from benchmarks.gpu_check.checks import Line, Machine
from benchmarks.gpu_check.groups import GROUPS
from benchmarks.gpu_check.running import run_groups

OUT = Path("outputs/gpu_check.json")
# With what the last check may take behind them, ten.
MINUTES = 9.0


def main() -> None:
    """Run, print, write."""
    options = _options()
    console = Console()
    started = time.time()
    card = packages.card()
    machine = Machine("cuda" if card else "cpu", started + 60 * options.minutes)
    console.print(_head(card), highlight=False)
    lines: list[Line] = []
    for line in run_groups(machine, options.only):
        lines.append(line)
        console.print(f"  {line.verdict:9} {line.name}", highlight=False, markup=False)
    found = report.as_json(lines, machine, card, packages.versions(), time.time() - started)
    report.write(options.output, found)
    report.show(console, lines)
    console.print(f"{report.summary(lines)}; {options.output}", highlight=False, markup=False)
    sys.exit(report.status(lines))


def _head(card: dict[str, object]) -> str:
    if not card:
        return "no GPU: the checks that a CPU can do, in float32 on tiny models"
    told = ("{name}, {memory_gib} GiB, compute capability {capability}, driver {driver}, "
            "CUDA {cuda}")  # fmt: skip
    return told.format(**card)


def _options() -> argparse.Namespace:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=about)
    parser.add_argument(
        "--minutes", type=float, default=MINUTES,
        help=f"after which no check is started any more (default {MINUTES:g})",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", choices=list(GROUPS), metavar="GROUP",
        help=f"these groups alone: {', '.join(GROUPS)}",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=OUT, help=f"the file (default {OUT})")
    return parser.parse_args()


if __name__ == "__main__":
    main()
