"""What more rows cost: `synth run` of 500 and of 5,000 rows against a server on this machine.

    python -m benchmarks.synth_scale
    python -m benchmarks.synth_scale --rows 500 5000 50000 --prompt-kb 20 --max-turns 1

The server answers at once, from its own process. Each run is a process of its own: its memory is
the peak of what was resident, its time that of the whole command, and `CPU ms` what its processor
took for an answer, whatever else runs on the machine. Besides, how much memory a run holds that
makes next to nothing, which is Python and the libraries. Sizes are those of the folder's files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from synth.engines.messages import as_messages
from tests.synth.scripted import PROMPT, shop, write_task
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


@dataclass(frozen=True)
class Measured:
    """What a run took: seconds, those of its processor, peak memory in MB, answers stored, and its
    files in MB."""

    seconds: float
    processor: float
    peak: float
    answers: int
    store: float
    dataset: float

    def line(self, rows: int) -> str:
        return (
            f"{rows:>6} {self.answers:>8} {self.seconds:>8.1f} "
            f"{self.seconds / self.answers * 1000:>10.2f} "
            f"{self.processor / self.answers * 1000:>7.2f} {self.peak:>8.1f} {self.store:>8.1f} "
            f"{self.dataset:>10.1f}"
        )


HEADER = (
    f"{'rows':>6} {'answers':>8} {'seconds':>8} {'ms/answer':>10} {'CPU ms':>7} {'peak MB':>8} "
    f"{'store MB':>8} {'dataset MB':>10}"
)


def long_prompt(characters: int) -> str:
    """The test task's prompt, made longer with rules that are all different."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9)))
             for _ in range(2000)]  # fmt: skip
    lines = [PROMPT]
    size = len(PROMPT)
    while size < characters:
        lines.append(f"{len(lines)}. {' '.join(draw.choices(words, k=12))}.")
        size += len(lines[-1]) + 1
    return "\n".join(lines)


def run(folder: Path, rows: int, url: str) -> Measured:
    """One run in a process of its own."""
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
    data = sum(path.stat().st_size for path in (out / "data").iterdir())
    size = (out / "store.sqlite").stat().st_size
    processor = usage.ru_utime + usage.ru_stime
    return Measured(took, processor, usage.ru_maxrss / 1024, answers, size / 1e6, data / 1e6)


def main() -> None:
    """Print one line a run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--prompt-kb", type=float, default=0, help="how long the prompt is, in KB")
    parser.add_argument("--max-turns", type=int, default=3, help="agent turns of a conversation")
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=server_process, args=(theirs,), daemon=True)
    server.start()
    url = ours.recv()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prompt = long_prompt(round(options.prompt_kb * 1000))
            write_task(folder / "task", prompt, conversations={"max_turns": options.max_turns})
            print(HEADER, flush=True)
            for rows in (10, *options.rows):
                print(run(folder, rows, url).line(rows), flush=True)
    finally:
        server.kill()


if __name__ == "__main__":
    main()
