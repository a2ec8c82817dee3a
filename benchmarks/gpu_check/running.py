"""Groups one after another, each in a process of its own, within the time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu_check.checks import LONGEST_REASON, Line, Machine
from benchmarks.gpu_check.groups import GROUPS
from benchmarks.gpu_check.worker import CARD_LOST, TIME_UP

# Seconds that a check may go on behind the time at which no check is started any more.
GRACE = 45.0
TIME_IS_UP = "the time was up (--minutes)"
STILL_RUNNING = "it was still running when the time was up (--minutes)"


def run_groups(machine: Machine, groups: list[str] | None = None) -> Iterator[Line]:
    """The lines of all checks, as they come."""
    for group in groups or list(GROUPS):
        yield from run_group(group, machine)


def run_group(group: str, machine: Machine) -> Iterator[Line]:
    """The lines of a group, also of checks that end their process or never came to run."""
    done: list[str] = []
    while True:
        if time.time() >= machine.deadline:
            yield Line(group, f"{group}: what is left", "not run", why=TIME_IS_UP)
            return
        names, begun, lines, status, last = one_process(group, machine, done)
        yield from lines
        done += [line.name for line in lines]
        stopped = status == -signal.SIGKILL and time.time() >= machine.deadline
        if begun is not None and begun not in done:
            if stopped:
                yield Line(group, begun, "failed", why=STILL_RUNNING)
            else:
                yield Line(group, begun, "failed", why=died(status, last))
            done.append(begun)
        elif status not in (0, TIME_UP, CARD_LOST) and not stopped:
            yield Line(group, f"{group}: all", "failed", why=died(status, last))
            return
        left = [name for name in names if name not in done]
        if not left:
            return
        if status == TIME_UP or time.time() >= machine.deadline:
            yield from (Line(group, name, "not run", why=TIME_IS_UP) for name in left)
            return


def one_process(
    group: str, machine: Machine, done: list[str]
) -> tuple[list[str], str | None, list[Line], int, str]:
    """Run a group's checks but for those done.

    Returns: the names of all its checks, the last one begun, the lines, the process's status, and
        the last that it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder) / "lines", Path(folder) / "log"
        file.touch()
        with log.open("w", encoding="utf-8") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu_check.worker", group, machine.device,
                 str(file), str(machine.deadline), *done],
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                env=environment(folder),
            )  # fmt: skip
            try:
                status = process.wait(max(1.0, machine.deadline + GRACE - time.time()))
            except subprocess.TimeoutExpired:
                status = -signal.SIGKILL
            finally:
                end(process)
        told = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    names = next((one["names"] for one in told if "names" in one), [])
    begun = [one["begun"] for one in told if "begun" in one]
    lines = [Line(**one) for one in told if "verdict" in one]
    return names, begun[-1] if begun else None, lines, status, words[-1] if words else ""


def environment(folder: str) -> dict[str, str]:
    """Of the processes: one GPU, and nothing is asked of a network.

    Args:
        folder: for what they leave behind. What they compile is kept for the next ones.
    """
    told = os.environ
    first = told.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    here = str(Path(__file__).parents[2])
    paths = [here, *filter(None, [told.get("PYTHONPATH")])]
    own: dict[str, str] = {
        "CUDA_VISIBLE_DEVICES": first,
        "HF_HUB_OFFLINE": "1",
        "AXOLOTL_DO_NOT_TRACK": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "TMPDIR": folder,
        "TORCHINDUCTOR_CACHE_DIR": str(Path(tempfile.gettempdir()) / "torchinductor_gpu_check"),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    return {**told, **own}


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def died(status: int, last: str) -> str:
    """Why a process ended in the middle of a check."""
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return f"its process ended with {how}: {last}"[:LONGEST_REASON]
