"""Requests and tokens per minute at one server, on a clock of the test's own."""

import asyncio
import time

import pytest

from synth.engines.base import Message, Request, Sampling
from synth.engines.rate import Rate, estimated_tokens
from synth.engines.server.engine import OpenAIEngine
from tests.synth.scripted import answers
from tests.synth.server import serve


def sent(rate, count, tokens=0, used=None, answered_after=0.0, now=0.0):
    """When `count` requests are sent that wait for nothing but the rate; they are answered later,
    and then tell what they used."""
    times, answered = [], 0
    while len(times) < count:
        ready = max(now, rate.ready(now, tokens))
        if answered < len(times) and times[answered] + answered_after <= ready:
            now = max(now, times[answered] + answered_after)
            rate.correct(times[answered], tokens, tokens if used is None else used)
            answered += 1
            continue
        now = ready
        rate.spend(now, tokens)
        times.append(now)
    return times


def most_in_a_minute(times, weight=1):
    return max(weight * sum(begin <= other < begin + 59.999 for other in times) for begin in times)


def test_without_a_cap_nothing_waits():
    assert sent(Rate(), 100, 10_000) == [0.0] * 100


@pytest.mark.parametrize("per_minute", [1, 7, 60, 500])
def test_in_no_minute_are_there_more_requests_than_the_cap(per_minute):
    times = sent(Rate(requests=per_minute), 3 * per_minute)
    assert most_in_a_minute(times) == per_minute
    assert times[-1] == pytest.approx(180 - 60 / per_minute)  # and no fewer


def test_tokens_are_counted_as_estimated_until_the_answer_tells():
    rate = Rate(tokens=30_000)
    assert sent(rate, 16, tokens=2000, answered_after=1e9)[-2:] == [0, 60]
    # 2,000 are estimated, 1,000 used: 30 requests a minute, not 15.
    times = sent(Rate(tokens=30_000), 300, tokens=2000, used=1000, answered_after=5)
    assert most_in_a_minute(times, 1000) <= 30_000
    assert times[-1] < 660
    # More than estimated counts, too.
    more = sent(Rate(tokens=30_000), 300, tokens=900, used=1000, answered_after=0.5)
    assert more[-1] > 500
    assert most_in_a_minute(more[60:], 1000) <= 33_000


def test_the_tighter_cap_counts_and_idle_time_is_not_saved_up():
    rate = Rate(requests=60, tokens=6000)
    assert sent(rate, 3, tokens=10) == [0, 1, 2]
    assert sent(rate, 3, tokens=3000, now=1000) == [1000, 1001, 1060]
    assert sent(rate, 2, tokens=12_000, now=2000) == [2000, 2060]  # alone more than the cap


def test_an_estimate_is_the_text_and_the_longest_answer():
    messages = (Message("system", "x" * 400), Message("user", "é" * 20))
    assert estimated_tokens(Request(messages, Sampling(max_tokens=64))) == 110 + 64


def test_each_server_is_asked_no_more_than_its_cap():
    requests = [Request((Message("user", f"find item {n}"),), Sampling()) for n in range(21)]

    async def ask(engine):
        try:
            await asyncio.gather(*map(engine.generate, requests))
        finally:
            await engine.close()

    with serve(answers, None) as one, serve(answers, None) as two:
        engine = OpenAIEngine("m", [one.url, two.url], requests_per_minute=600)
        began = time.monotonic()
        asyncio.run(ask(engine))
        took = time.monotonic() - began
    assert {one.count, two.count} == {10, 11}
    assert took >= 1.0
