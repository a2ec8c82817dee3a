"""The joint loss against the official formula in plain two-pass torch, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from genpi_plugin.args import GenPISettings
from genpi_plugin.chat import ChatView
from genpi_plugin.collator import TOKENS, GenPICollator
from genpi_plugin.examples import BEHAVIOUR_SEQUENCES, LENGTHS, make_pair
from genpi_plugin.layout import make_call
from genpi_plugin.loss import LossSums, TokenCounts, cross_entropy_sum, joint_loss
from genpi_plugin.rows import parse
from tests.tiny import make_model, make_tokenizer

from .rows_made import our_row


def official_loss(model, pairs, ratio: float) -> torch.Tensor:
    """kaistAI/GenPI, finetune.py: two padded passes, all logits, mean CE each, weighed."""

    def stage(halves) -> torch.Tensor:
        sequences = [sequence for half in halves for sequence in half]
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad([torch.tensor(s.ids) for s in sequences], batch_first=True, padding_value=0)
        labels = pad(
            [torch.tensor(s.labels) for s in sequences], batch_first=True, padding_value=-100
        )
        mask = pad([torch.ones(len(s.ids)) for s in sequences], batch_first=True)
        logits = model(input_ids=ids, attention_mask=mask).logits
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    stage1 = stage([pair.prompt_generation for pair in pairs])
    stage2 = stage([pair.behaviour for pair in pairs])
    return (1 - ratio) * stage1 + ratio * stage2


def pairs_of(count: int = 3, **settings):
    view = ChatView(make_tokenizer())
    rows = [
        parse(our_row(turns=1 + i, id=f"r{i}", input="I need a shirt " * (1 + 3 * i)), "w")
        for i in range(count)
    ]
    return [make_pair(row, i, view, GenPISettings(**settings)) for i, row in enumerate(rows)]


def our_loss(model, pairs, weight: float, layout: str) -> torch.Tensor:
    batch = GenPICollator(None)([pair.columns() for pair in pairs])
    ids, labels, lengths = batch["input_ids"][0], batch["labels"][0], batch[LENGTHS]
    count = batch[BEHAVIOUR_SEQUENCES]
    cut = sum(lengths[:count])
    sums = []
    for part in ((ids[:cut], labels[:cut], lengths[:count]),
                 (ids[cut:], labels[cut:], lengths[count:])):  # fmt: skip
        call = make_call(*part, layout)
        sums.append(cross_entropy_sum(call.run(model), call.targets))
    return joint_loss(LossSums(*sums), TokenCounts(*batch[TOKENS]), weight)


@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.7, 1.0])
def test_loss_and_gradients_are_the_official_ones(layout, weight):
    pairs = pairs_of()
    model = make_model()
    reference = official_loss(model, pairs, weight)
    reference.backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    loss = our_loss(model, pairs, weight, layout)
    loss.backward()
    assert loss.item() == pytest.approx(reference.item(), rel=1e-6)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_packed_sequences_do_not_see_each_other():
    """Changing one sequence's tokens leaves the other's logits as they are, to the last bit."""
    model = make_model()
    ids = torch.arange(20, 60)
    labels = ids.clone()
    labels[[0, 20]] = -100
    changed = ids.clone()
    changed[:20] += 100
    calls = [make_call(x, labels, [20, 20], "packed") for x in (ids, changed)]
    with torch.no_grad():
        one, other = (call.run(model)[0] for call in calls)
    assert not torch.equal(one[:19], other[:19])
    torch.testing.assert_close(one[19:], other[19:], rtol=0, atol=1e-6)


def test_no_logits_are_computed_where_there_is_no_loss():
    labels = torch.tensor([-100, -100, 7, 8, -100, -100, 9])
    call = make_call(torch.arange(7), labels, [7], "padded")
    assert call.positions.tolist() == [1, 2, 5]
    assert call.targets.tolist() == [[7, 8, 9]]


def test_a_sequence_never_predicts_the_first_token_of_the_next():
    labels = torch.tensor([-100, 5, -100, 6])
    call = make_call(torch.arange(4), labels, [2, 2], "packed")
    assert call.positions.tolist() == [0, 2]
    assert call.position_ids.tolist() == [[0, 1, 0, 1]]


def test_two_tokens_by_hand():
    logits = torch.log(torch.tensor([[[0.25, 0.75], [0.5, 0.5]]]))
    total = cross_entropy_sum(logits, torch.tensor([[1, 0]]))
    assert total.item() == pytest.approx(-math.log(0.75) - math.log(0.5))
    loss = joint_loss(LossSums(total, 3 * total), TokenCounts(2, 6), 0.7)
    assert loss.item() == pytest.approx(total.item() / 2)


def test_masked_positions_change_nothing_and_get_no_gradient():
    logits = torch.randn(1, 4, 9, requires_grad=True)
    targets = torch.tensor([[3, -100, 5, -100]])
    total = cross_entropy_sum(logits, targets)
    total.backward()
    assert torch.all(logits.grad[0, [1, 3]] == 0)
    assert torch.all(logits.grad[0, [0, 2]] != 0)
    corrupted = logits.detach().clone()
    corrupted[0, [1, 3]] = float("nan")
    assert cross_entropy_sum(corrupted, targets).item() == total.item()


def test_a_half_without_tokens_brings_nothing():
    loss = joint_loss(LossSums(torch.tensor(6.0), torch.tensor(0.0)), TokenCounts(3, 0), 0.7)
    assert loss.item() == pytest.approx(1.4)


def test_the_collators_worked_example():
    first = {"input_ids": [1, 2, 3, 11, 12, 13, 14], "labels": [-100, -100, 3, -100, -100, 13, 14],
             LENGTHS: [3, 4], BEHAVIOUR_SEQUENCES: [1]}  # fmt: skip
    second = {"input_ids": [4, 5], "labels": [-100, 5], LENGTHS: [2], BEHAVIOUR_SEQUENCES: [1]}
    expected = {
        "input_ids": [[1, 2, 3, 4, 5, 11, 12, 13, 14]],
        "labels": [[-100, -100, 3, -100, 5, -100, -100, 13, 14]],
    }
    for features in ([first, second], [[first, second]], [[first], [second]]):
        batch = GenPICollator(None)(features)
        assert {key: batch[key].tolist() for key in expected} == expected
        assert batch[LENGTHS] == [3, 2, 4]
        assert batch[BEHAVIOUR_SEQUENCES] == 2
        assert batch[TOKENS] == [2, 2]
