"""`thinking: off`: what each engine asks the model, as far as it knows how."""

from __future__ import annotations

from dataclasses import replace

import pytest

from genpi_plugin.data.templates import shipped, thinking_off
from synth.engines.base import Sampling
from synth.engines.chat import Chat
from synth.engines.server.engine import OpenAIEngine
from synth.store.fingerprint import request_key
from tests.synth.engines.asking import answers, ask
from tests.synth.server import serve
from tests.tiny import make_tokenizer, save_tiny

BEGIN = "{% if add_generation_prompt %}<|im_start|>assistant\n"
SWITCHED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    + BEGIN
    + "{% if NAME is defined and NAME == OFF %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
OFF = replace(Sampling(max_tokens=9), thinking=False)
KEEP = Sampling(max_tokens=9)
EMPTY = "<think>\n\n</think>\n\n"


def template(name, off="false"):
    return SWITCHED.replace("NAME", name).replace("OFF", off)


def written(source, sampling, kwargs=None):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = source
    return tokenizer.decode(Chat(tokenizer, kwargs or {}, "m").request_ids(ask("hi", sampling)))


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("enable_thinking", "false"),
        ("thinking", "false"),
        ("reasoning", "false"),
        ("think", "false"),
        ("thinking_budget", "0"),
        ("reasoning_effort", "'none'"),
    ],
)
def test_a_template_is_given_the_switch_that_it_reads(name, off):
    assert written(template(name, off), OFF).endswith(f"assistant\n{EMPTY}")
    assert written(template(name, off), KEEP).endswith("assistant\n")


def test_an_effort_that_the_template_does_not_know_is_not_invented():
    assert thinking_off("{{ reasoning_effort or 'medium' }}") == {}
    assert thinking_off("{{ messages }}") == {}


def test_whoever_names_an_argument_is_obeyed():
    source = template("enable_thinking")
    assert written(source, OFF, {"enable_thinking": True}).endswith("assistant\n")
    own = replace(OFF, chat_template_kwargs={"enable_thinking": True})
    assert written(source, own).endswith("assistant\n")


def test_the_switches_of_shipped_templates_change_a_request_or_are_off_already():
    """Of those that read one; each template that leaves thoughts open closes them."""
    seen = 0
    for path in shipped().values():
        source = path.read_text("utf-8")
        if not thinking_off(source):
            continue
        seen += 1
        assert not written(source, OFF).rstrip().endswith("<think>"), path
    assert seen > 15


def test_answers_without_thinking_are_others():
    assert request_key({}, ask("hi", OFF)) != request_key({}, ask("hi", KEEP))


def sent(owner, engine_args=None, sampling=OFF):
    with serve(lambda messages: "a lamp", models=["tiny"]) as server:
        server.listed = {"tiny": {"owned_by": owner}}
        answers(OpenAIEngine("tiny", server.url, **(engine_args or {})), [ask("hi", sampling)])
        return server.requests[0].get("chat_template_kwargs")


@pytest.mark.parametrize("owner", ["vllm", "sglang", "llamacpp"])
def test_a_server_that_takes_template_arguments_is_sent_the_usual_ones(owner):
    assert sent(owner) == {"enable_thinking": False, "thinking": False}
    assert sent(owner, sampling=KEEP) is None
    asked = {"chat_template_kwargs": {"enable_thinking": True}}
    assert sent(owner, asked)["enable_thinking"] is True


def test_another_server_is_sent_nothing_that_it_may_refuse():
    assert sent("openai") is None


def test_a_server_whose_template_is_known_is_sent_its_switch(tmp_path):
    folder = save_tiny(tmp_path)
    (folder / "chat_template.jinja").write_text(template("thinking"))
    assert sent("nobody", {"tokenizer": str(folder)}) == {"thinking": False}
