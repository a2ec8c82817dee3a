"""Held-out inputs from files."""

from __future__ import annotations

import pytest

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.subjects.inputs import read_inputs


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.jsonl", "", "holds no inputs"),
        ("bad.jsonl", '{"input": "a"}\n{"text": "b"}\n', "line 2: no `input`"),
        ("blank.jsonl", '{"input": " "}\n', "line 1: `input` is empty"),
    ],
)
def test_a_bad_input_file_is_refused(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(GenPIError, match=says):
        read_inputs(tmp_path / name)


def test_inputs_are_read_from_jsonl_and_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"input": "one\\ntwo", "more": 1}\n\n{"input": "three"}\n')
    (tmp_path / "a.txt").write_text("one\n\nthree\n")
    assert read_inputs(tmp_path / "a.jsonl") == ["one\ntwo", "three"]
    assert read_inputs(tmp_path / "a.txt") == ["one", "three"]
