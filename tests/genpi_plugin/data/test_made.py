"""Answers are trained after the requests they were given to, or it is said that they are not."""

from __future__ import annotations

import json
import logging

import pytest
from datasets import Dataset

from genpi_plugin.args import parse_settings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.made import template_arguments
from genpi_plugin.strategy import GenPIStrategy
from tests.genpi_plugin.rows_made import our_row
from tests.tiny import make_tokenizer

SWITCHED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
OFF = {"enable_thinking": False}


def made(folder, arguments):
    (folder / "data").mkdir(exist_ok=True)
    (folder / "synth.yaml").write_text(json.dumps({"target": {"chat_template_kwargs": arguments}}))
    return str(folder)


@pytest.mark.parametrize(
    ("answered", "trained", "says"),
    [
        (OFF, {}, True),
        ({}, OFF, True),
        (OFF, OFF, False),
        ({"no_such_name": 1}, {}, False),  # the same request
    ],
)
def test_other_arguments_of_the_template_are_said(tmp_path, caplog, answered, trained, says):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = SWITCHED
    name = made(tmp_path, answered)
    strategy = GenPIStrategy(ChatView(tokenizer, trained), parse_settings({}), 4096, name, None)
    log = logging.getLogger("axolotl.genpi")
    log.addHandler(caplog.handler)
    try:
        strategy.wrap_dataset(Dataset.from_list([our_row()]))
    finally:
        log.removeHandler(caplog.handler)
    lines = [r.getMessage() for r in caplog.records if "chat_template_kwargs" in r.getMessage()]
    assert bool(lines) is says
    if says:
        assert f"`chat_template_kwargs: {json.dumps(answered)}`" in lines[0]
        assert name in lines[0]


def test_a_file_in_the_folder_is_of_it_and_other_data_tells_nothing(tmp_path):
    name = made(tmp_path, OFF)
    assert template_arguments(name) == OFF
    assert template_arguments(f"{name}/data/train-00000-of-00001.parquet") == OFF
    (tmp_path / "synth.yaml").write_text("target: {model: m}")
    assert template_arguments(name) == {}
    (tmp_path / "synth.yaml").write_text("- nothing")
    assert template_arguments(name) is None
    assert template_arguments("somebody/on-the-hub") is None
