"""Whose arguments go with which request, and that a folder of the last version goes on."""

import json

import pytest
import yaml

from synth.engines.base import Message, Request, Sampling
from synth.engines.chat import request_ids
from synth.engines.messages import as_messages
from synth.errors import EngineError
from tests.synth.cli.commands_run import synth
from tests.synth.scripted import answers, stage_of, write_task
from tests.synth.server import serve
from tests.tiny import make_tokenizer

FIELDS = ("temperature", "top_k", "min_p", "chat_template_kwargs")


def run(task, out, server, *more):
    return synth("run", task, "-o", out, "--model", "m", "--base-url", server.url, *more)


def sent(server):
    """What went along, by the stage that asked."""
    found = {}
    for body in server.requests:
        fields = {name: body[name] for name in FIELDS if name in body}
        found.setdefault(stage_of(as_messages(body["messages"])), []).append(fields)
    assert all(fields == same[0] for same in found.values() for fields in same)
    return {stage: same[0] for stage, same in found.items()}


def test_another_generator_gets_its_own_arguments_and_none_of_the_target_s(tmp_path):
    task = write_task(tmp_path / "t", conversations={"max_turns": 2})
    with serve(answers, None) as target, serve(answers, None) as generator:
        code, printed = run(
            task, tmp_path / "out", target, "--request-args", '{"top_k": 5}',
            "--chat-template-kwargs", '{"enable_thinking": false}', "--generator-model", "gpt",
            "--generator-base-url", generator.url,
            "--generator-request-args", '{"min_p": 0.1}')  # fmt: skip
        assert code == 0, printed
        of_target = {
            "temperature": 0,
            "top_k": 5,
            "chat_template_kwargs": {"enable_thinking": False},
        }
        assert sent(target) == {"floor": of_target, "teacher": of_target}
        assert sent(generator) == {
            "inputs": {"temperature": 1.0, "min_p": 0.1},
            "reasons": {"temperature": 0.7, "min_p": 0.1},
            "environment": {"temperature": 0, "min_p": 0.1},
        }


def test_a_stage_s_arguments_go_over_the_role_s(tmp_path):
    task = write_task(
        tmp_path / "t",
        inputs={"request_args": {"temperature": None}},
        outputs={"request_args": {"top_k": 1}, "chat_template_kwargs": {"a": 2}},
        reasons={"chat_template_kwargs": {"enable_thinking": True}},
        conversations={"max_turns": 2, "request_args": {"min_p": 0.5}},
    )
    with serve(answers, None) as server:
        code, printed = run(task, tmp_path / "out", server, "--request-args", '{"top_k": 5}',
                            "--chat-template-kwargs", '{"a": 1, "b": 1}')  # fmt: skip
        assert code == 0, printed
        role = {"top_k": 5, "chat_template_kwargs": {"a": 1, "b": 1}}
        agent = {"temperature": 0, "top_k": 1, "chat_template_kwargs": {"a": 2, "b": 1}}
        thinking = {"a": 1, "b": 1, "enable_thinking": True}
        assert sent(server) == {
            "inputs": role,
            "floor": agent,
            "teacher": agent,
            "reasons": {"temperature": 0.7, "top_k": 5, "chat_template_kwargs": thinking},
            "environment": {"temperature": 0, **role, "min_p": 0.5},
        }
        server.requests.clear()
        assert run(task, tmp_path / "out", server, "--request-args", '{"top_k": 5}',
                   "--chat-template-kwargs", '{"a": 1, "b": 1}')[0] == 0  # fmt: skip
        assert not server.requests


def test_a_changed_argument_of_a_stage_asks_that_stage_anew(tmp_path):
    task = write_task(tmp_path / "t", conversations={"max_turns": 1})
    with serve(answers, None) as server:
        assert run(task, tmp_path / "out", server)[0] == 0
        server.requests.clear()
        change = ("--set", "reasons.request_args={top_k: 3}")
        code, printed = run(task, tmp_path / "out", server, *change)
        assert code == 1
        assert "task.reasons.request_args.top_k: None -> 3" in printed
        assert run(task, tmp_path / "out", server, *change, "--resume", "changed")[0] == 0
        assert set(sent(server)) == {"reasons"}


def test_a_model_in_process_takes_template_arguments_and_no_request_arguments():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ messages[0].content }} {{ tone }} {{ length }}"
    asked = (Message("user", "a"),)

    def read(**own):
        ids = request_ids(tokenizer, {"tone": "b", "length": "c"},
                          Request(asked, Sampling(**own)), "tiny")  # fmt: skip
        return tokenizer.decode(ids)

    assert read() == "a b c"
    assert read(chat_template_kwargs={"tone": "d"}) == "a d c"
    with pytest.raises(EngineError, match=r"tiny runs in this process.*request_args.*top_k"):
        read(request_args={"top_k": 1})


def without_new_keys(folder):
    """Turn a folder's synth.yaml into what the last version wrote."""
    path = folder / "synth.yaml"
    config = yaml.safe_load(path.read_text())
    for stage in ("inputs", "outputs", "reasons", "conversations"):
        del config["task"][stage]["request_args"], config["task"][stage]["chat_template_kwargs"]
    path.write_text(yaml.safe_dump(config))
    return config


def test_a_folder_of_the_last_version_goes_on_and_asks_nothing(tmp_path):
    task, out = write_task(tmp_path / "t"), tmp_path / "out"
    own = ("--request-args", '{"top_k": 5}')
    with serve(answers, None) as server:
        assert run(task, out, server, *own)[0] == 0
        without_new_keys(out)
        server.requests.clear()
        code, printed = run(task, out, server, *own)
        assert code == 0, printed
        assert not server.requests


def test_a_folder_whose_generator_got_the_target_s_arguments_says_how_to_go_on(tmp_path):
    """The last version sent them to every generator."""
    task, out = write_task(tmp_path / "t"), tmp_path / "out"
    own = ("--generator-model", "gpt", "--request-args", '{"top_k": 5}')
    same = ("--generator-request-args", json.dumps({"top_k": 5}))
    with serve(answers, None) as server:
        assert run(task, out, server, *own, *same)[0] == 0
        without_new_keys(out)
        server.requests.clear()
        code, printed = run(task, out, server, *own)
        assert code == 1
        assert "generator.request_args.top_k: 5 -> None" in printed
        assert "gets its own arguments: --generator-request-args" in " ".join(printed.split())
        code, printed = run(task, out, server, *own, *same)
        assert code == 0, printed
        assert not server.requests
