"""Halves that share the model's calls: each keeps the sums it has by itself."""

from __future__ import annotations

import pytest
import torch

from genpi_plugin.data.chat import IGNORE_INDEX
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.layout import SMALL_CALL
from genpi_plugin.teacher.targets import Targets
from genpi_plugin.training.halves import Half, half_sums
from tests.tiny import make_model

LENGTHS = {"behaviour": [30, 21], "prompt_generation": [SMALL_CALL], "keep": [25], "none": []}


def half(lengths, taught):
    ids = torch.randint(0, 512, (sum(lengths),))
    labels = ids.clone()
    start = 0
    for length in lengths:
        labels[start : start + length // 2] = IGNORE_INDEX
        start += length
    count = int((labels != IGNORE_INDEX).sum())
    teacher = Targets.of(torch.randn(count, 512), 8) if taught else None
    return Half(ids, labels, lengths, teacher)


@pytest.fixture
def model():
    return make_model(512)


@pytest.fixture
def halves():
    torch.manual_seed(1)
    return {name: half(lengths, name != "prompt_generation") for name, lengths in LENGTHS.items()}


def counted(model, halves, layout):
    """Sums by half, and the shapes of the model's calls."""
    head, shapes = SupervisedHead(model), []

    def note(_, arguments, keywords):
        shapes.append(tuple(keywords["input_ids"].shape))

    hook = model.model.register_forward_pre_hook(note, with_kwargs=True)
    found = half_sums(head, model, model, halves, layout, "padded")
    hook.remove()
    return found, shapes


@pytest.mark.parametrize(
    ("layout", "calls"),
    [
        ("bucketed", [(1, SMALL_CALL), (3, 30)]),
        ("packed", [(1, SMALL_CALL + 76)]),
        ("padded", [(2, 30), (1, SMALL_CALL), (1, 25), (1, 1)]),
    ],
)
def test_each_half_has_its_own_sums_whatever_it_shares_calls_with(model, halves, layout, calls):
    found, shapes = counted(model, halves, layout)
    assert shapes == calls
    assert float(found["none"].cross_entropy) == 0
    for name, one in halves.items():
        alone, _ = counted(model, {name: one}, layout)
        assert float(alone[name].cross_entropy) == pytest.approx(
            float(found[name].cross_entropy), rel=1e-5
        )
        assert float(alone[name].divergence) == pytest.approx(
            float(found[name].divergence), rel=1e-5
        )
        taught = one.teacher is not None and bool(one.lengths)
        assert (float(found[name].divergence) > 0) == taught


def test_the_gradients_are_those_of_each_half_alone(model, halves):
    def gradients(groups):
        model.zero_grad()
        for group in groups:
            found, _ = counted(model, group, "bucketed")
            sum(one.cross_entropy + one.divergence for one in found.values()).backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    shared = gradients([halves])
    alone = gradients([{name: one} for name, one in halves.items()])
    for one, other in zip(shared, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
