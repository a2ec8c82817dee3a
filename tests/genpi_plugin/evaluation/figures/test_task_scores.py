"""Scores that a task defines: patterns, schemas, functions."""

from __future__ import annotations

import contextlib
import json

import pytest
import yaml

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures.task_scores import read_scores, scores_digest, task_scores


def test_patterns_schemas_and_functions_score_an_answer(tmp_path):
    schema = {"type": "object", "required": ["tool"], "properties": {"tool": {"enum": ["a", "b"]}}}
    (tmp_path / "call.json").write_text(json.dumps(schema))
    (tmp_path / "my_scores_here.py").write_text("def longer(a, t): return len(a) > len(t)\n")
    named = {
        "polite": {"pattern": r"(?i)thank\s+you"},
        "call": {"json_schema": "call.json"},
        "inline": {"json_schema": {"type": "array"}},
        "longer": {"python": "my_scores_here:longer"},
    }
    with contextlib.chdir(tmp_path):
        scores = task_scores(named, tmp_path)
    assert scores["polite"]("well, Thank  you.", "") == 1.0
    assert scores["polite"]("thanks", "") == 0.0
    assert scores["call"]('{"tool": "a"}', "") == 1.0
    assert scores["call"]('{"tool": "c"}', "") == 0.0
    assert scores["call"]("Sure: {}", "") == 0.0
    assert scores["inline"]("[1]", "") == 1.0
    assert (scores["longer"]("abc", "ab"), scores["longer"]("a", "ab")) == (1.0, 0.0)
    before = scores_digest(named, tmp_path)
    (tmp_path / "call.json").write_text(json.dumps({"type": "object"}))
    assert scores_digest(named, tmp_path) != before


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"exact": {"pattern": "a"}}, "can't be the name of a score"),
        ({"values": {"pattern": "a"}}, "can't be the name of a score"),
        ({"My score": {"pattern": "a"}}, "can't be the name of a score"),
        ({"a": {"regex": "a"}}, "write one of"),
        ({"a": "b"}, "write one of"),
        ({"a": {"pattern": "("}}, "not a regular expression"),
        ({"a": {"json_schema": "none.json"}}, "not a usable JSON schema"),
        ({"a": {"json_schema": {"type": "nothing"}}}, "not a usable JSON schema"),
        ({"a": {"python": "no_such_module_x:f"}}, "can't be imported"),
        ({"a": {"python": "json:no_such"}}, "can't be imported"),
        ({"a": {"python": "json"}}, "is not a function"),
    ],
)
def test_a_score_that_cant_be_used_is_refused(tmp_path, named, says):
    with pytest.raises(GenPIError, match=says):
        task_scores(named, tmp_path)


def test_a_function_that_gives_no_number_is_said():
    score = task_scores({"a": {"python": "os.path:join"}}, None)["a"]
    with pytest.raises(GenPIError, match="returned 'x/y'"):
        score("x", "y")


def test_scores_are_read_from_a_file_with_or_without_their_heading(tmp_path):
    named = {"a": {"pattern": "x"}}
    for content in (named, {"scores": named}):
        (tmp_path / "s.yml").write_text(yaml.safe_dump(content))
        assert read_scores(tmp_path / "s.yml") == named
    (tmp_path / "s.yml").write_text("[]")
    with pytest.raises(GenPIError, match="names no scores"):
        read_scores(tmp_path / "s.yml")
