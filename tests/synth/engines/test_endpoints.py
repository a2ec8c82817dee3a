"""Work on several places: to the least loaded; one that dies is left out, and tried again."""

import asyncio
import re
import subprocess
import sys
import time

import pytest

from synth.engines.base import Message, Request, Sampling
from synth.engines.endpoints import Endpoints, pause
from synth.engines.server.engine import OpenAIEngine
from synth.errors import EngineError
from tests import ROOT
from tests.synth.scripted import answers, write_task
from tests.synth.server import Failure, ServerProcess, serve

GONE = EngineError("It is gone.", "Start it.")


def requests(count):
    return [Request((Message("user", f"find item {n}"),), Sampling()) for n in range(count)]


async def ask_all(engine, count):
    try:
        return await asyncio.gather(*(engine.generate(request) for request in requests(count)))
    finally:
        await engine.close()


def test_work_goes_to_the_least_loaded():
    with serve(answers, None, 0.5) as slow, serve(answers, None, 0.02) as quick:
        engine = OpenAIEngine("m", [slow.url, quick.url], concurrency=8)
        asyncio.run(ask_all(engine, 120))
        assert slow.count + quick.count == 120
        assert quick.count > 2 * slow.count > 0
        assert max(slow.most_at_once, quick.most_at_once) <= 8


def test_one_that_is_full_hands_its_requests_to_the_other():
    with serve(answers) as full, serve(answers) as free:
        full.always = Failure(429, {}, {"Retry-After": "30"})
        engine = OpenAIEngine("tiny", [full.url, free.url], concurrency=4)
        began = time.monotonic()
        asyncio.run(ask_all(engine, 40))
        assert time.monotonic() - began < 20
        assert free.count == 40
        assert full.refused <= 4


@pytest.mark.parametrize(
    "failure",
    [Failure(500, {"error": {"message": "CUDA error"}}), Failure(200, raw=b"<html>busy</html>"),
     Failure(200, hang=0.6)],
)  # fmt: skip
def test_one_that_fails_fast_does_not_draw_all_requests(failure):
    """It is always the one with the least under way."""
    with serve(answers) as bad, serve(answers, delay=0.02) as good:
        bad.always = failure
        engine = OpenAIEngine("tiny", [bad.url, good.url], concurrency=8, timeout=0.3)
        asyncio.run(ask_all(engine, 120))
        assert good.count == 120
        assert bad.refused <= 16


def test_a_wrong_address_ends_a_run_whose_inputs_are_made(tmp_path):
    """The requests that wait for the server hear of it, not only the one that knocked."""
    write_task(tmp_path / "t", inputs={"count": 60})
    with serve(answers) as server:
        pass
    began = time.monotonic()
    printed, _ = (running := run_on(tmp_path, "out", server.url)).communicate(timeout=60)
    assert running.returncode == 1
    assert f"There is no server at {server.url}" in printed
    assert time.monotonic() - began < 30


def test_when_all_are_gone_each_is_named():
    with serve(answers) as one, serve(answers) as two:
        urls = [one.url, two.url]
    with pytest.raises(EngineError, match="None of the 2 servers can be used") as caught:
        asyncio.run(ask_all(OpenAIEngine("m", urls), 3))
    for url in urls:
        assert f"There is no server at {url}" in caught.value.cause
    assert "--base-url" in caught.value.cure


def test_a_place_that_fails_again_is_tried_by_one_request_at_a_time(monkeypatch):
    monkeypatch.setattr("synth.engines.endpoints.FIRST_PAUSE", 0.01)
    at_once, asked = [0, 0], []

    async def use(places, dead):
        while True:
            async with places.least_loaded() as place:
                began = time.monotonic()
                if not dead:
                    places.answered(place, began)
                    return
                asked.append(place.strikes)
                at_once[0] += 1
                at_once[1] = max(at_once[1], at_once[0] if place.strikes >= 2 else 0)
                await asyncio.sleep(0.005)
                at_once[0] -= 1
                if len(asked) > 40:
                    dead.clear()
                places.leave_out(place, began, GONE, None)

    async def use_all():
        places, dead = Endpoints([("it", None)], 100), [True]
        monkeypatch.setattr("synth.engines.endpoints.LONGEST_PAUSE", 0.02)
        await asyncio.gather(*(use(places, dead) for _ in range(16)))
        return places.all[0].strikes

    assert asyncio.run(use_all()) == 0
    assert at_once[1] == 1


def test_pauses_double_up_to_a_limit():
    assert [pause(times) for times in (1, 2, 3, 7, 60)] == [0.5, 1.0, 2.0, 30.0, 30.0]


def test_a_pause_of_places_gone_ends_the_wait():
    async def run():
        places = Endpoints([("a", 1), ("b", 2)])
        first, second = places.all
        async with places.least_loaded(), places.least_loaded():
            places.leave_out(first, time.monotonic(), GONE, 60.0)
            places.leave_out(second, time.monotonic(), GONE, 60.0)
            waits = asyncio.ensure_future(places.least_loaded().__aenter__())
            await asyncio.sleep(0.01)
            assert not waits.done()
            places.give_up(first, GONE)
            with pytest.raises(EngineError):
                places.give_up(second, GONE)
        await asyncio.wait_for(waits, 1)

    with pytest.raises(EngineError, match="None of the 2 servers can be used"):
        asyncio.run(run())


def run_on(folder, out, *urls):
    words = ["run", folder / "t", "-o", folder / out, "--model", "m", "--concurrency", "8"]
    words += [word for url in urls for word in ("--base-url", url)]
    return subprocess.Popen(
        [sys.executable, "-m", "synth", *map(str, words)], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for(condition, running):
    while not condition():
        assert running.poll() is None, running.communicate()[0]
        time.sleep(0.01)


def test_a_server_killed_in_mid_run_and_started_again(tmp_path):
    write_task(tmp_path / "t", inputs={"count": 45}, conversations={"max_turns": 3})
    one, two = ServerProcess(answers, 0.06), ServerProcess(answers, 0.06)
    try:
        running = run_on(tmp_path, "out", one.url, two.url)
        wait_for(lambda: one.count >= 30, running)
        one.kill()
        before = two.count
        wait_for(lambda: two.count >= before + 60, running)
        one.start()
        printed, _ = running.communicate(timeout=60)
        assert running.returncode == 0, printed
        assert one.count > 10, "the server that came back was not asked again"
        assert re.search(rf"{re.escape(one.url)}.*(asked|sent) again", printed), printed
        whole = run_on(tmp_path, "whole", one.url, two.url)
        assert whole.wait(60) == 0
    finally:
        one.kill()
        two.kill()
    for name in ("data/train-00000-of-00001.parquet", "rejected.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
