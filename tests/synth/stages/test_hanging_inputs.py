"""A try that hangs holds up nobody, and changes nothing but its own place."""

import asyncio
import time

import pytest

from synth.engines.base import Answer
from synth.engines.server.engine import OpenAIEngine
from synth.errors import RequestError, SynthError
from synth.stages.ahead import AHEAD
from synth.stages.inputs import input_request, inputs
from tests.synth.scripted import answers, make_task
from tests.synth.server import Failure, serve


class Asked:
    """A generator whose answers come in the order that the test wants; `copies` are those tries
    that give the same text."""

    def __init__(self, task, tries, copies=lambda number: number % 3 == 2):
        self.copies = copies
        self.number = {input_request(task, 0, number).seed: number for number in range(tries)}
        self.asked = []
        self.hangs = {}  # try -> future
        self.under_way = self.most = 0

    async def generate(self, request):
        number = self.number[request.seed]
        self.asked.append(number)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await (self.hangs[number] if number in self.hangs else asyncio.sleep(0))
        finally:
            self.under_way -= 1
        text = "the same text" if self.copies(number) else f"request number {number} of many"
        return Answer(text, "stop")


def yielded(task, hangs=(), window=4, answer_late=lambda future: future.set_result(None), **more):
    """(inputs, rejected tries, failed tries, tries that were asked, most at once)."""
    rejected, failed = [], []

    async def collect():
        asked = Asked(task, 400, **more)
        asked.hangs = {number: asyncio.get_running_loop().create_future() for number in hangs}

        async def let_go():
            before = -1
            while len(asked.asked) != before:  # until nothing moves any more
                before = len(asked.asked)
                for _ in range(50):
                    await asyncio.sleep(0)
            seen.append(len(asked.asked))
            for future in asked.hangs.values():
                answer_late(future)

        seen = []
        waits = asyncio.ensure_future(let_go())
        made = [text async for text in inputs(
            task, asked.generate, 0, lambda r: rejected.append(r.position),
            lambda number, error: failed.append(number), window)]  # fmt: skip
        await waits
        return made, rejected, failed, sorted(asked.asked), asked.most, seen[0]

    return asyncio.run(collect())


def test_answered_tries_take_no_place_behind_one_that_hangs(tmp_path):
    task = make_task(tmp_path, inputs={"count": 60})
    plain = yielded(task)
    hung = yielded(task, hangs=[0])
    assert hung[:4] == plain[:4]
    assert hung[4] <= 4
    asked_while_it_hung = hung[5]
    assert 4 * 4 < asked_while_it_hung <= 4 * AHEAD + 1


@pytest.mark.parametrize("window", [1, 2, 7, 256])
@pytest.mark.parametrize("hangs", [(), (0,), (3, 11), (5, 6, 7)])
def test_inputs_and_tries_do_not_depend_on_the_order_of_answers_or_the_window(
    tmp_path, window, hangs
):
    task = make_task(tmp_path, inputs={"count": 40})
    assert yielded(task, hangs, window)[:4] == yielded(task)[:4]


def test_tries_that_a_bad_beginning_called_for_are_made_whatever_the_window(tmp_path):
    task = make_task(tmp_path, inputs={"count": 10})
    wide, narrow = (yielded(task, (), window, copies=lambda number: number < 9)
                    for window in (256, 1))  # fmt: skip
    assert wide[:4] == narrow[:4]
    assert len(wide[3]) > 19  # more than it took, in the end


def test_a_try_that_fails_in_the_end_takes_the_place_of_an_input(tmp_path):
    task = make_task(tmp_path, inputs={"count": 40})
    plain = yielded(task)
    hung = yielded(task, [4], answer_late=lambda future: future.set_exception(
        RequestError("It did not answer within 60 seconds.")))  # fmt: skip
    assert hung[2] == [4]
    assert hung[0] == [text for text in plain[0] if text != "request number 4 of many"]
    assert hung[3] == plain[3]


def test_what_stops_the_run_is_told_while_an_earlier_try_hangs(tmp_path):
    task = make_task(tmp_path, inputs={"count": 40})
    asked = Asked(task, 400)

    async def run():
        async def generate(request):
            if asked.number[request.seed] == 3:
                raise SynthError("The disk is full.")
            return await asked.generate(request)

        asked.hangs = {0: asyncio.get_running_loop().create_future()}
        async for _ in inputs(task, generate, 0, lambda rejection: None):
            pass

    with pytest.raises(SynthError, match="disk is full"):
        asyncio.run(asyncio.wait_for(run(), 10))


def test_a_server_that_never_answers_one_try_of_many(tmp_path):
    task = make_task(tmp_path, inputs={"count": 40})
    third = [message.content for message in input_request(task, 0, 3).messages]

    def collect(server, failed):
        async def run():
            engine = OpenAIEngine("tiny", server.url, concurrency=6, timeout=600)
            try:
                return [text async for text in inputs(
                    task, engine.generate, 0, lambda rejection: None,
                    lambda number, error: failed.append((number, error)), 8, timeout=1.0,
                )]  # fmt: skip
            finally:
                await engine.close()

        return asyncio.run(run())

    failed = []
    with serve(answers) as server:
        whole = collect(server, failed)
        assert not failed
        own = server.count
        server.requests.clear()
        server.fault = lambda messages: (
            Failure(200, hang=15) if [m["content"] for m in messages] == third else None
        )
        began = time.monotonic()
        made = collect(server, failed)
        took = time.monotonic() - began
        assert server.count == own - 1
    [(number, error)] = failed
    assert number == 3
    assert "did not answer within 1 seconds" in error.cause
    assert "Raise --input-timeout" in error.cure
    assert made == whole[:3] + whole[4:]
    assert took < 13


def test_a_try_has_time_for_the_tokens_it_may_have(tmp_path):
    task = make_task(tmp_path, inputs={"max_tokens": 100})
    assert input_request(task, 0, 1).timeout == 60 + 50
    assert input_request(task, 0, 1, 7.0).timeout == 7
