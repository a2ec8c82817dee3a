"""How long a server wants to be left alone: in headers, dates of any zone, and in words."""

import email.utils
import time

import pytest

from synth.durations import duration, seconds_of
from synth.engines.server.waits import retry_after, wanted_wait


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("2.5", 2.5), ("6s", 6), ("20ms", 0.02), ("30m", 1800), ("2h", 7200),
     ("1d", 86400), ("1m30s", 90), ("6m0s", 360), ("2m59.56s", 179.56),
     ("1 minute and 30 seconds", 90), ("2 hours, 3 mins", 7380), ("5 MINUTES", 300),
     (duration(7500), 7500), (duration(200), 200),
     ("", None), ("soon", None), ("6x", None), ("-1", None), ("5ms5", None), ("m5", None)],
)  # fmt: skip
def test_a_duration_is_read_as_people_and_servers_write_it(text, seconds):
    assert seconds_of(text) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("2.5", 2.5, 2.5), ("-1", 0, 0), ("6s", 6, 6), ("1m30s", 90, 90),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0), ("Fri, 31 Dec 2094 23:59:59 GMT", 1e9, 1e10)],
)  # fmt: skip
def test_retry_after_is_seconds_a_duration_or_a_date(text, low, high):
    seconds = retry_after({"retry-after": text})
    assert seconds is not None
    assert low <= seconds <= high


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "Fri, 99 Foo 2094"])
def test_retry_after_that_says_nothing(text):
    assert retry_after({"retry-after": text} if text else {}) is None


DATES = [
    "Sun, 06 Nov 2044 08:49:37 GMT",
    "Sunday, 06-Nov-44 08:49:37 GMT",  # RFC 850
    "Sun Nov  6 08:49:37 2044",  # asctime, which is UTC
    "Sun, 06 Nov 2044 08:49:37 -0000",
    "Sun, 06 Nov 2044 10:49:37 +0200",
    "Sun, 06 Nov 2044 03:49:37 EST",
    "2044-11-06T08:49:37Z",
    "2044-11-06T11:49:37+03:00",
]


@pytest.mark.parametrize("here", ["UTC", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("text", DATES)
def test_a_date_is_the_same_moment_in_every_form_and_in_every_zone(text, here, monkeypatch):
    monkeypatch.setenv("TZ", here)
    time.tzset()
    try:
        reply = {"retry-after": text, "date": "Sun, 06 Nov 2044 08:49:07 GMT"}
        assert retry_after(reply) == 30
        now = retry_after({"retry-after": email.utils.formatdate(time.time() + 100)})
        assert now == pytest.approx(100, abs=3)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("words", "seconds"),
    [("Rate limit reached on tokens per min (TPM). Please try again in 6s. Visit ...", 6),
     ("Please try again in 1m30s.", 90), ("Please try again in 500ms.", 0.5),
     ("Please retry in 34.074824224s.", 34.074824224), ("Try again in 7m12.5s, please", 432.5),
     ("Please retry after 26 seconds.", 26), ("try again in 2 minutes and 5 seconds", 125),
     ("Try again in a while.", None), ("", None)],
)  # fmt: skip
def test_a_wait_is_read_from_the_servers_words(words, seconds):
    assert wanted_wait({}, words) == (seconds if seconds is None else pytest.approx(seconds))


def test_what_is_most_exact_counts():
    words = "Please try again in 6s."
    assert wanted_wait({"retry-after-ms": "250", "retry-after": "1"}, words) == 0.25
    assert wanted_wait({"retry-after-ms": "soon", "retry-after": "1"}, words) == 1
    assert wanted_wait({"retry-after": "soon"}, words) == 6


def test_the_quota_that_is_used_up_says_when_it_begins_anew():
    reset = {"x-ratelimit-reset-requests": "8h", "x-ratelimit-reset-tokens": "2m59.56s"}
    left = {"x-ratelimit-remaining-requests": "900", "x-ratelimit-remaining-tokens": "0"}
    assert wanted_wait(reset | left) == pytest.approx(179.56)
    assert wanted_wait(reset) is None
    used_up = {"x-ratelimit-remaining": "0"}
    at = f"{(time.time() + 40) * 1000:.0f}"
    assert wanted_wait({**used_up, "x-ratelimit-reset": at}) == pytest.approx(40, abs=1)
    assert wanted_wait({**used_up, "x-ratelimit-reset": "12"}) == 12
