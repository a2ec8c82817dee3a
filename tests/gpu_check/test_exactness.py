"""The checks of loss and teacher hold on a CPU, and notice what they are there to notice."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu_check import exactness, made, memory, teaching
from benchmarks.gpu_check.checks import Machine, run_check
from genpi_plugin.reading import layout

CPU = Machine("cpu")
CHECKS = [*exactness.checks(CPU), *teaching.checks(CPU)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_passes_or_says_what_it_needs(check):
    line = run_check(check, "exactness", CPU)
    needs_gpu = any(word in check.name for word in ("bfloat16", "flex", "flash"))
    assert line.verdict == ("skipped" if needs_gpu else "passed"), line.why
    if not needs_gpu:
        # Rounding is far from what is allowed, which leaves a GPU's kernels room. Where a processor
        # has instructions for bfloat16, bitsandbytes multiplies in it.
        assert line.value < line.tolerance / (5 if "nf4" in check.name else 20)
        return
    assert line.why.endswith("needs a GPU")


def step(rows, targets, way="packed", dtype=torch.float32):
    return exactness.our_step(exactness.student(CPU, "sdpa", dtype), rows, targets, way, dtype)


def test_the_tolerance_for_bfloat16_is_above_its_rounding_and_below_a_fault(monkeypatch):
    rows, targets, right = exactness.reference_step(CPU)
    allowed = exactness.TOLERANCE[torch.bfloat16]
    rounding = exactness.compared(step(rows, targets, dtype=torch.bfloat16), right)
    assert allowed / 100 < rounding.value < allowed / 2

    def running_on(lengths, device):
        return torch.arange(sum(lengths), device=device)[None]

    monkeypatch.setattr(layout, "_positions", running_on)
    assert exactness.compared(step(rows, targets), right).value > 2 * allowed


def test_a_teacher_that_is_left_out_or_moved_is_noticed():
    rows, targets, right = exactness.reference_step(CPU)
    moved = targets.select(torch.arange(len(targets.tail)).roll(1))
    allowed = exactness.TOLERANCE[torch.bfloat16]
    assert exactness.compared(step(rows, moved), right).value > 2 * allowed


def test_a_teacher_with_its_adapter_on_is_noticed(monkeypatch):
    from genpi_plugin.teacher import teacher

    before = teacher.teaching
    monkeypatch.setattr(teacher, "teaching", lambda model, with_adapter: before(model, True))
    found = teaching.taught(CPU, torch.float32)
    assert found.value > 2 * teaching.NATS[torch.bfloat16]


def test_checkpointing_that_does_nothing_is_noticed(monkeypatch):
    monkeypatch.setattr(
        made.LlamaForCausalLM, "gradient_checkpointing_enable", lambda *args, **kwargs: None
    )
    with pytest.raises(RuntimeError, match=r"ran (\d+) times, and \1 times without"):
        exactness.checkpointed(CPU, reentrant=False)


@pytest.mark.parametrize("nf4", [False, True])
def test_a_model_made_layer_by_layer_learns(nf4):
    """What the peak of memory is measured of, at other shapes."""
    model = made.grown(made.TINY, "cpu", torch.float32, nf4)
    inside = model.get_base_model().model
    assert len(inside.layers) == made.TINY["num_hidden_layers"]
    kinds = {type(layer.mlp.up_proj.base_layer).__name__ for layer in inside.layers}
    assert kinds == {"Linear4bit" if nf4 else "Linear"}
    losses = memory.steps(model, torch.float32, tokens=64, count=3)
    assert losses[2] < losses[1] < losses[0]


def test_the_shape_of_eight_billion_parameters_has_as_many():
    with torch.device("meta"):
        model = made.LlamaForCausalLM(made.config_of(made.SHAPE_8B))
    assert sum(p.numel() for p in model.parameters()) == 8_030_261_248
