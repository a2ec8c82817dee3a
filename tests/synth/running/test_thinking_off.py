"""`thinking: off` at a server whose chat template is not known here: what is sent is recorded."""

from __future__ import annotations

import json

import pytest
import yaml

from genpi_plugin.data.made import template_arguments
from synth.engines.messages import as_messages
from synth.engines.models import ModelSpec
from synth.engines.server.engine import OpenAIEngine
from synth.errors import SynthError
from synth.running.target import with_usual_off
from tests.synth.cli.commands_run import synth
from tests.synth.engines.asking import answers as asked
from tests.synth.engines.test_thinking_off import OFF, ask
from tests.synth.scripted import answers, make_task, stage_of, write_task
from tests.synth.server import serve

SENT = {"enable_thinking": False, "thinking": False}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("synth.engines.endpoints.FIRST_PAUSE", 0.005)


def run(task, out, url, *more):
    return synth("run", task, "-o", out, "--model", "m", "--base-url", url, *more)


def of_target(server):
    return [
        body.get("chat_template_kwargs")
        for body in server.requests
        if stage_of_body(body) in ("floor", "teacher")
    ]


def stage_of_body(body):
    return stage_of(as_messages(body["messages"]))


def test_what_is_sent_is_recorded_printed_and_goes_with_the_answers(tmp_path):
    task, out = write_task(tmp_path / "t", thinking="off"), tmp_path / "out"
    with serve(answers, models=["m"]) as server:
        server.listed = {"m": {"owned_by": "vllm"}}
        server.list_failures = [503]  # what a server can't say now is asked again
        code, printed = run(task, out, server.url)
        assert code == 0, printed
        sent = of_target(server)
        assert sent
        assert all(one == SENT for one in sent)
        others = [body for body in server.requests if stage_of_body(body) == "reasons"]
        assert all("chat_template_kwargs" not in body for body in others)
        assert yaml.safe_load((out / "synth.yaml").read_text())["target"] == {
            "model": "m",
            "engine": "openai",
            "chat_template_kwargs": SENT,
        }
        assert template_arguments(str(out)) == SENT
        assert f"chat_template_kwargs: {json.dumps(SENT)}" in printed
        server.requests.clear()
        code, printed = run(task, out, server.url)
        assert code == 0, printed
        assert not server.requests
    # The folder is whole, also while no server is there to say.
    code, printed = run(task, out, server.url)
    assert code == 0, printed
    assert f"chat_template_kwargs: {json.dumps(SENT)}" in printed
    assert "is taken from synth.yaml" in (out / "run.log").read_text()


def test_answers_with_and_without_the_arguments_are_two(tmp_path):
    task, out = write_task(tmp_path / "t", thinking="off"), tmp_path / "out"
    with serve(answers, models=["m"]) as server:
        assert run(task, out, server.url)[0] == 0
        assert of_target(server) == [None] * len(of_target(server))
        assert template_arguments(str(out)) == {}
        server.requests.clear()
        server.listed = {"m": {"owned_by": "vllm"}}
        code, printed = run(task, out, server.url)
        assert code == 1
        assert "target.chat_template_kwargs" in printed
        assert run(task, out, server.url, "--resume", "changed")[0] == 0
        assert of_target(server)
        assert all(one == SENT for one in of_target(server))


def test_a_target_that_is_sent_nothing_has_its_task_as_it_is(tmp_path):
    off = make_task(tmp_path / "off", thinking="off")
    keep = make_task(tmp_path / "keep")
    with serve(answers, models=["m"]) as server:
        spec = ModelSpec("m", "openai", (server.url,))
        assert with_usual_off(off, spec) is off
        server.listed = {"m": {"owned_by": "sglang"}}
        assert with_usual_off(keep, spec) is keep
        found = with_usual_off(off, spec).config.target_sampling
        assert (found.chat_template_kwargs, found.thinking) == (SENT, False)
        named = ModelSpec("m", "openai", (server.url,), chat_template_kwargs={"thinking": True})
        sampling = with_usual_off(off, named).config.target_sampling
        assert sampling.chat_template_kwargs == {"enable_thinking": False}


def test_a_new_folder_is_not_begun_while_nobody_says(tmp_path):
    off = make_task(tmp_path / "off", thinking="off")
    with serve(answers, models=["m"]) as server:
        spec = ModelSpec("m", "openai", (server.url,))
    with pytest.raises(SynthError, match="There is no server at"):
        with_usual_off(off, spec, tmp_path / "out")


def test_an_engine_remembers_no_failure_of_the_list():
    with serve(lambda messages: "a lamp", models=["m"]) as server:
        server.listed = {"m": {"owned_by": "vllm"}}
        server.list_failures = [500]
        asked(OpenAIEngine("m", server.url), [ask("hi", OFF)])
        assert [body["chat_template_kwargs"] for body in server.requests] == [SENT]
    with serve(lambda messages: "a lamp", models=None) as server:
        server.list_failures = [501, 501]
        asked(OpenAIEngine("m", server.url), [ask("hi", OFF)])
        assert "chat_template_kwargs" not in server.requests[0]
        assert server.list_failures == [501]
