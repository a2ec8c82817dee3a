"""What synthesis and training took, from the files they leave."""

from __future__ import annotations

import contextlib
import json
import sqlite3

from genpi_plugin.evaluation.sections.cost.flops import (
    shape_of,
)
from genpi_plugin.evaluation.sections.cost.upfront import synthesis_cost, training_cost
from tests.tiny import make_model


def test_what_synthesis_took_is_read_from_its_folder(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"seconds": 70.5, "runs": 2}))
    (tmp_path / "synth.yaml").write_text("target: {model: base}\ngenerator: {model: base}\n")
    with contextlib.closing(sqlite3.connect(tmp_path / "store.sqlite")) as db:
        db.execute("CREATE TABLE answers (key, answer)")
        for key, lengths in enumerate([(100, 3), (50, 1)]):
            counts = {"prompt_tokens": lengths[0], "completion_tokens": lengths[1]}
            db.execute("INSERT INTO answers VALUES (?, ?)", (key, json.dumps(counts)))
        db.commit()
    shape = shape_of(make_model())
    spent = synthesis_cost(tmp_path, "base", shape)
    assert spent.seconds == 70.5
    assert "2 run(s)" in spent.note
    by_hand = shape.flops(100) + shape.flops(1, 100) + shape.flops(1, 101) + shape.flops(50)
    assert spent.flops == by_hand

    other = synthesis_cost(tmp_path, "another", shape)
    assert other.flops is None
    assert "base is not the model evaluated" in other.note
    nothing = synthesis_cost(tmp_path / "gone", "base", shape)
    assert (nothing.seconds, nothing.flops) == (None, None)
    assert "run.json" in nothing.note
    (tmp_path / "run.json").write_text("torn")
    torn = synthesis_cost(tmp_path, "base", shape)
    assert torn.seconds is None
    assert "can't be read" in torn.note


def test_what_training_took_is_read_from_the_manifest(tmp_path):
    assert training_cost(tmp_path).seconds is None
    manifest = tmp_path / "genpi_manifest.json"
    manifest.write_text(json.dumps({"spent": {"seconds": 12.5, "flops": 3e12, "processes": 2}}))
    spent = training_cost(tmp_path)
    assert (spent.seconds, spent.flops) == (12.5, 3e12)
    assert "2 processes" in spent.note
