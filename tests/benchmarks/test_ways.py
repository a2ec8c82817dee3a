"""The ways to learn: blocks that the plugin takes, and the table of what runs left."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import ways
from benchmarks.peers.contestants import Recipe, config
from genpi_plugin.args import parse_settings
from tests.benchmarks.test_points import interval


def save_run(folder, internalization, drift, seconds):
    """A run's files as its trainer and the evaluation leave them."""
    (folder / "report").mkdir(parents=True)
    line = {"adapter": "step-00030", "step": 30, "epoch": 2.0, "seconds": seconds,
            "cpu_seconds": 2 * seconds, "start_seconds": 9.0, "before_seconds": 40.0}  # fmt: skip
    (folder / "moments.jsonl").write_text(json.dumps(line) + "\n")
    student = {"internalization": interval(internalization), "kl_to_teacher": interval(0.2),
               "own_path": interval(0.7), "valid": interval(0.9)}  # fmt: skip
    metrics = {
        "systems": {
            "student": student,
            "teacher": {"valid": interval(0.92)},
            "floor": {"valid": interval(0.1), "kl_to_teacher": interval(1.5)},
        },
        "drift": {"kl_from_floor": interval(drift), "kl_from_teacher": interval(0.3), "advice": "x",
                  "teacher": {"kl_from_floor": interval(0.09)}, "floor": {}},
    }  # fmt: skip
    (folder / "report" / "metrics.json").write_text(json.dumps(metrics))


@pytest.mark.parametrize("name", ways.WAYS)
def test_the_block_of_each_way_is_one_that_the_plugin_takes(name, tmp_path):
    settings = parse_settings(dict(ways.contestant(name).settings))
    assert settings.distill_weight == 1.0
    assert settings.on_policy is None or ways.WAYS[name].further
    recipe = Recipe("model", "data", "chats", 8, 2048, epochs=2.0, learning_rate=3e-4)
    (tmp_path / "moments" / "step-00030").mkdir(parents=True)
    made = config(ways.contestant(name), ways.going_on(recipe, tmp_path), 0, tmp_path)
    assert made["lora_model_dir"] == str(tmp_path / "moments" / "step-00030")
    assert made["num_epochs"] == 1.0  # all of it on policy, where it is
    assert made["learning_rate"] == pytest.approx(1e-4)


def test_the_table_has_each_way_and_who_it_is_measured_against(tmp_path, monkeypatch, capsys):
    save_run(tmp_path / "runs" / "distill-seed0", 0.80, 0.15, 100.0)
    save_run(tmp_path / "runs" / "distill-seed1", 0.84, 0.17, 120.0)
    save_run(tmp_path / "runs" / "keep_floor-seed0", 0.81, 0.04, 150.0)
    given = ["ways", str(tmp_path), "held.jsonl", "--report", "-o", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", given)
    ways.main()
    lines = capsys.readouterr().out.splitlines()
    head, *cells = ([cell.strip() for cell in line.split("|")[1:-1]]
                    for line in lines if line.startswith("|") and "---" not in line)  # fmt: skip
    found = {line[0]: dict(zip(head, line, strict=True)) for line in cells}
    assert list(found) == ["distill", "keep_floor", "teacher", "floor"]
    # t(0.975, 1) * 0.02 = 0.254
    assert found["distill"]["internalization"] == "0.820 [0.566, 1.074]"
    assert [found["distill"][name] for name in ("before, s", "steps, s", "processor, s")] == [
        "40", "70", "220",
    ]  # fmt: skip
    drift = "drift from the floor, nats"
    assert found["keep_floor"][drift] == "0.040 [-0.060, 0.140]"
    assert (found["teacher"][drift], found["floor"][drift]) == ("0.090 [-0.010, 0.190]", "-")
    assert found["floor"]["well-formed"] == "10% [0%, 20%]"
    assert json.loads((tmp_path / "points.json").read_text())[0]["way"] == "distill"
