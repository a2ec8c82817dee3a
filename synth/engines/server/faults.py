"""What a server's failure means: for the request, for the server, for the run.

docs/faults.md is this file in a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from synth.engines.base import OVERLONG
from synth.engines.server.waits import wanted_wait
from synth.errors import EngineError, RequestError, RowError, SynthError

if TYPE_CHECKING:
    import openai

# How servers say that a request does not fit the model: OpenAI and vLLM, SGLang, llama.cpp, TGI.
TOO_LONG = (
    "context_length_exceeded",
    "context length",
    "context size",
    "context window",
    "longer than the model",
    "prompt is too long",
    "inputs must have less than",
)
# A quota of tokens per minute that one request alone exceeds: it will never fit.
TOO_LARGE = "request too large"
# How a server refuses a field that it does not know.
UNKNOWN = (400, 422)
# The server behind a gateway is not there: 502 and 503, Cloudflare's, and "overloaded".
NOT_READY = {502, 503, 521, 522, 523, 529, 530}
# A single request is not waited for longer than this: its row may as well be the next run's.
LONGEST_REPEAT = 60.0
AGAIN = "Run the same command again to go on."

Treatment = Literal["wait", "repeat", "repeat once", "reject", "stop"]


@dataclass(frozen=True)
class Verdict:
    """What to do about a failure.

    `treatment`:
        wait: the server can't answer now; it is left out for a while, the request goes to
            another, or waits. `seconds` is how long the server wants; None if it does not say.
        repeat, repeat once: the request is sent again; in the end `error` leaves its row
            pending. `away` tells that it may lie at the server: another one is asked first.
        reject: the row is rejected.
        stop: this server can't answer anybody's requests, however long one waits.
    `everybody`: the fault is likely to be that of every request, not of this one.
    """

    treatment: Treatment
    error: SynthError
    seconds: float | None = None
    away: bool = False
    everybody: bool = False


def judge(
    error: Exception, url: str, key_name: str, timeout: float, option: str = "--timeout"
) -> Verdict:
    """What the failure of a request means.

    Args:
        error: an `openai.APIError`, or a `ValueError` for a reply that is not JSON.
        url: the server's address.
        key_name: the environment variable that holds the key.
        timeout: seconds the request was given.
        option: what set them.
    """
    import openai

    if isinstance(error, openai.APIConnectionError):  # APITimeoutError is one
        return _no_reply(error, url, timeout, option)
    if isinstance(error, openai.APIStatusError):
        return _refused(error, url, key_name)
    return Verdict("repeat", not_a_completion(url, str(error)), away=True)


def not_a_completion(url: str, what: str) -> RequestError:
    """The error for a reply that can't be read."""
    brief = " ".join(what.split())[:120]
    return RequestError(
        f"{url} sent a reply that is not a chat completion: {brief}",
        f"Correct --base-url, or look at the server's log. {AGAIN}",
    )


def told_error(reply: Any) -> openai.APIStatusError | None:
    """The error that a server or gateway tells in a reply of status 200; None where there is none.

    It stands in place of the choices, or in the first of them: then this answer broke off, and
    the server is there.
    """
    import openai

    told, below = getattr(reply, "error", None), 600
    choices = getattr(reply, "choices", None)
    if not told and isinstance(choices, list) and choices:
        told, below = getattr(choices[0], "error", None), 500
    if not told and not choices and getattr(reply, "object", None) == "error":
        told = {name: getattr(reply, name, None) for name in ("message", "code")}
    if not told:
        return None
    body = told if isinstance(told, dict) else {"message": str(told)}
    code = str(body.get("code") or body.get("status") or "")
    status = int(code) if code.isdecimal() and 400 <= int(code) < below else 500
    # What the client makes of a response; which library it is from depends on its version.
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    return openai.APIStatusError(str(body.get("message") or body), response=response, body=body)


def timed_out(url: str, timeout: float, option: str = "--timeout") -> Verdict:
    """What it means that a request took longer than `timeout` seconds, which `option` set."""
    slow = RequestError(
        f"{url} did not answer within {timeout:g} seconds.",
        f"Raise {option}, lower --concurrency or max_tokens, or look at the server's log. {AGAIN}",
    )
    return Verdict("repeat once", slow, away=True)


def _no_reply(error: openai.APIConnectionError, url: str, timeout: float, option: str) -> Verdict:
    import openai

    cause = error.__cause__ or error
    if type(cause).__name__ in {"ConnectError", "ConnectTimeout"}:
        why = EngineError(
            f"There is no server at {url} ({str(cause) or 'no connection within a few seconds'}).",
            f"Start it, or correct --base-url; it usually ends in /v1. {AGAIN}",
        )
        return Verdict("wait", why, away=True)
    if isinstance(error, openai.APITimeoutError):
        return timed_out(url, timeout, option)
    lost = RequestError(
        f"{url} broke off the connection ({str(cause) or type(cause).__name__}).",
        f"Look at the server's log. {AGAIN}",
    )
    return Verdict("repeat", lost, away=True)


def _refused(error: openai.APIStatusError, url: str, key_name: str) -> Verdict:
    status, words = error.status_code, server_words(error)
    code = str(error.code or "")
    if "content_filter" in code:
        return Verdict("reject", RowError("refused by the server's content filter", words))
    if any(mark in f"{code} {words}".lower() for mark in TOO_LONG):
        return Verdict("reject", RowError(OVERLONG, words))
    if status in {401, 403}:
        why = EngineError(
            f"{url} refused the API key in {key_name}: {words}",
            f"Put a valid key into {key_name}, or name another variable with --api-key-env.",
        )
        return Verdict("stop", why)
    if status == 402 or "insufficient_quota" in code:
        why = EngineError(
            f"{url} answers no more, the account is used up: {words}", f"Top it up. {AGAIN}"
        )
        return Verdict("stop", why)
    if status == 429 and TOO_LARGE in words.lower():
        why_too_large = RowError("larger than the server's quota of tokens per minute", words)
        return Verdict("reject", why_too_large, everybody=True)
    if status == 429:
        busy = EngineError(
            f"{url} refuses requests as too many: {words}",
            "Lower --concurrency, set --requests-per-minute or --tokens-per-minute, or look at "
            f"your quota. {AGAIN}",
        )
        return Verdict("wait", busy, wanted_wait(error.response.headers, words))
    if status in NOT_READY:
        why = EngineError(f"{url} is not ready: {words}", f"Look at the server's log. {AGAIN}")
        return Verdict("wait", why, wanted_wait(error.response.headers, words))
    if status >= 500 or status in {408, 409}:
        broken = RequestError(
            f"{url} answered with an error ({status}): {words}",
            f"Look at the server's log. {AGAIN}",
        )
        seconds = wanted_wait(error.response.headers, words)
        wanted = None if seconds is None else min(seconds, LONGEST_REPEAT)
        return Verdict("repeat", broken, wanted, away=True)
    return Verdict("reject", RowError(f"refused by the server ({status})", words), everybody=True)


def server_words(error: openai.APIError) -> str:
    """The server's own message, without the client's wrapping."""
    body = error.body
    if isinstance(body, dict):
        for key in ("message", "detail", "error"):
            if body.get(key):
                return str(body[key])
    return error.message
