"""A server that was there is waited for as long as --patience says, and the wait is shown."""

import asyncio
import logging
import time

import pytest

from synth.engines.base import Message, Request, Sampling
from synth.engines.endpoints import Endpoints
from synth.engines.server.engine import OpenAIEngine
from synth.errors import EngineError, RequestError
from synth.progress.progress import Tally
from tests.synth.engines.server.test_faults import prepare, reads, run_in
from tests.synth.scripted import answers
from tests.synth.server import Failure, ServerProcess, serve

BUSY = Failure(429, {"error": {"message": "Slow down."}})
LOADING = Failure(503, {"error": {"message": "Loading model"}})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pauses a hundred times as short."""
    monkeypatch.setattr("synth.engines.endpoints.FIRST_PAUSE", 0.005)
    monkeypatch.setattr("synth.engines.endpoints.LONGEST_PAUSE", 0.05)
    monkeypatch.setenv("COLUMNS", "200")


def ask(text):
    return Request((Message("user", text),), Sampling())


def generate(engine, *texts):
    async def run():
        try:
            return await asyncio.gather(*(engine.generate(ask(text)) for text in texts),
                                        return_exceptions=True)  # fmt: skip
        finally:
            await engine.close()

    return asyncio.run(run())


@pytest.mark.parametrize("failure", [BUSY, LOADING])
def test_an_outage_is_waited_out_however_often_the_server_was_tried(tmp_path, failure):
    prepare(tmp_path)
    with serve(answers) as server:
        _, _, whole = run_in(tmp_path, server, "whole")
        asked = []

        def out_for_a_while(messages):
            asked.append(messages)
            return failure if 10 < len(asked) <= 60 else None

        server.fault = out_for_a_while
        code, printed, data = run_in(tmp_path, server, "out", "--timeout", 1)
    assert (code, data) == (0, whole), printed
    assert "stays pending" not in printed


def test_when_patience_is_at_its_end_one_sentence_says_so(tmp_path):
    prepare(tmp_path)
    with serve(answers) as server:
        server.always = BUSY
        began = time.monotonic()
        code, printed, _ = run_in(tmp_path, server, "out", "--patience", "1s")
        took = time.monotonic() - began
    assert code == 1
    assert 1 <= took < 20
    assert server.refused > 7  # the old limit
    error = printed.partition("Error: ")[2]
    reads(error, "It was waited for as long as --patience allows,")
    assert "Slow down. It was waited for as long as --patience allows, 1 s." in error
    assert "asked again" not in error
    assert "raise --patience" in error


def test_a_wait_longer_than_what_is_left_of_the_patience_ends_the_run_at_once(tmp_path):
    prepare(tmp_path)
    with serve(answers) as server:
        server.always = Failure(429, BUSY.body, {"Retry-After": "90"})
        code, printed, _ = run_in(tmp_path, server, "out", "--patience", "1m")
    assert code == 1
    error = printed.partition("Error: ")[2]
    assert "Slow down. It wants to be asked again in 90 s; --patience allows 60 s more." in error
    assert "asked again in 90.0 s" not in printed


def test_a_wait_in_the_servers_words_is_kept(caplog):
    with serve(answers) as server:
        server.failures = [Failure(429, {"error": {"message": "Please try again in 300ms."}})]
        began = time.monotonic()
        [answer] = generate(OpenAIEngine("tiny", server.url), "hello")
        took = time.monotonic() - began
    assert answer.text
    assert took >= 0.3
    assert "asked again in 0.3 s" in caplog.text


def test_a_server_that_is_gone_for_a_while_is_waited_for_once_it_was_there():
    server = ServerProcess(answers)
    try:

        async def run():
            engine = OpenAIEngine("tiny", server.url, timeout=0.5)
            try:
                await engine.generate(ask("one"))
                server.kill()
                waits = asyncio.ensure_future(engine.generate(ask("two")))
                await asyncio.sleep(1.0)  # longer than the time-out, and than three tries
                assert not waits.done()
                await asyncio.to_thread(server.start)
                return await asyncio.wait_for(waits, 60)
            finally:
                await engine.close()

        assert asyncio.run(run()).text
    finally:
        server.kill()


def test_a_request_that_alone_is_refused_again_and_again_fails_in_the_end():
    with serve(answers, delay=0.01) as server:

        def refused(messages):
            return BUSY if "alone" in messages[-1]["content"] else None

        server.fault = refused
        engine = OpenAIEngine("tiny", server.url, timeout=0.3, concurrency=3)
        began = time.monotonic()
        results = generate(engine, "alone", *(f"find item {n}" for n in range(400)))
    assert isinstance(results[0], RequestError)
    assert "refuses requests as too many: Slow down." in results[0].cause
    assert time.monotonic() - began < 60
    assert not [one for one in results[1:] if isinstance(one, Exception)]


def test_a_request_too_large_for_the_quota_is_rejected_not_waited_for():
    words = "Request too large for m on tokens per min (TPM): Limit 30000, Requested 35000."
    with serve(answers) as server:
        server.always = Failure(429, {"error": {"message": words}})
        [error] = generate(OpenAIEngine("tiny", server.url), "hello")
    assert error.reason == "larger than the server's quota of tokens per minute"
    assert server.refused == 1


def test_what_is_waited_for_is_shown_and_logged(monkeypatch, caplog):
    monkeypatch.setattr("synth.engines.endpoints.SHOWN_AFTER", 0.1)
    monkeypatch.setattr("synth.engines.endpoints.LOG_WAIT_EVERY", 0.2)
    caplog.set_level(logging.INFO, "synth")
    with serve(answers) as server:
        engine = OpenAIEngine("tiny", server.url, patience=120)
        tally = Tally(1, waiting=lambda: [engine.waiting] if engine.waiting else [])

        async def run():
            assert engine.waiting is None
            server.always = Failure(429, BUSY.body, {"Retry-After": "0.7"})
            waits = asyncio.ensure_future(engine.generate(ask("hello")))
            other = asyncio.ensure_future(engine.generate(ask("you")))
            while engine.waiting is None:
                await asyncio.sleep(0.01)
            shown = engine.waiting
            assert tally.line().endswith(f"; {shown}")
            assert str(tally.table().caption).endswith(f"; {shown}")
            await asyncio.sleep(0.5)
            server.always = None
            await asyncio.gather(waits, other)
            assert engine.waiting is None
            await engine.close()
            return shown

        shown = asyncio.run(run())
    expected = (f"waiting for {server.url} since 0 s (refuses requests as too many: Slow down), "
                "giving up in 2 min 00 s")  # fmt: skip
    assert shown == expected
    lines = [record.message for record in caplog.records]
    assert [line for line in lines if line.startswith(f"Waiting for {server.url} since")]


def test_patience_begins_anew_with_every_answer():
    async def run():
        places = Endpoints([("it", None)], patience=0.2)
        [it] = places.all
        for _ in range(4):
            places.leave_out(it, time.monotonic(), EngineError("busy"), None)
            await asyncio.sleep(0.12)
            places.answered(it, time.monotonic())
        assert places.outages() == pytest.approx(0.48, abs=0.2)
        places.leave_out(it, time.monotonic(), EngineError("busy"), None)
        await asyncio.sleep(0.25)
        with pytest.raises(EngineError, match=r"busy\. It was waited for"):
            places.leave_out(it, time.monotonic(), EngineError("busy"), None)
        with pytest.raises(EngineError, match="busy"):
            async with places.least_loaded():
                pass

    asyncio.run(run())


def test_one_that_never_replied_is_tried_three_times():
    places = Endpoints([("it", None)], patience=1e6)
    [it] = places.all
    for _ in range(2):
        places.leave_out(it, time.monotonic(), EngineError("no server"), None, replied=False)
        time.sleep(0.001)
    with pytest.raises(EngineError, match=r"^no server$"):
        places.leave_out(it, time.monotonic(), EngineError("no server"), None, replied=False)


@pytest.mark.parametrize("text", ["soon", "-1", "5x"])
def test_a_patience_that_is_no_duration_is_refused(tmp_path, text):
    prepare(tmp_path)
    with serve(answers) as server:
        code, printed, _ = run_in(tmp_path, server, "out", "--patience", text)
    assert code == 2
    assert "is not a duration: for example 90, 30m or 2h." in " ".join(printed.split())
