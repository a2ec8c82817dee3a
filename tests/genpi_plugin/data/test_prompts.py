"""Prompt files that are lists of messages, with calls and results in them."""

from __future__ import annotations

import json

import pytest

from genpi_plugin.data.prompts import read_prompt
from genpi_plugin.errors import RowError
from tests.genpi_plugin.data.templates_walked import CALLING, SYSTEM

YAML = """\
- {role: system, content: You sell socks. Never name a price.}
- {role: user, content: "do you have wool socks?"}
- role: assistant
  tool_calls:
    - id: c00000001
      type: function
      function: {name: stock_of, arguments: {item: wool socks, size: 27}}
- {role: tool, content: '{"pairs": 2}', tool_call_id: c00000001, name: stock_of}
- {role: assistant, content: "Grey. Yes, two pairs."}
"""


def test_a_list_may_show_calls_and_their_results(tmp_path):
    (tmp_path / "p.yml").write_text(YAML)
    (tmp_path / "p.json").write_text(json.dumps([SYSTEM, *CALLING]))
    assert read_prompt(tmp_path / "p.yml") == [SYSTEM, *CALLING]
    assert read_prompt(tmp_path / "p.json") == [SYSTEM, *CALLING]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("tool_call_id: c00000001", "tool_call_id: other"), "which is no open call"),
        (("arguments: {item: wool socks, size: 27}", "arguments: [1]"), "arguments"),
        (("tool_call_id: c00000001, ", ""), "`prompt\\[3\\].tool_call_id` is missing"),
        (('- {role: user, content: "do you have wool socks?"}\n', ""), "the roles of `prompt` are"),
        (("name: stock_of}", "nam: stock_of}"), "`prompt\\[3\\].nam` is not one of a message"),
    ],
)
def test_what_is_wrong_with_a_call_is_said_with_file_and_place(tmp_path, change, words):
    assert change[0] in YAML
    (tmp_path / "p.yml").write_text(YAML.replace(*change, 1))
    with pytest.raises(RowError, match=words) as caught:
        read_prompt(tmp_path / "p.yml")
    assert str(tmp_path / "p.yml") in caught.value.cause


def test_plain_lists_are_held_to_plain_turns(tmp_path):
    (tmp_path / "p.yml").write_text("- {role: user, content: a}\n- {role: user, content: b}")
    with pytest.raises(RowError, match="turn 2 is a user turn where assistant is expected"):
        read_prompt(tmp_path / "p.yml")
    (tmp_path / "p.yml").write_text("- {role: user, contents: a}")
    with pytest.raises(RowError, match=r"turn 1 is not \{role: text, content: text\}"):
        read_prompt(tmp_path / "p.yml")
