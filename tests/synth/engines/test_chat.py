"""What a model in this process is asked is rendered as the plugin renders it."""

from __future__ import annotations

import datetime as real
import json
import re
from dataclasses import replace

import pytest

from genpi_plugin.data.chat import ChatView
from synth.engines.base import Message, Request, Sampling, ToolCall
from synth.engines.chat import Chat, template_identity
from synth.engines.local.engine import TransformersEngine
from synth.errors import EngineError, RowError
from synth.store.fingerprint import request_key
from tests.synth.cli.commands_run import synth
from tests.synth.scripted import write_task
from tests.synth.tooled import CALL
from tests.synth.tooled import TOOLS as SCHEMAS
from tests.tiny import CHATML, TOOLS, make_tokenizer, save_tiny

HEAD = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
TAIL = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
PARTS = HEAD + "{% for part in m.content %}{{ part.text }}{% endfor %}" + TAIL
LOSES = HEAD + "{% if m.role != 'system' %}{{ m.content }}{% endif %}" + TAIL
DATED = "{{ strftime_now('%d %b %Y') if not date_string else date_string }}" + CHATML


def chat(template: str) -> Chat:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return Chat(tokenizer, {}, "tiny")


def ask(*turns: tuple[str, str]) -> Request:
    return Request(tuple(Message(role, text) for role, text in turns), Sampling())


def test_requests_and_answers_have_the_tokens_that_the_plugin_trains():
    turns = [("system", "rules"), ("user", "find a lamp")]
    messages = [{"role": role, "content": text} for role, text in turns]
    request, answer = ChatView(make_tokenizer()).request_and_answer(
        messages, {"role": "assistant", "content": "search[lamp]"}
    )
    for template in (CHATML, PARTS):
        assert chat(template).request_ids(ask(*turns)) == request
        assert (
            chat(template).answer_ids(ask(*turns), Message("assistant", "search[lamp]")) == answer
        )
        assert chat(template).end_ids(None) == [answer[-1]]


def test_a_text_that_the_template_loses_stops_and_a_control_token_costs_a_row():
    with pytest.raises(EngineError, match=r"leaves out a part of turn 0 \(system\): 'rules'"):
        chat(LOSES).request_ids(ask(("system", "rules"), ("user", "find a lamp")))
    with pytest.raises(RowError, match=r"'<\|im_end\|>', which the tokenizer reads") as caught:
        chat(CHATML).request_ids(ask(("user", "what is <|im_end|>?")))
    assert caught.value.reason == "holds a control token"


def test_validate_sees_what_the_template_loses(tmp_path):
    pytest.importorskip("torch")
    model = save_tiny(tmp_path / "tiny")
    task = write_task(tmp_path / "t")
    for template, expected in ((PARTS, 0), (LOSES, 1)):
        (model / "chat_template.jinja").write_text(template)
        code, printed = synth("validate", task, "--model", model)
        assert code == expected, printed
        assert ("leaves out a part of turn 0 (system)" in printed) == bool(expected)


def test_the_day_that_a_template_writes_tells_stored_answers_apart(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    import transformers.utils.chat_template_utils as rendering

    model = save_tiny(tmp_path / "tiny")
    (model / "chat_template.jinja").write_text(DATED)
    keys, fixed = [], []
    for day in (24, 25, 25):

        class Clock(real.datetime):
            today = day

            @classmethod
            def now(cls, tz=None):
                return real.datetime(2026, 11, cls.today)

        monkeypatch.setattr(rendering, "datetime", Clock)
        request = ask(("user", "find a lamp"))
        keys.append(request_key(TransformersEngine(str(model)).identity, request))
        fixed.append(template_identity(str(model), {"date_string": "1 May 2026"}))
    assert keys[0] != keys[1] == keys[2]
    assert fixed[0] == fixed[1]
    (model / "chat_template.jinja").write_text(CHATML)
    assert template_identity(str(model), {}) == {}


# Calls in a form of nobody's.
ODD = re.sub(
    r"<tool_call>\n\{\{ \{'name'.*?</tool_call>(?=\{% endfor)",
    "CALL {{ call.function.name }} WITH {{ call.function.arguments | tojson }}",
    TOOLS,
    flags=re.DOTALL,
)


@pytest.mark.parametrize(("template", "notes"), [(TOOLS, 0), (ODD, 1)])
def test_a_form_of_calls_that_is_not_known_is_said_once(caplog, template, notes):
    view = chat(template)
    request = Request(ask(("user", "a lamp?")).messages, Sampling(), tools=json.dumps(SCHEMAS))
    for _ in range(2):
        assert view.request_ids(request)
    assert len(caplog.messages) == notes
    assert all("calls of tools in a form that is not known" in one for one in caplog.messages)


def test_an_answer_with_calls_has_its_tokens_in_both_views():
    call = ToolCall("c00000001", "stock_of", '{"item": "lamp"}')
    answer = Message("assistant", "", tool_calls=(call,))
    asked = ask(("user", "a lamp?"))
    view = chat(TOOLS)
    floor = view.answer_ids(asked, answer)
    teacher = view.answer_ids(replace(asked, tools=json.dumps(SCHEMAS)), answer)
    assert floor == teacher
    assert "stock_of" in view.tokenizer.decode(floor)
    sampled = view.tokenizer(f"{CALL}<|im_end|>", add_special_tokens=False)["input_ids"]
    assert view.answer_ids(asked, answer, sampled) == sampled
