"""Runs killed at random moments and started again: nothing is lost, doubled, or asked twice.

`python -m pytest tests/synth/test_kill.py -m slow -s` kills 20 and prints what was counted.
"""

import random
import shutil
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass

import pyarrow.parquet as pq
import pytest

from synth.engines.base import Request, Sampling
from synth.engines.messages import as_messages
from synth.store.fingerprint import request_key
from synth.store.store import Store
from tests import ROOT
from tests.synth.scripted import shop, write_task
from tests.synth.server import serve

FILES = ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet",
         "rejected.jsonl", "README.md")  # fmt: skip
CONCURRENCY = 8


@dataclass
class Kill:
    """What a killed run left: the keys in its store, and how many requests the server had had."""

    stored: frozenset[str]
    asked: int


def answers(messages):
    """A function of the request; some tries and some reasons are no good, some take longer."""
    text = shop(as_messages(messages))
    number = zlib.crc32(repr(messages).encode())
    time.sleep(number % 4 * 0.004)
    first = messages[0]["content"]
    if first.startswith("Below") and number % 3 == 0:
        return f"please find item number {number % 2} for me"
    return "" if first.startswith("You compare") and number % 7 == 0 else text


def start(folder, out, server):
    words = ("run", folder / "t", "-o", folder / out, "--model", "m", "--base-url", server.url,
             "--concurrency", CONCURRENCY)  # fmt: skip
    log = (folder / f"{out}.log").open("a")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", "synth", *map(str, words)],
            cwd=ROOT, stdout=log, stderr=log,
        )  # fmt: skip


def key_of(body):
    sampling = Sampling(body["temperature"], body.get("top_p", 1.0), body["max_tokens"])
    request = Request(as_messages(body["messages"]), sampling, body.get("seed", 0))
    return request_key({"model": body["model"]}, request)


def stored_in(folder):
    path = folder / "store.sqlite"
    if not path.exists():
        return frozenset()
    store = Store(path)  # as the next run opens it: what SQLite makes of a killed one's file
    keys = frozenset(store.keys())
    store.close()
    return keys


def kill_somewhere(folder, out, server, draw, missing):
    """Start the run and kill it after a random number of requests and milliseconds; None if it
    had come to its end before."""
    running = start(folder, out, server)
    target = server.count + draw.randrange(missing)
    while server.count < target and running.poll() is None:
        time.sleep(0.002)
    time.sleep(draw.random() * 0.1)
    running.kill()
    ended = running.wait() != -9
    server.settle()
    return None if ended else Kill(stored_in(folder / out), server.count)


def check(folder, server, kills, whole, needed):
    """The killed run against the whole one; the numbers of the must-show."""
    asked = [key_of(body) for body in server.requests]
    end = stored_in(folder)
    lost = doubled = again = 0
    for kill in kills:
        lost += len(kill.stored - end)
        again += len(kill.stored & set(asked[kill.asked :]))
        # What was asked and is not stored was on its way: never more than were under way at once.
        assert len(set(asked[: kill.asked]) - kill.stored) <= CONCURRENCY * len(kills)
    ids = [name for split in FILES[:2] for name in pq.read_table(folder / split)["id"].to_pylist()]
    doubled += len(ids) - len(set(ids))
    assert (lost, doubled, again) == (0, 0, 0)
    assert end == needed
    for name in FILES[:3]:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    # The card names the folder, too.
    cards = [(path / "README.md").read_text().replace(str(path), "OUT") for path in (folder, whole)]
    assert cards[0] == cards[1]


def kill_and_resume(tmp_path, runs, thrice, seed):
    """`runs` runs, each killed once (the run `thrice`: three times) and resumed to its end."""
    write_task(tmp_path / "t", inputs={"count": 14}, conversations={"max_turns": 3})
    draw = random.Random(seed)
    with serve(answers, models=None) as server:
        assert start(tmp_path, "whole", server).wait() == 0
        needed = stored_in(tmp_path / "whole")
        for run in range(runs):
            out = f"out{run}"
            kills = killed(tmp_path, out, server, draw, len(needed), 3 if run == thrice else 1)
            assert start(tmp_path, out, server).wait() == 0, (tmp_path / f"{out}.log").read_text()
            check(tmp_path / out, server, kills, tmp_path / "whole", needed)
            told = ", ".join(str(len(kill.stored)) for kill in kills)
            print(f"run {run + 1}: killed with {told} of {len(needed)} answers stored, resumed; "
                  "0 lost, 0 duplicated, 0 asked again, same bytes")  # fmt: skip


def killed(folder, out, server, draw, needed, times):
    """A run killed so many times before its end; one that was too quick is thrown away."""
    while True:
        server.requests.clear()
        shutil.rmtree(folder / out, ignore_errors=True)
        kills = []
        while len(kills) < times:
            missing = needed - (len(kills[-1].stored) if kills else 0)
            kill = kill_somewhere(folder, out, server, draw, max(missing, 1))
            if kill is None:
                break
            kills.append(kill)
        else:
            return kills


def test_killed_runs_lose_double_and_ask_nothing_again(tmp_path):
    kill_and_resume(tmp_path, runs=2, thrice=1, seed=1)


@pytest.mark.parametrize("runs", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_runs_killed_in_their_first_moments_go_on(tmp_path, runs):
    """The store is there before synth.yaml is."""
    write_task(tmp_path / "t", inputs={"count": 4}, conversations={"max_turns": 1})
    with serve(answers, models=None) as server:
        for run in range(runs):
            running = start(tmp_path, f"out{run}", server)
            while not (tmp_path / f"out{run}" / "run.log").exists():
                time.sleep(0.001)
            time.sleep(0.004 * run / runs)
            running.kill()
            running.wait()
            assert start(tmp_path, f"out{run}", server).wait() == 0, (
                tmp_path / f"out{run}.log"
            ).read_text()


@pytest.mark.slow
def test_twenty_killed_runs(tmp_path):
    kill_and_resume(tmp_path, runs=20, thrice=7, seed=0)
