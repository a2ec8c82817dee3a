"""The student's answers through a vLLM server: those of the weights of the moment, or an error."""

from __future__ import annotations

import shutil

import pytest
import torch

from genpi_plugin.args import GenPISettings, OnPolicySettings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.errors import ConfigError, GenPIError
from genpi_plugin.on_policy.rollouts import Student
from genpi_plugin.on_policy.server import Server, base_url
from tests.genpi_plugin.on_policy.test_rollouts import ENDS, LIMIT, NAMES, REQUESTS, plain
from tests.genpi_plugin.on_policy.test_training import (
    kept_answers,
    on_policy_trainer,
    requests,
    trained,
)
from tests.genpi_plugin.on_policy.vllm_server import serving
from tests.genpi_plugin.teacher.test_teacher import ALL, pairs, rows, with_random_adapter
from tests.tiny import make_model, make_tokenizer


def settings(**how):
    on_policy = OnPolicySettings(**{"epochs": 1e6, "refresh": 1, "max_new_tokens": 10, **how})
    return GenPISettings(**{**ALL, "sft_weight": 0.6}, on_policy=on_policy)


def student(folder, url, limit=LIMIT, seed=3, **how):
    from genpi_plugin.on_policy.served import ServedStudent

    chosen = OnPolicySettings(max_new_tokens=limit, **how)
    return ServedStudent(chosen, ENDS, seed, "", Server(url), folder / "adapters", REQUESTS[0])


def served_trainer(folder, chosen, url, **how):
    built = on_policy_trainer(folder, chosen, **how)
    answering = student(folder, url, seed=5)
    answering.settings = chosen.on_policy
    built.on_policy.student = answering
    return built


def answered(model, by):
    found = {}
    by.answer(model, REQUESTS, NAMES, found.__setitem__)
    return [found[place] for place in range(len(REQUESTS))]


def test_answers_through_a_server_are_those_in_process_step_by_step(tmp_path):
    """At temperature 0: only the weights of each moment give these."""
    chosen = settings(temperature=0)
    here = on_policy_trainer(tmp_path / "here", chosen, batch=4, accumulation=2)
    losses, weights = trained(here)
    with serving() as server:
        there = served_trainer(tmp_path / "there", chosen, server.url, batch=4, accumulation=2)
        served_losses, served_weights = trained(there)
    answers = kept_answers(tmp_path / "here")
    assert answers == kept_answers(tmp_path / "there")
    assert [list(step.values()) for step in answers.values()] != [list(answers[0].values())] * 3
    for left, right in zip(losses, served_losses, strict=True):
        assert right["loss"] == pytest.approx(left["loss"], rel=1e-5)
    torch.testing.assert_close(served_weights, weights, rtol=1e-4, atol=2e-6)
    # Before the first step and at each of three refreshes; nothing stays.
    assert len(set(server.names)) == 4
    assert server.loaded == {}
    assert not (tmp_path / "there" / "adapters").exists()


def test_answers_are_drawn_by_name_from_the_whole_vocabulary(tmp_path):
    model = with_random_adapter()
    with serving() as server:
        found = answered(model, student(tmp_path, server.url, temperature=0.7))
        bodies = [body for body in server.asked if body.get("logprobs") is None]
        again = answered(model, student(tmp_path, server.url, temperature=0.7, batch_size=1))
        other = answered(model, student(tmp_path, server.url, temperature=0.7, seed=4))
    assert found == again
    assert found != other
    assert {one.cut for one in found} == {one.ids[-1] not in ENDS for one in found}
    assert len({body["seed"] for body in bodies}) == len(REQUESTS)
    how = {"temperature": 0.7, "max_tokens": LIMIT, "top_p": 1.0, "top_k": -1, "min_p": 0.0,
           "repetition_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0,
           "stop_token_ids": ENDS, "ignore_eos": True, "return_token_ids": True}  # fmt: skip
    for body in bodies:
        assert {name: body[name] for name in how} == how


def test_ends_are_those_in_process(tmp_path):
    model = with_random_adapter()
    with serving() as server:
        found = answered(model, student(tmp_path, server.url, temperature=0))
    expected = [
        plain(model.eval(), one, name, 0) for one, name in zip(REQUESTS, NAMES, strict=True)
    ]
    assert found == expected


def test_answers_of_a_server_are_told_from_those_in_process(tmp_path):
    here = Student(OnPolicySettings(max_new_tokens=LIMIT), ENDS, 0, 3)
    one, other = (student(tmp_path, url) for url in ("http://a:1", "http://b:2/v1"))
    assert one.how == other.how != here.how
    assert one.how != student(tmp_path, "http://a:1", temperature=0.5).how


def test_a_resumed_run_goes_on_with_the_answers_it_has(tmp_path):
    """Killed behind its second step's answers, of which the first checkpoint knows nothing."""

    def made():
        built = served_trainer(
            tmp_path, settings(refresh=2), server.url, batch=4, accumulation=1, steps=2
        )
        built.args.save_strategy, built.args.save_steps, built.state.save_steps = "steps", 1, 1
        return built

    with serving() as server:
        _, weights = trained(made())
        shutil.rmtree(tmp_path / "checkpoint-2")
        before = len(server.asked)
        _, found = trained(made(), str(tmp_path / "checkpoint-1"))
        # The trial alone.
        assert [body["logprobs"] for body in server.asked[before:]] == [0]
    torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-5)


FAULTS = {
    "updating": (False, r"lets no adapter be loaded while it runs\.\n.*RUNTIME_LORA_UPDATING=True"),
    "lora": (False, r"did not load the adapter: .*LoRA is not enabled.*\n.*--enable-lora"),
    "max_rank": (2, r"no adapter of rank 4: its `--max-lora-rank` is 2.*\n.*--max-lora-rank 4"),
    "api_key": ("secret", r"refused the API key in OPENAI_API_KEY.*\n.*export OPENAI_API_KEY"),
    "tells_ids": (False, r"told no token ids.*\n.*vLLM 0\.10\.2"),
    "cuts": (5, r"was sent a request of \d+ tokens and read 5"),
    "own_stops": (set(range(512)), r"answer of 1 tokens that stops before `max_new_tokens: 32`"),
    "goes_on": (True, r"goes on behind token \d+, which ends it"),
    "max_model_len": (60, r"stops before `max_new_tokens: 32`.*\n.*--max-model-len"),
    "leaves_adapter_out": (True, r"another model .* nats apart in the mean.*\n.*base_model"),
    "model": (make_model(seed=7), r"another model than the one in training"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_server_can_not_do_is_said(tmp_path, fault):
    value, says = FAULTS[fault]
    with serving() as server:
        setattr(server, fault, value)
        with pytest.raises(GenPIError, match=rf"(?s)127\.0\.0\.1:\d+/v1.*{says}"):
            student(tmp_path, server.url, limit=32).try_out(with_random_adapter())
        assert server.loaded == {}


def test_a_server_that_is_not_there_or_sees_another_disk_is_said(tmp_path, monkeypatch):
    with serving() as server:
        answering = student(tmp_path, server.url)
        monkeypatch.setattr(
            type(answering.server._client), "post", _elsewhere(type(answering.server._client).post)
        )
        with pytest.raises(GenPIError, match=r"(?s)finds no adapter in .*under the same path"):
            answering.try_out(with_random_adapter())
    monkeypatch.undo()
    with pytest.raises(GenPIError, match=r"(?s)there is no server at .*/v1.*\n.*vllm serve"):
        Server(server.url).context()


def _elsewhere(post):
    """Requests arrive with a path that is not there."""

    def changed(client, path, *, body, **how):
        if "lora_path" in body:
            shutil.rmtree(body["lora_path"])
        return post(client, path, body=body, **how)

    return changed


def test_a_request_and_an_answer_must_fit_the_server(tmp_path):
    from genpi_plugin.on_policy.opening import served_student

    made = [pair.columns() for pair in pairs()]
    view = ChatView(make_tokenizer())
    longest = max(len(asked) for row in rows() for asked, _ in requests(row, view))
    with serving() as server:
        chosen = OnPolicySettings(max_new_tokens=10, server=server.url)
        server.max_model_len = longest + 10
        found = served_student(chosen, made, ENDS, 3, "", tmp_path)
        assert found.trial in [asked for row in rows() for asked, _ in requests(row, view)]
        server.max_model_len -= 1
        with pytest.raises(GenPIError, match=rf"up to {longest} tokens.*\n.*{longest + 10}` or"):
            served_student(chosen, made, ENDS, 3, "", tmp_path)


def test_a_key_comes_from_the_environment_and_stays_there(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k3y-0123456789")
    with serving() as server:
        server.api_key = "k3y-0123456789"
        trained(served_trainer(tmp_path, settings(), server.url, batch=8, accumulation=1, steps=1))
    assert server.keys == {"Bearer k3y-0123456789"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"k3y-0123456789" in path.read_bytes()]
    monkeypatch.setenv("OPENAI_API_KEY", "k3y\n")
    with pytest.raises(ConfigError, match="characters that no key has"):
        Server(server.url)


@pytest.mark.parametrize(
    ("address", "found"),
    [("http://localhost:8000", "http://localhost:8000/v1"), ("http://h/v1/", "http://h/v1"),
     ("https://h/team/v1", "https://h/team/v1"), ("localhost:8000", None),
     ("http://", None), ("http://user:pass@h", None), ("http://h?key=pass", None)],
)  # fmt: skip
def test_addresses(address, found):
    if found:
        assert base_url(address) == found
        return
    with pytest.raises(ConfigError, match=r"genpi\.on_policy\.server") as caught:
        base_url(address)
    assert "pass" not in str(caught.value)
