"""The four settings against an OpenAI-compatible server, timed on its stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from genpi_plugin.data.messages import Message
from genpi_plugin.data.requests import Valued, under
from genpi_plugin.data.tools import Tool
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.sections.cost.client import connect, user_error
from genpi_plugin.evaluation.sections.cost.requests import (
    ADAPTER_MERGED,
    ADAPTER_UNMERGED,
    BATCH_SIZES,
    PROMPT_CACHED,
    PROMPT_COLD,
    REPEATS,
    Run,
    probes_like,
)
from genpi_plugin.evaluation.subjects.subject import Input, Subject
from genpi_plugin.reading.prefix import common_prefix

if TYPE_CHECKING:
    import openai

# The prefix counts as cached when its time to first token is at most this share of the cold one's.
CACHED_TTFT_SHARE = 0.9


@dataclass(frozen=True)
class Server:
    """A server with the base model under one name and the adapter under another.

    Attributes:
        url: for example `http://localhost:8000/v1`.
        adapter: None: not served; the unmerged setting is left out.
    """

    url: str
    model: str
    adapter: str | None = None


@dataclass(frozen=True)
class StreamedAnswer:
    """One streamed answer. `pieces` counts the chunks with text that it came in."""

    ttft: float
    latency: float
    pieces: int
    prompt_tokens: int | None
    answer_tokens: int
    reused_tokens: int | None


def measure_server(
    server: Server,
    teacher: Subject,
    requests: dict[int, list[Input]],
    tokens: int,
    advance: Callable[[int], None],
    repeats: int = REPEATS,
) -> tuple[list[Run], list[str]]:
    """Time the settings against a server, one after the other in every repeat.

    A random tag comes before the user's first words, so that no more than the prompt is ever
    reused; in the cold setting another comes before the prompt, so that nothing is. Before the
    cached setting the prompt is sent once untimed, with other values in its slots. Answers end
    where the model ends them: the latency is that of `tokens` tokens at the measured pace. A merged
    adapter costs what the base model costs without the prompt, and is measured as such.

    Args:
        requests: number of turns -> several requests, for concurrent ones.
        tokens: of an answer.

    Returns:
        runs, and notes for the reader.

    Raises:
        GenPIError: no server, a model that it does not have, or an answer that is not streamed.
    """
    names = {
        PROMPT_COLD: server.model,
        PROMPT_CACHED: server.model,
        ADAPTER_UNMERGED: server.adapter,
        ADAPTER_MERGED: server.model,
    }
    asked = {setting: name for setting, name in names.items() if name}
    cells = [(turns, batch) for turns in requests for batch in BATCH_SIZES]
    streamed: dict[tuple[str, int, int], list[list[StreamedAnswer]]] = {}
    with connect(server.url) as client, ThreadPoolExecutor(max(BATCH_SIZES)) as pool:

        def ask(setting: str, asked_for: Input, limit: int) -> StreamedAnswer:
            sent = _sent(setting, teacher.prompt, asked_for)
            return stream(client, asked[setting], sent, limit, _tools_of(setting, teacher))

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
                    answers = [job.result() for job in jobs]
                    streamed.setdefault((setting, turns, batch), []).append(answers)
                    advance(1)
                if not server.adapter:
                    advance(1)
    cold, cached = (_first_token(streamed, setting) for setting in (PROMPT_COLD, PROMPT_CACHED))
    caches = cached <= CACHED_TTFT_SHARE * cold
    prefix = len(common_prefix(teacher.requests(probes_like(first)))) if caches else 0
    runs = []
    for (setting, turns, batch), repeated in streamed.items():
        if setting == PROMPT_CACHED and not caches:
            continue
        counts = [one.prompt_tokens for answers in repeated for one in answers]
        reported = [count for count in counts if count]
        messages = _sent(setting, teacher.prompt, requests[turns][0])
        runs.append(
            Run(
                setting,
                turns,
                batch,
                round(median(reported))
                if reported
                else len(teacher.view.request_ids(messages, _tools_of(setting, teacher))),
                prefix if setting == PROMPT_CACHED else 0,
                tokens,
                [median(one.ttft for one in answers) for answers in repeated],
                [_latency(answers, tokens) for answers in repeated],
            )
        )
    return runs, _notes(server, streamed, prefix, cold, cached)


def stream(
    client: openai.OpenAI,
    model: str,
    messages: Sequence[Message],
    tokens: int,
    tools: Sequence[Tool] = (),
) -> StreamedAnswer:
    """Send one request, with its tools, and time its answer.

    Raises:
        GenPIError: no server, a model that it does not have, or an answer that is not streamed.
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
    if tools:
        arguments["tools"] = list(tools)
    first, pieces, usage = None, 0, None
    started = time.perf_counter()
    try:
        with client.chat.completions.create(**arguments) as parts:
            for part in parts:
                usage = part.usage or usage
                if any(_says_something(choice.delta) for choice in part.choices):
                    pieces += 1
                    first = first or time.perf_counter() - started
    except openai.APIError as error:
        raise user_error(client, model, error) from error
    latency = time.perf_counter() - started
    if first is None:
        raise GenPIError(
            f"{client.base_url} sent no text as a stream.",
            "time to first token can only be measured on a stream: use a server that honours "
            '`"stream": true`, and check in its log that the model answers at all.',
        )
    details = getattr(usage, "prompt_tokens_details", None)
    return StreamedAnswer(
        ttft=first,
        latency=latency,
        pieces=pieces,
        prompt_tokens=usage.prompt_tokens if usage else None,
        answer_tokens=usage.completion_tokens if usage else pieces,
        reused_tokens=getattr(details, "cached_tokens", None),
    )


def _sent(setting: str, prompt: Sequence[Message], asked: Input) -> list[Message]:
    """The request of a setting, with a tag where reuse has to end: at the first value, too."""
    if setting not in (PROMPT_COLD, PROMPT_CACHED):
        return _tagged(under([], asked))
    if isinstance(asked, Valued):
        values = {name: f"[{_tag()}] {value}" for name, value in asked.values.items()}
        tagged: Input = Valued(asked.kept, _tagged(asked.messages), values)
    else:
        tagged = _tagged(under([], asked))
    sent = under(prompt, tagged)
    return _tagged(sent) if setting == PROMPT_COLD else sent


def _tagged(messages: Sequence[Message]) -> list[Message]:
    first, *others = messages
    return [{**first, "content": f"[{_tag()}] {first['content']}"}, *others]


def _tag() -> str:
    return uuid.uuid4().hex[:8]


def _tools_of(setting: str, teacher: Subject) -> list[Tool]:
    """The tools that a request of a setting carries."""
    return teacher.tools if setting in (PROMPT_COLD, PROMPT_CACHED) else []


def _says_something(delta: Any) -> bool:
    parts = ("content", "reasoning_content", "tool_calls")
    return any(getattr(delta, part, None) for part in parts)


def _latency(answers: Sequence[StreamedAnswer], tokens: int) -> float:
    """Median seconds of an answer of `tokens` tokens, at the pace of these answers."""
    later = sum(one.answer_tokens - 1 for one in answers)
    if later <= 0:  # answers of one token: there is no pace
        return median(one.latency for one in answers)
    if all(one.pieces == 1 for one in answers):  # sent whole: the time is that of all tokens
        return median(one.latency / max(one.answer_tokens, 1) * tokens for one in answers)
    pace = sum(one.latency - one.ttft for one in answers) / later
    return median(one.ttft for one in answers) + (tokens - 1) * pace


def _first_token(
    streamed: dict[tuple[str, int, int], list[list[StreamedAnswer]]], setting: str
) -> float:
    """Median seconds of one request in its first turn."""
    first = min(turns for _, turns, _ in streamed)
    return median(one.ttft for answers in streamed[setting, first, 1] for one in answers)


def _notes(
    server: Server,
    streamed: dict[tuple[str, int, int], list[list[StreamedAnswer]]],
    prefix: int,
    cold: float,
    cached: float,
) -> list[str]:
    notes = []
    if not server.adapter:
        notes.append(
            "The server has no name for the adapter: the unmerged setting is not measured."
        )
    all_answers = [one for repeated in streamed.values() for answers in repeated for one in answers]
    if all(one.pieces == 1 and one.answer_tokens > 1 for one in all_answers):
        notes.append("The server sends answers in one piece: its first token is its last.")
    if not any(one.prompt_tokens for one in all_answers):
        notes.append("The server reports no token counts: requests are counted with the "
                     "tokenizer here, answers by their chunks.")  # fmt: skip
    reused = [
        one.reused_tokens
        for answers in streamed[PROMPT_CACHED, min(turns for _, turns, _ in streamed), 1]
        for one in answers
        if one.reused_tokens is not None
    ]
    reported = f"; it reports {round(median(reused))} tokens as cached" if reused else ""
    if not prefix:
        notes.append(
            "The server does not seem to cache prefixes: the first token takes "
            f"{cached * 1000:.0f} ms with the prompt sent before, and "
            f"{cold * 1000:.0f} ms without{reported}. A cached prompt is not measured."
        )
    elif reported:
        notes.append(f"The server caches prefixes{reported}.")
    return notes
