"""A group's process: runs its checks and writes a line of each into a file at once.

python -m benchmarks.gpu_check.worker GROUP cuda FILE DEADLINE DONE...
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu_check.checks import Machine, run_check
from benchmarks.gpu_check.groups import checks_of

# Statuses besides 0: the time was up; the card can't be used any more in this process.
TIME_UP, CARD_LOST = 3, 4


def work(group: str, machine: Machine, file: Path, done: frozenset[str] = frozenset()) -> int:
    """Run the checks that are not done; returns the process's status.

    Args:
        file: gets a JSON object a line: the names of all checks, then {"begun": name} and the
            line of each.
    """
    with file.open("a", encoding="utf-8") as out:

        def tell(what: object) -> None:
            out.write(json.dumps(what) + "\n")
            out.flush()

        checks = checks_of(group, machine)
        tell({"names": [check.name for check in checks]})
        for check in checks:
            if check.name in done:
                continue
            if time.time() >= machine.deadline:
                return TIME_UP
            tell({"begun": check.name})
            line = run_check(check, group, machine)
            tell(asdict(line))
            if machine.gpu and line.verdict == "failed" and not card_works():
                return CARD_LOST
            if machine.gpu:
                release()
    return 0


def card_works() -> bool:
    """Whether this process can still use the card."""
    import torch

    try:
        torch.cuda.synchronize()
        return float(torch.ones(2, device="cuda").sum()) == 2.0
    except Exception:  # of whatever driver
        return False


def release() -> None:
    """Give back what a check has left on the card."""
    import gc

    import torch

    gc.collect()
    torch.cuda.empty_cache()


def main() -> None:
    """See the module."""
    group, device, file, deadline, *done = sys.argv[1:]
    machine = Machine(device, float(deadline))
    status = work(group, machine, Path(file), frozenset(done))
    sys.stdout.flush()
    # At once, whatever trainings and engines still wait for; who started this ends them.
    os._exit(status)


if __name__ == "__main__":
    main()
