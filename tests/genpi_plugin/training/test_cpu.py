"""bfloat16 on processors that have no instructions for it."""

import runpy
from pathlib import Path

import pytest
import yaml

from genpi_plugin.training import cpu

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "recipes" / "genpi_demo.yml"
config_for = runpy.run_path(str(ROOT / "recipes" / "demo_config.py"))["config_for"]


@pytest.mark.parametrize(
    ("bf16", "computes", "said"),
    [(True, False, True), (True, True, False), (False, False, False), (None, False, False)],
)
def test_bfloat16_that_takes_long_is_said(monkeypatch, bf16, computes, said):
    monkeypatch.setattr(cpu, "computes_bfloat16", lambda: computes)
    words = cpu.slow_bfloat16({"bf16": bf16})
    assert bool(words) is said
    assert not said or "`bf16: false`" in words


def test_what_this_machine_computes_is_asked_of_torch():
    import torch

    expected = torch.accelerator.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert cpu.computes_bfloat16() is bool(expected)


@pytest.mark.parametrize(
    ("instructions", "seconds", "gains"),
    [(True, 0.3, True), (True, 0.6, True), (True, 0.9, False), (True, 3.0, False),
     (False, 0.3, False)],
)  # fmt: skip
def test_bfloat16_gains_where_a_layer_takes_clearly_less(monkeypatch, instructions, seconds, gains):
    import torch

    times = {torch.float32: 1.0, torch.bfloat16: seconds}
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(cpu, "computes_bfloat16", lambda: instructions)
    monkeypatch.setattr(cpu, "layer_seconds", times.__getitem__)
    assert cpu.gains_by_bfloat16.__wrapped__() is gains


def test_a_layer_is_timed_forward_and_backward(monkeypatch):
    import torch

    backward, done = torch.Tensor.backward, []

    def counted(loss, *rest):
        backward(loss, *rest)
        done.append(loss.dtype)

    monkeypatch.setattr(torch.Tensor, "backward", counted)
    for dtype in (torch.float32, torch.bfloat16):
        assert cpu.layer_seconds(dtype) > 0
        assert done == [dtype] * cpu.REPEATS
        done.clear()


def test_the_demo_differs_in_nothing_but_the_type(tmp_path):
    assert config_for(DEMO, tmp_path / "no", bfloat16=True) == DEMO
    copy = config_for(DEMO, tmp_path / "deep" / "copy.yml", bfloat16=False)
    assert not (tmp_path / "no").exists()
    recipe, other = (yaml.safe_load(path.read_text()) for path in (DEMO, copy))
    assert recipe.pop("bf16") is True
    assert other.pop("bf16") is False
    assert other == recipe
