"""Prompt files to compare with."""

from __future__ import annotations

import json

import pytest
import yaml

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.subjects.prompts import read_prompt, read_prompts


def test_a_prompt_file_is_text_a_transcript_or_messages(tmp_path):
    turns = [{"role": "user", "content": "Be brief."}, {"role": "assistant", "content": "Ok."}]
    (tmp_path / "a.md").write_text("\n<USER>: is no marker here\n")
    (tmp_path / "b.txt").write_text("<USER>:\nBe brief.\n\n<AGENT>:\nOk.\n<USER>:\n")
    (tmp_path / "c.yml").write_text(yaml.safe_dump(turns))
    (tmp_path / "d.json").write_text(json.dumps(turns))
    (tmp_path / "e.txt").write_text("Plain.\n")
    found = read_prompts([tmp_path / n for n in ("a.md", "b.txt", "c.yml", "d.json", "e.txt")],
                         "user", [])  # fmt: skip
    assert found["a"] == [{"role": "user", "content": "<USER>: is no marker here"}]
    assert found["b"] == found["c"] == found["d"] == turns
    assert read_prompt(tmp_path / "e.txt") == [{"role": "system", "content": "Plain."}]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.md", " \n", "is empty"),
        ("a.doc", "x", "is not a prompt file"),
        ("a.yml", "x: [", "can't be read"),
        ("a.json", '{"role": "user"}', "is not a list"),
        ("a.yml", "- {role: robot, content: x}", "role 'robot'"),
    ],
)
def test_a_prompt_file_that_cant_be_used_is_refused(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(GenPIError, match=says):
        read_prompt(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("wide.md", "Be brief.".encode("utf-16"), "iconv -f UTF-16"),
        ("latin.txt", "Sei höflich.".encode("latin-1"), "iconv -f LATIN1"),
        ("half.json", b'[{"role": "system", "content": "\\ud83d"}]', "half of a character"),
        ("half.yml", b'- {role: system, content: "\\ud83d"}', "half of a character"),
        ("twice.yml", b"- role: system\n  content: Be brief.\n  content: Be kind.\n",
         "line 3: the key `content` stands in line 2 already"),
        ("twice.json", b'[{"role": "system", "content": "a",\n "content": "b"}]',
         "line 2: the key"),
        ("deep.json", b"[" * 100_000, "can't be parsed"),
    ],
)  # fmt: skip
def test_a_prompt_that_no_dataset_could_hold_is_refused(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(GenPIError) as caught:
        read_prompt(tmp_path / name)
    assert says in str(caught.value)
    assert name in str(caught.value)
