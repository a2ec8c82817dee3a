"""Cost on a server: a cached prefix, latency, token counts, and what can go wrong."""

from __future__ import annotations

import socket

import pytest

from genpi_plugin.data.chat import ChatView
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.sections.cost import summarize_cost
from genpi_plugin.evaluation.sections.cost.requests import SETTINGS, histories
from genpi_plugin.evaluation.sections.cost.server import Server, measure_server
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.genpi_plugin.data.templates_walked import TOOLS
from tests.genpi_plugin.evaluation.sections.cost.cost_made import (
    INPUTS,
    PROMPT,
    USER,
    context_of,
    measure_cost_here,
)
from tests.genpi_plugin.evaluation.streaming import serve_stream
from tests.tiny import make_tokenizer

ASKED = [[{"role": "user", "content": text}] for text in INPUTS]


def ask_server(server, subjects, adapter="adapter", tokens=8, repeats=2, model="base"):
    requests = {
        1: ASKED,
        2: histories(ASKED, [], ["x"] * len(INPUTS), 2),
    }
    return measure_server(
        Server(server.url, model, adapter), subjects[0], requests, tokens, lambda n: None, repeats
    )


def test_a_server_that_caches_prefixes_is_seen_to(subjects):
    with serve_stream(seconds_per_character=2e-4, seconds_per_token=0.002) as server:
        runs, notes = ask_server(server, subjects)
    assert notes == []
    first = {run.setting: run for run in runs if (run.turns, run.batch_size) == (1, 1)}
    assert list(first) == list(SETTINGS)
    cold, cached, unmerged, merged = (min(run.ttft_seconds) for run in first.values())
    assert cold > 0.16  # a thousand characters are read
    assert max(cached, unmerged, merged) < cold / 2
    assert first["prompt_cached"].cached_tokens > 200
    assert first["prompt_cold"].request_tokens > 5 * first["adapter_merged"].request_tokens
    assert all(min(run.latency_seconds) > 7 * 0.002 for run in runs)

    models = [body["model"] for body in server.asked]
    assert models.count("adapter") * 3 < len(models)
    texts = [body["messages"][0]["content"] for body in server.asked]
    cold_ones = [t for t in texts if t.startswith("[") and PROMPT[0]["content"] in t]
    assert len(set(cold_ones)) == len(cold_ones) > 10  # none like another: none can be reused
    assert texts.count(PROMPT[0]["content"]) > 10
    last = [body["messages"][-1]["content"] for body in server.asked if len(body["messages"]) < 3]
    assert len(set(last)) == len(last)  # what a user says is never reused


def test_a_server_that_caches_nothing_is_told_of_and_judged_by_the_cold_prompt(subjects):
    with serve_stream(caches=False, seconds_per_character=2e-4) as server:
        summary = summarize_cost(measure_cost_here(context_of(subjects), server=server.url))
    assert "does not seem to cache prefixes" in summary["notes"][0]
    assert set(summary["settings"]) == set(SETTINGS) - {"prompt_cached"}
    assert "cached" not in summary["verdict"]
    assert list(summary["break_even"]["seconds"]) == ["prompt_cold"]
    assert list(summary["break_even"]["flops"]) == ["prompt_cold"]


def test_an_adapter_that_is_not_served_is_left_out(subjects):
    with serve_stream(models=["base"], seconds_per_character=2e-4) as server:
        runs, notes = ask_server(server, subjects, adapter=None)
    assert {run.setting for run in runs} == set(SETTINGS) - {"adapter_unmerged"}
    assert "no name for the adapter" in notes[0]


def test_latency_is_that_of_the_tokens_asked_for(subjects):
    """Answers of three tokens at 20 ms; eight are to be compared."""
    with serve_stream(answer=["a", "b", "c"], seconds_per_token=0.02) as server:
        runs, _ = ask_server(server, subjects, tokens=8, repeats=1)
    for run in runs:  # three take 0.04 s, eight 0.14 s; a busy machine tells a little less or more
        assert 0.06 < run.latency_seconds[0] - run.ttft_seconds[0] < 0.6


def test_a_server_without_usage_has_its_tokens_counted_here(subjects):
    with serve_stream(tells_usage=False) as server:
        runs, notes = ask_server(server, subjects)
    by_setting = {run.setting: run for run in runs if run.turns == 1}
    assert by_setting["prompt_cold"].request_tokens >= len(subjects[0].request(USER))
    assert any("reports no token counts" in note for note in notes)


def test_a_server_that_answers_in_one_piece_is_told_of(subjects):
    """Usage says more tokens than there are pieces."""
    with serve_stream(answer=["all of it at once"]) as server:
        runs, notes = ask_server(server, subjects)
    assert not any("one piece" in note for note in notes)  # one token it is
    assert all(run.latency_seconds for run in runs)


def test_a_dead_server_is_named_with_the_cure(subjects):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dead = Server(f"http://127.0.0.1:{port}/v1", "base")
    with pytest.raises(GenPIError, match="no server at") as error:
        measure_server(dead, subjects[0], {1: [USER]}, 4, lambda n: None)
    assert "--server" in error.value.cure


def test_a_wrong_model_name_is_told_with_those_there_are(subjects):
    with (
        serve_stream(models=["base", "other"]) as server,
        pytest.raises(GenPIError, match="`adapter` does not exist") as error,
    ):
        ask_server(server, subjects)
    assert "--server-adapter" in error.value.cure
    assert "base, other" in error.value.cure


def test_a_server_that_does_not_stream_is_refused(subjects):
    with (
        serve_stream(streams=False) as server,
        pytest.raises(GenPIError, match="no text as a stream"),
    ):
        ask_server(server, subjects)


def test_requests_with_the_prompt_carry_its_tools(subjects):
    view = ChatView(make_tokenizer("tools"))
    teacher = Subject("teacher", subjects[0].model, view, PROMPT, tools=TOOLS)
    with serve_stream() as server:
        ask_server(server, [teacher], repeats=1)
    prompted = [PROMPT[0]["content"] in body["messages"][0]["content"] for body in server.asked]
    assert True in prompted
    assert False in prompted
    assert [body.get("tools") == TOOLS for body in server.asked] == prompted
    assert ["tools" in body for body in server.asked] == prompted
