"""Chat templates of installed packages, templates that read the clock, and which one is chosen."""

from __future__ import annotations

import datetime as real

import pytest
import transformers.utils.chat_template_utils as rendering

from genpi_plugin.data import templates
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.prepared import fingerprint
from genpi_plugin.errors import ConfigError
from tests.genpi_plugin.data.templates_walked import PAGE, line, names, outcomes, versions
from tests.tiny import CHATML, make_tokenizer

DATED = (
    "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- endif %}<|im_start|>system\nToday is {{ date_string }}.<|im_end|>\n" + CHATML
)
CLOCK_ONLY = "<|im_start|>system\n{{ strftime_now('%Y-%m-%d') }}<|im_end|>\n" + CHATML
REQUEST = [{"role": "user", "content": "hello"}]


def at(monkeypatch, day):
    """Set the clock that templates read."""

    class Clock(real.datetime):
        @classmethod
        def now(cls, tz=None):
            return real.datetime(2026, 11, day)

    monkeypatch.setattr(rendering, "datetime", Clock)


@pytest.mark.parametrize("name", sorted(names()))
def test_an_answer_follows_the_request_of_inference_or_is_refused(name):
    made = line(name, names()[name])  # checks what is trained against a plain rendering
    page = PAGE.read_text("utf-8")
    if versions() in page:
        assert made in page, "python -m tests.genpi_plugin.data.templates_walked"


@pytest.mark.parametrize(
    "name", [name for name in sorted(names()) if "enable_thinking" in names()[name].read_text()]
)
def test_a_thinking_template_is_trained_once_it_does_not_think(name):
    view, found = outcomes(names()[name].read_text("utf-8"), enable_thinking=False)
    refused = {which: str(one.refused) for which, one in found.items() if one.refused}
    refused.pop("thoughts", None)  # some templates take an answer with thoughts all the same
    if "diffusion_gemma" in name:
        del refused["a call's result"]  # another header stands before such an answer
    # GLM's ends no turn, whether it thinks or not.
    assert not refused or view.rendering.name.endswith("glm4moe.jinja`)"), refused


def test_a_refusal_names_a_template_that_was_tried_and_works():
    [path] = [path for name, path in names().items() if name == "axolotl/gemma"]
    _, found = outcomes(path.read_text("utf-8"))
    error = found["after a system turn"].refused
    assert "chat_template: gemma" in error.cause
    assert "Tried, and works: `chat_template: gemma3`" in error.cure


@pytest.mark.parametrize("source", [DATED, CLOCK_ONLY])
def test_the_day_that_a_template_writes_names_prepared_data(source, tmp_path, monkeypatch):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = source
    tokenizer.save_pretrained(tmp_path)
    cfg = {"base_model": str(tmp_path), "datasets": [], "sequence_len": 512}
    states, requests = [], []
    for day in (24, 25, 25):
        at(monkeypatch, day)
        states.append(fingerprint(cfg, {}))
        requests.append(ChatView(tokenizer).request_ids(REQUEST))
    assert requests[0] != requests[1] == requests[2]
    assert states[0] != states[1] == states[2]


def test_a_fixed_date_is_one_state_and_the_clock_alone_can_not_be_fixed(tmp_path, monkeypatch):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = DATED
    tokenizer.save_pretrained(tmp_path)
    cfg = {"base_model": str(tmp_path), "chat_template_kwargs": {"date_string": "1 May 2026"}}
    found = []
    for day in (24, 25):
        at(monkeypatch, day)
        view = ChatView(tokenizer, cfg["chat_template_kwargs"])
        found.append((fingerprint(cfg, {}), view.request_ids(REQUEST)))
        assert not view.rendering.date_note()
    assert found[0] == found[1]
    assert "`chat_template_kwargs: {date_string: ...}`" in ChatView(tokenizer).rendering.date_note()
    assert "no fixed one" in ChatView(tokenizer, template=CLOCK_ONLY).rendering.date_note()


def test_a_template_file_counts_by_its_content(tmp_path):
    file = tmp_path / "mine.jinja"
    cfg = {"base_model": "x", "chat_template": "jinja", "chat_template_jinja": str(file)}
    states = []
    for content in (CHATML, CHATML.replace("assistant", "model"), CHATML):
        file.write_text(content)
        states.append(fingerprint(cfg, {}))
    assert states[0] == states[2] != states[1]


def test_the_template_of_a_config_is_the_one_that_it_renders_with(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    own = {"base_model": str(tmp_path)}
    assert templates.of_config(own) == CHATML
    named = templates.shipped()["chat_template: llama3"].read_text("utf-8")
    assert templates.of_config({**own, "chat_template": "llama3"}) == named
    fallback = {**own, "chat_template": "tokenizer_default_fallback_llama3"}
    assert templates.of_config(fallback) == CHATML
    assert templates.of_config({**fallback, "base_model": str(tmp_path / "none")}) == named
    assert templates.of_config({**own, "chat_template_jinja": CLOCK_ONLY}) == CLOCK_ONLY


def test_a_datasets_template_becomes_the_configs_own():
    cfg = {"datasets": [{"path": "a", "chat_template": "llama3"}, {"path": "b"}]}
    templates.settle(cfg)
    assert cfg["chat_template"] == "llama3"


@pytest.mark.parametrize(
    "cfg",
    [
        {"chat_template": "gemma", "datasets": [{"chat_template": "llama3"}]},
        {"datasets": [{"chat_template": "gemma"}, {"chat_template": "llama3"}]},
    ],
)
def test_two_templates_are_refused(cfg):
    with pytest.raises(ConfigError, match=r"chat_template: llama3` is another than `gemma`"):
        templates.settle(cfg)
