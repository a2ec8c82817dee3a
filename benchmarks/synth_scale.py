"""What more rows cost: `synth run` of 500 and of 5,000 rows against a server on this machine.

    python -m benchmarks.synth_scale

The server answers at once, from its own process; each run is a process of its own: its memory is
the peak of what was resident, its time that of the whole command. Besides, how much memory a run
holds that makes next to nothing, which is Python and the libraries.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from synth.store.rows import as_messages
from tests.synth.scripted import shop, write_task
from tests.synth.server import serve

LENGTH = 600  # characters of an answer, about 150 tokens


def answer(messages: Sequence[dict[str, str]]) -> str:
    """A function of the request, about as long as a real one."""
    text = shop(as_messages(messages))
    return text + " " + "x" * (LENGTH - len(text)) if "[" not in text else text


def server_process(url: Connection) -> None:
    """Serve until killed; what was asked is not kept."""
    with serve(lambda messages: server.requests.clear() or answer(messages), models=None) as server:
        url.send(server.url)
        time.sleep(10**9)


def run(folder: Path, rows: int, url: str) -> tuple[float, float, int]:
    """One run in a process of its own: (seconds, peak memory in MB, answers stored)."""
    out = folder / f"out{rows}"
    command = [sys.executable, "-m", "synth", "run", str(folder / "task"), "-o", str(out),
               "--model", "m", "--base-url", url, "-n", str(rows)]  # fmt: skip
    began = time.monotonic()
    with (folder / f"{rows}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    took = time.monotonic() - began
    if status:
        raise SystemExit((folder / f"{rows}.log").read_text())
    from synth.store.store import Store

    store = Store(out / "store.sqlite", read_only=True)
    answers = sum(store.answers().values())
    assert len(store.row_ids()) == rows
    store.close()
    return took, usage.ru_maxrss / 1024, answers


def main() -> None:
    """Print one line a run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 5000])
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=server_process, args=(theirs,), daemon=True)
    server.start()
    url = ours.recv()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_task(folder / "task", conversations={"max_turns": 3})
            print(f"{'rows':>6} {'answers':>8} {'seconds':>8} {'ms/answer':>10} {'peak MB':>8}")
            for rows in (10, *options.rows):
                took, peak, answers = run(folder, rows, url)
                print(f"{rows:>6} {answers:>8} {took:>8.1f} {took / answers * 1000:>10.2f} "
                      f"{peak:>8.1f}", flush=True)  # fmt: skip
    finally:
        server.kill()


if __name__ == "__main__":
    main()
