"""Clauses of the user's own."""

from __future__ import annotations

import pytest

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.sections.clauses.clause_file import read_clause_file, split_by_excerpts
from genpi_plugin.evaluation.sections.clauses.split import without
from tests.genpi_plugin.evaluation.sections.clauses.prompt_made import (
    PROMPT,
)


def test_marked_clauses_and_all_that_can_be_wrong_with_them(tmp_path):
    file = tmp_path / "clauses.yml"
    file.write_text("few: With few words.\nred:\n- a red shirt\n- search[red shirt]\n")
    parts = split_by_excerpts(PROMPT, read_clause_file(file))
    assert [(part.name, part.kind) for part in parts if part.kind != "frame"] == [
        ("few", "marked"), ("red", "marked")
    ]  # fmt: skip
    covered = sorted((s.message, s.start, s.end) for part in parts for s in part.spans)
    assert "".join(PROMPT[m]["content"][a:b] for m, a, b in covered) == "".join(
        message["content"] for message in PROMPT
    )
    red = next(part for part in parts if part.name == "red")
    assert without(PROMPT, red) == [PROMPT[0], *PROMPT[3:]]
    for excerpts, said in [
        ({"x": ["red"]}, "occurs 2 times"),
        ({"x": ["blue"]}, "occurs 0 times"),
        ({"x": ["Search first."], "y": ["first.\n   With"]}, "overlap"),
        ({"x": ["a red shirt"]}, "no longer alternate"),
    ]:
        with pytest.raises(GenPIError, match=said):
            split_by_excerpts(PROMPT, excerpts)
    for text, said in [("- a\n", "not a mapping"), ("a: [1]\n", "clause 'a'"), ("a: [\n", "YAML")]:
        file.write_text(text)
        with pytest.raises(GenPIError, match=said):
            read_clause_file(file)


def test_a_prompt_that_shows_calls_or_begins_with_the_developer_s_words_has_clauses_too():
    call = {"id": "a", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    prompt = [
        {"role": "developer", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "a red shirt"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "12 found"},
        {"role": "assistant", "content": "There are 12."},
        {"role": "user", "content": "Thanks."},
    ]
    parts = split_by_excerpts(prompt, {"brief": ["Be brief."], "last": ["Thanks."]})
    assert [part.name for part in parts if part.kind != "frame"] == ["brief", "last"]
    for text in ("a red shirt", "12 found"):
        with pytest.raises(GenPIError, match="no longer alternate: developer, "):
            split_by_excerpts(prompt, {"x": [text]})
    whole = {"all": ["Be brief.\n\nBe kind."]}
    assert [part.name for part in split_by_excerpts(prompt[:1], whole)] == ["all"]
