"""The four settings against an OpenAI-compatible server, timed on its stream."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from genpi_plugin.data.rows import Message, teacher_messages
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.sections.cost.requests import (
    ADAPTER_MERGED,
    ADAPTER_UNMERGED,
    BATCH_SIZES,
    PROBES,
    PROMPT_CACHED,
    PROMPT_COLD,
    REPEATS,
    Run,
)
from genpi_plugin.evaluation.subjects.subject import Subject
from genpi_plugin.reading.prefix import common_prefix

if TYPE_CHECKING:
    import openai

TIMEOUT = 600.0
# A cached prompt's first token comes in less than this share of the cold one's time.
CACHED_IS_SOONER = 0.9


@dataclass(frozen=True)
class Server:
    """A server that has the base model under one name and the adapter under another.

    Attributes:
        url: for example `http://localhost:8000/v1`.
        adapter: None: not served; the unmerged setting is left out.
    """

    url: str
    model: str
    adapter: str | None = None


@dataclass(frozen=True)
class Heard:
    """One streamed answer. `pieces` are the parts with text that it came in."""

    ttft: float
    latency: float
    pieces: int
    prompt_tokens: int | None
    answer_tokens: int
    reused_tokens: int | None


def measure_server(
    server: Server,
    teacher: Subject,
    requests: dict[int, list[list[Message]]],
    tokens: int,
    advance: Callable[[int], None],
    repeats: int = REPEATS,
) -> tuple[list[Run], list[str]]:
    """Time the settings against a server, one after the other in every repeat.

    A random mark stands before the user's first words, so that no more than the prompt is ever
    reused; in the cold setting another stands before the prompt, so that nothing is. Before the
    cached setting the prompt is sent once untimed. Answers end where the model ends them: the
    latency is that of `tokens` tokens at the pace seen. A merged adapter costs what the base model
    costs without the prompt, and is measured so.

    Args:
        requests: number of turns -> messages of several requests, for those at once.
        tokens: of an answer.

    Returns:
        runs, and what a reader should know of them.

    Raises:
        GenPIError: no server, a model that it does not have, or no stream.
    """
    names = {
        PROMPT_COLD: server.model,
        PROMPT_CACHED: server.model,
        ADAPTER_UNMERGED: server.adapter,
        ADAPTER_MERGED: server.model,
    }
    asked = {setting: name for setting, name in names.items() if name}
    cells = [(turns, batch) for turns in requests for batch in BATCH_SIZES]
    seen: dict[tuple[str, int, int], list[list[Heard]]] = {}
    with _connect(server.url) as client, ThreadPoolExecutor(max(BATCH_SIZES)) as pool:

        def ask(setting: str, messages: Sequence[Message], limit: int) -> Heard:
            return stream(client, asked[setting], _sent(setting, teacher.prompt, messages), limit)

        first = requests[min(requests)][0]
        for setting in asked:  # a server may load a model when it is first asked
            ask(setting, first, tokens)
        for _ in range(repeats):
            for turns, batch in cells:
                several = [requests[turns][i % len(requests[turns])] for i in range(batch)]
                for setting in asked:
                    if setting == PROMPT_CACHED:
                        ask(setting, several[0], 1)
                    jobs = [pool.submit(ask, setting, each, tokens) for each in several]
                    heard = [job.result() for job in jobs]
                    seen.setdefault((setting, turns, batch), []).append(heard)
                    advance(1)
                if not server.adapter:
                    advance(1)
    cold, cached = (_first_token(seen, setting) for setting in (PROMPT_COLD, PROMPT_CACHED))
    caches = cached <= CACHED_IS_SOONER * cold
    prefix = len(common_prefix(teacher.requests(PROBES))) if caches else 0
    runs = []
    for (setting, turns, batch), repeated in seen.items():
        if setting == PROMPT_CACHED and not caches:
            continue
        counts = [one.prompt_tokens for heard in repeated for one in heard]
        told = [count for count in counts if count]
        messages = _sent(setting, teacher.prompt, requests[turns][0])
        runs.append(
            Run(
                setting,
                turns,
                batch,
                round(median(told)) if told else len(teacher.view.request_ids(messages)),
                prefix if setting == PROMPT_CACHED else 0,
                tokens,
                [median(one.ttft for one in heard) for heard in repeated],
                [_latency(heard, tokens) for heard in repeated],
            )
        )
    return runs, _notes(server, seen, prefix, cold, cached)


def stream(client: openai.OpenAI, model: str, messages: Sequence[Message], tokens: int) -> Heard:
    """Send one request and listen to its answer.

    Raises:
        GenPIError: no server, a model that it does not have, or nothing came as a stream.
    """
    import openai

    arguments: dict[str, Any] = {
        "model": model,
        "messages": [dict(message) for message in messages],
        "max_tokens": tokens,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    first, pieces, usage = None, 0, None
    started = time.perf_counter()
    try:
        with client.chat.completions.create(**arguments) as parts:
            for part in parts:
                usage = part.usage or usage
                if any(_text_of(choice.delta) for choice in part.choices):
                    pieces += 1
                    first = first or time.perf_counter() - started
    except openai.APIError as error:
        raise _explained(client, model, error) from error
    latency = time.perf_counter() - started
    if first is None:
        raise GenPIError(
            f"{client.base_url} sent no text as a stream.",
            "time to first token can only be seen on a stream: use a server that heeds "
            '`"stream": true`, and see in its log that the model answers at all.',
        )
    details = getattr(usage, "prompt_tokens_details", None)
    return Heard(
        ttft=first,
        latency=latency,
        pieces=pieces,
        prompt_tokens=usage.prompt_tokens if usage else None,
        answer_tokens=usage.completion_tokens if usage else pieces,
        reused_tokens=getattr(details, "cached_tokens", None),
    )


def _sent(setting: str, prompt: Sequence[Message], messages: Sequence[Message]) -> list[Message]:
    """The request of a setting: marked where its reuse is to end."""
    marked = _marked(messages)
    if setting == PROMPT_COLD:
        return _marked(teacher_messages(prompt, marked))
    return teacher_messages(prompt, marked) if setting == PROMPT_CACHED else marked


def _marked(messages: Sequence[Message]) -> list[Message]:
    first, *others = messages
    mark = uuid.uuid4().hex[:8]
    return [{"role": first["role"], "content": f"[{mark}] {first['content']}"}, *others]


def _text_of(delta: Any) -> str:
    return delta.content or getattr(delta, "reasoning_content", None) or ""


def _latency(heard: Sequence[Heard], tokens: int) -> float:
    """Median seconds of an answer of `tokens` tokens, at the pace these were heard at."""
    later = sum(one.answer_tokens - 1 for one in heard)
    if later <= 0:  # answers of one token: there is no pace
        return median(one.latency for one in heard)
    if all(one.pieces == 1 for one in heard):  # sent whole: the time goes over all tokens
        return median(one.latency / max(one.answer_tokens, 1) * tokens for one in heard)
    pace = sum(one.latency - one.ttft for one in heard) / later
    return median(one.ttft for one in heard) + (tokens - 1) * pace


def _first_token(seen: dict[tuple[str, int, int], list[list[Heard]]], setting: str) -> float:
    """Median seconds of one request in its first turn."""
    first = min(turns for _, turns, _ in seen)
    return median(one.ttft for heard in seen[setting, first, 1] for one in heard)


def _notes(
    server: Server,
    seen: dict[tuple[str, int, int], list[list[Heard]]],
    prefix: int,
    cold: float,
    cached: float,
) -> list[str]:
    notes = []
    if not server.adapter:
        notes.append("The adapter is not served by a name of its own: unmerged is not measured.")
    every = [one for repeated in seen.values() for heard in repeated for one in heard]
    if all(one.pieces == 1 and one.answer_tokens > 1 for one in every):
        notes.append("The server sends answers in one piece: its first token is its last.")
    if not any(one.prompt_tokens for one in every):
        notes.append("The server tells no token counts: requests are counted with the tokenizer "
                     "here, answers by their pieces.")  # fmt: skip
    reused = [
        one.reused_tokens
        for heard in seen[PROMPT_CACHED, min(turns for _, turns, _ in seen), 1]
        for one in heard
        if one.reused_tokens is not None
    ]
    told = f"; it reports {round(median(reused))} tokens as cached" if reused else ""
    if not prefix:
        notes.append(
            "The server does not seem to cache prefixes: the first token takes "
            f"{cached * 1000:.0f} ms with the prompt sent before, and "
            f"{cold * 1000:.0f} ms without{told}. A cached prompt is not measured."
        )
    elif told:
        notes.append(f"The server caches prefixes{told}.")
    return notes


def _connect(url: str) -> openai.OpenAI:
    """A client that repeats nothing: that would be timed."""
    import openai

    key = os.environ.get("OPENAI_API_KEY") or "none"
    return openai.OpenAI(base_url=url, api_key=key, timeout=TIMEOUT, max_retries=0)


def _explained(client: openai.OpenAI, model: str, error: openai.APIError) -> GenPIError:
    """What the client's error means, and what to do about it."""
    import openai

    url = str(client.base_url).rstrip("/")
    if isinstance(error, openai.APITimeoutError):
        return GenPIError(f"{url} did not answer within {TIMEOUT:.0f} seconds.", "look at its log.")
    if isinstance(error, openai.APIConnectionError):
        return GenPIError(
            f"there is no server at {url} ({error.__cause__ or error}).",
            "start it, or correct `--server`; it usually ends in /v1.",
        )
    try:
        offered = [found.id for found in client.models.list().data]
    except openai.APIError:
        offered = []
    listed = f"; it lists {', '.join(offered[:20])}" if offered else ""
    return GenPIError(
        f"{url}, asked for the model {model!r}: {_words(error)}",
        "`--server-model` and `--server-adapter` say by which names the server has the base model "
        f"and the adapter{listed}. Else, its log says more.",
    )


def _words(error: openai.APIError) -> str:
    """The server's own message, without the client's wrapping."""
    body = error.body
    if isinstance(body, dict):
        for key in ("message", "detail", "error"):
            if body.get(key):
                return str(body[key])
    return error.message
