"""`synth run --ray`: two workers on this machine, one of them killed in mid-run."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from synth.store.store import Store
from tests import ROOT
from tests.synth.scripted import answers, write_task
from tests.synth.server import serve

pytest.importorskip("ray")
FILES = ("data/train-00000-of-00001.parquet", "rejected.jsonl")


def start(folder, out, server, *more):
    words = ("run", folder / "t", "-o", folder / out, "--model", "m", "--base-url", server.url,
             "--concurrency", 16, *more)  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "synth", *map(str, words)], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def workers_of(process):
    """The Ray workers below a process: their command line says what they run."""
    found = psutil.Process(process.pid).children(recursive=True)
    return [one for one in found if any("ray::Worker" in word for word in one.cmdline())]


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_costs_nothing(tmp_path):
    write_task(tmp_path / "t", inputs={"count": 60}, conversations={"max_turns": 3})
    with serve(answers, models=None, delay=0.1) as server:
        running = start(tmp_path, "out", server, "--ray", "local", "--ray-workers", 2)
        while server.count < 60:
            assert running.poll() is None, running.communicate()[0]
            time.sleep(0.01)
        first, second = workers_of(running)
        os.kill(first.pid, signal.SIGKILL)
        printed, _ = running.communicate(timeout=120)
        assert running.returncode == 0, printed
        assert "Worker" in printed
        assert "is gone" in printed
        asked = server.count
        store = Store(tmp_path / "out" / "store.sqlite", read_only=True)
        stored = sum(store.answers().values())
        store.close()
        server.delay = 0.0
        assert start(tmp_path, "whole", server).wait(60) == 0
    # What the killed worker was at was asked again, and nothing else.
    assert stored < asked <= stored + 16
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not second.is_running()


def test_no_cluster_there_is_told_with_its_cure(tmp_path):
    write_task(tmp_path / "t")
    with serve(answers, models=None) as server:
        running = start(tmp_path, "out", server, "--ray", "127.0.0.1:9")
        printed, _ = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "There is no Ray cluster at 127.0.0.1:9" in printed
    assert "ray start --head" in printed
    assert "Traceback" not in printed
