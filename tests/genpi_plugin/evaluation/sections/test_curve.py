"""Internalization over a run's checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.gate import parse_requirement, shortfalls
from genpi_plugin.evaluation.run import evaluate
from tests.genpi_plugin.evaluation.run_made import save_rows, settings


def test_a_curve_over_checkpoints_is_never_of_the_test_inputs(place):
    for step, name in ((2, "zeros"), (10, "a")):
        shutil.copytree(f"adapters/{name}", f"out/checkpoint-{step}")
    with pytest.raises(GenPIError, match="no validation split"):
        evaluate(settings(with_checkpoints=True))
    (place / "own.jsonl").write_text('{"input": "a blue shirt"}\n{"input": "socks"}\n')
    metrics = evaluate(settings(with_checkpoints=True, inputs_file=Path("own.jsonl")))
    zeros, trained = metrics["checkpoints"]
    assert (zeros["step"], trained["step"]) == (2, 10)
    assert zeros["internalization"]["value"] == 0.0
    assert trained["internalization"]["value"] != 0.0
    assert trained["valid"]["value"] is not None
    assert metrics["source"]["checkpoints_on"] == "data (test split)"
    assert not shortfalls([parse_requirement("checkpoints.2.internalization>=0")], metrics)
    save_rows(place, "validation", range(200, 203))
    try:
        metrics = evaluate(settings(with_checkpoints=True))
        assert metrics["source"]["checkpoints_on"] == "data (validation split)"
    finally:
        (place / "data" / "data" / "validation-00000-of-00001.parquet").unlink()
