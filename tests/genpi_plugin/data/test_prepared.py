"""Where prepared data is kept: whatever changes a token has a folder of its own."""

from __future__ import annotations

import pytest

from genpi_plugin.args import GenPISettings, parse_settings
from genpi_plugin.data.prepared import fingerprint, prepared_path
from tests.genpi_plugin.test_settings import DATASET


def test_whatever_changes_tokens_changes_the_fingerprint(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.jsonl").write_text("one")
    (tmp_path / "tokenizer.json").write_text("tok")
    cfg = {"datasets": [{**DATASET, "path": str(data)}], "base_model": str(tmp_path)}
    settings = GenPISettings().model_dump()
    prints = [fingerprint(cfg, settings)]
    assert fingerprint(cfg, settings) == prints[0]
    prints.append(fingerprint(cfg, {**settings, "student_prompt": "always"}))
    prints.append(fingerprint({**cfg, "chat_template": "llama3"}, settings))
    prints.append(fingerprint({**cfg, "sequence_len": 1}, settings))
    (data / "train.jsonl").write_text("two")
    prints.append(fingerprint(cfg, settings))
    (tmp_path / "tokenizer.json").write_text("other")
    prints.append(fingerprint(cfg, settings))
    assert len(set(prints)) == len(prints)
    assert fingerprint({**cfg, "learning_rate": 1}, settings) == prints[-1]


@pytest.mark.parametrize(
    "changes",
    [{"on_policy": {"epochs": 1}}, {"keep_weight": 1}, {"keep_inputs": "self"}, {"keep_rows": 1},
     {"keep_tokens": 8}, {"keep": "teacher"}],
)  # fmt: skip
def test_what_makes_no_token_leaves_the_fingerprint(tmp_path, changes):
    """But for a prompt that the folder holds, or does not: `keep: teacher`."""
    cfg = {"datasets": [DATASET], "base_model": str(tmp_path)}
    for before in ({}, {"keep_weight": 0.5, "keep": "teacher"}):
        old, new = (parse_settings(block).model_dump() for block in (before, before | changes))
        assert fingerprint(cfg, old) == fingerprint(cfg, new)
    keeps, to_teacher = ({"keep_weight": 0.5, "keep": keep} for keep in ("floor", "teacher"))
    noted, bare = (
        fingerprint(cfg, parse_settings(changes | block).model_dump())
        for block in (to_teacher, keeps)
    )
    assert noted != bare


def test_a_pasted_prepared_path_does_not_nest():
    first = prepared_path("last_run_prepared", "abc")
    assert prepared_path(first, "def") == "last_run_prepared/genpi-def"


@pytest.mark.parametrize("name", ["rows.parquet", "rows.ndjson", "rows.jsonl.gz", "a/rows.tsv"])
def test_a_change_in_any_data_file_of_a_folder_is_another_state(tmp_path, name):
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True)
    cfg = {"datasets": [{"path": str(tmp_path / "data")}], "base_model": str(tmp_path)}
    states = set()
    for content in ("one", "two"):
        path.write_text(content)
        states.add(fingerprint(cfg, {}))
    assert len(states) == 2
