"""Learning from the distributions that rows hold, against the same teacher asked in process."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import make_pairs
from genpi_plugin.data.row_targets import NOTHING, TARGETS
from genpi_plugin.data.rows import parse
from genpi_plugin.teacher.targets import Targets
from genpi_plugin.training.collator import GenPICollator
from genpi_plugin.training.loss import token_loss_sums
from genpi_plugin.training.padding import pad_to_multiple
from genpi_plugin.training.told import told
from tests.genpi_plugin.rows_made import PROMPT, our_row
from tests.genpi_plugin.teacher.test_teacher import new_teacher
from tests.genpi_plugin.told_made import told_row
from tests.genpi_plugin.training.test_trainer import trainer, trajectory
from tests.tiny import make_model, make_tokenizer

WHOLE = {"sft_weight": 0.7, "distill_weight": 0.5, "distill_top_k": None,
         "prompt_generation_share": 1.0}  # fmt: skip
ROWS = 8
STEPS = 5
SIZES = {"equal": 20, "several": [20, 5, 128, 20, 1, 511, 512, 20]}


def raws(top_k=None):
    """Rows of two prompts with one to three answers; `top_k` of each, a number or a list."""
    view, model = ChatView(make_tokenizer()), make_model()
    sizes = top_k if isinstance(top_k, list) else [top_k] * ROWS
    return [
        told_row(
            our_row(
                turns=1 + i % 3, id=f"r{i}", input="I need a shirt " * (1 + i),
                prompt=PROMPT[:1] if i % 4 == 0 else PROMPT, prompt_id=f"p{i % 4 == 0}",
            ),
            view, model, sizes[i],
        )
        for i in range(ROWS)
    ]  # fmt: skip


def pairs(rows, settings):
    """The model has 512 tokens, some more than its tokenizer, as many models have."""
    view = ChatView(make_tokenizer())
    return make_pairs([parse(row, "w") for row in rows], view, settings, vocabulary=512)


def from_rows(**changes):
    return GenPISettings(**{**WHOLE, "distill_from": "rows", **changes})


def run(tmp_path, rows, settings, *cut, **more):
    made = pairs(rows, settings)
    return trajectory(trainer(tmp_path, settings, *cut, made=made, **more))


@pytest.fixture(scope="module")
def whole():
    return raws()


@pytest.mark.parametrize("top_k", [None, 20])
def test_from_rows_is_from_the_model_in_process_within_float16(tmp_path, whole, top_k):
    """The whole vocabulary in the rows, cut or not to what the teacher in process keeps."""
    settings = GenPISettings(**{**WHOLE, "distill_top_k": top_k, "distill_from": "model"})
    teacher = new_teacher(tmp_path)
    teacher.top_k = top_k
    expected = run(tmp_path / "a", whole, settings, 8, 1, teacher=teacher, steps=STEPS)
    found = run(tmp_path / "b", whole, from_rows(distill_top_k=top_k), 8, 1, steps=STEPS)
    assert found[0] == pytest.approx(expected[0], rel=2e-3)
    assert (found[1] - expected[1]).abs().max() < 5e-3
    # What is compared is no matter of rounding: without the teacher's words it is elsewhere.
    if top_k:
        plain = GenPISettings(**{**WHOLE, "distill_weight": 0.0})
        alone = run(tmp_path / "c", whole, plain, 8, 1, steps=STEPS)
        assert (alone[1] - expected[1]).abs().max() > 2e-2


def test_targets_of_rows_are_those_of_the_model_within_float16(tmp_path, whole):
    from tests.genpi_plugin.teacher.test_teacher import Alone, teacher_of, with_random_adapter

    in_process = GenPISettings(**WHOLE)
    made = pairs(whole, in_process)
    teacher = teacher_of(tmp_path, made)
    teacher.prepare(with_random_adapter(), Alone())
    keys = [pair.columns()["genpi_teacher_key"] for pair in made]
    expected = teacher.targets(keys, torch.device("cpu"))
    batch = GenPICollator(None)([pair.columns() for pair in pairs(whole, from_rows())])
    found = told(batch)
    assert batch["genpi_teacher_key"] == []

    def dense(targets):
        empty = torch.full((len(targets.tail), 512), -torch.inf)
        probabilities = empty.scatter(-1, targets.token_ids.long(), targets.logprobs).exp()
        # The one token that a row does not name has the tail.
        return torch.where(
            (probabilities == 0).cumsum(-1).eq(1) & (probabilities == 0),
            targets.tail.exp()[:, None], probabilities,
        )  # fmt: skip

    torch.testing.assert_close(dense(found), dense(expected), rtol=6e-3, atol=1e-6)


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
    """Rows that name 20 tokens each, and several numbers of them; and their steps in one piece."""
    folder, found = tmp_path_factory.mktemp("uncut"), {}
    for name, sizes in SIZES.items():
        rows = raws(sizes)
        found[name] = rows, run(folder, rows, from_rows(), 8, 1, "bucketed", steps=3)
    return found


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(
    ("batch", "accumulation", "layout"), [(1, 8, "padded"), (4, 2, "packed"), (3, 3, "bucketed")]
)
def test_every_cut_of_a_batch_of_told_rows_is_one_step(
    tmp_path, uncut, sizes, batch, accumulation, layout
):
    rows, one = uncut[sizes]
    other = run(tmp_path, rows, from_rows(), batch, accumulation, layout, steps=3)
    assert other[0] == pytest.approx(one[0], rel=1e-5)
    # Adam divides a gradient near 0 by its own size: rounding in it may be seen in single weights.
    torch.testing.assert_close(other[1], one[1], rtol=1e-4, atol=1e-5)


def test_training_and_evaluation_report_one_divergence(tmp_path, whole):
    settings = from_rows(distill_top_k=20)
    made = trainer(tmp_path, settings, 2, 4, steps=1, made=pairs(whole, settings))
    before = made.evaluate()
    made.train()
    [logged] = [entry for entry in made.state.log_history if "loss" in entry]
    assert logged["divergence"] > 0.1
    assert logged["divergence"] == pytest.approx(before["eval_divergence"], rel=1e-4)
    joint = 0.7 * logged["behaviour_loss"] + 0.3 * logged["prompt_generation_loss"]
    assert logged["loss"] == pytest.approx(joint + 0.5 * logged["divergence"], rel=1e-4)


def test_answers_without_distributions_add_no_divergence_and_move_no_other(tmp_path):
    """Rows with two answers, the second told: the divergence is that of those answers alone."""
    rows = [row for row in raws(20) if len(row["token_ids"]) == 2]
    partly = [
        {**row, **{name: [None, row[name][1]] for name in ("top_ids", "top_logprobs")}}
        for row in rows
    ]
    sums = []
    for each in (rows, partly):
        batch = GenPICollator(None)([pair.columns() for pair in pairs(each, from_rows())])
        targets = told(batch)
        torch.manual_seed(0)
        logits = torch.randn(len(targets.tail), 512, requires_grad=True)
        divergence = token_loss_sums(logits, torch.zeros(len(logits)).long(), targets)[1]
        divergence.backward()
        sums.append((divergence, logits.grad, targets))
    (_, whole_grad, _), (part, part_grad, targets) = sums
    untold = targets.tail == NOTHING
    assert 0 < untold.sum() < len(untold)
    assert not part_grad[untold].any()
    torch.testing.assert_close(part_grad[~untold], whole_grad[~untold])
    only = Targets(targets.token_ids[~untold], targets.logprobs[~untold], targets.tail[~untold])
    torch.manual_seed(0)
    logits = torch.randn(len(untold), 512)[~untold]
    alone = token_loss_sums(logits, torch.zeros(len(logits)).long(), only)[1]
    torch.testing.assert_close(part.detach(), alone)


def test_rows_that_fill_up_an_evaluation_have_no_targets(whole):
    data = Dataset.from_list([pair.columns() for pair in pairs(whole[:3], from_rows())])
    padded = pad_to_multiple(data, 4)
    assert len(padded) == 4
    collate = GenPICollator(None)
    for rows in ([0, 1, 2, 3], [3, 0, 1, 2]):
        batch = collate([padded[row] for row in rows])
        plain = collate([data[row] for row in rows if row < 3])
        for name in TARGETS:
            assert torch.equal(batch[name], plain[name])


def test_all_weights_can_learn_from_rows(tmp_path, whole):
    """Without an adapter there is nothing to switch off, and no teacher but the rows'."""
    settings = from_rows(sft_weight=0, prompt_generation_share=0, distill_weight=1)
    made = trainer(tmp_path, settings, 8, 1, steps=10, made=pairs(whole, settings))
    made.model = made.model_wrapped = make_model().train()
    made.train()
    steps = [entry["divergence"] for entry in made.state.log_history if "loss" in entry]
    assert steps[-1] < 0.5 * steps[0]
