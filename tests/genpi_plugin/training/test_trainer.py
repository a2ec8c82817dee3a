"""The real trainer on a tiny model: one trajectory, however the batch is cut up."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import make_pairs
from genpi_plugin.data.rows import parse
from genpi_plugin.training.collator import GenPICollator
from tests.genpi_plugin.rows_made import our_row, paper
from tests.genpi_plugin.training.test_loss import official_loss
from tests.tiny import make_model, make_tokenizer

ROWS = 8
STEPS = 10


def pairs(settings: GenPISettings):
    view = ChatView(make_tokenizer())
    rows = [
        parse(our_row(turns=1 + i % 3, id=f"r{i}", input="I need a shirt " * (1 + i)), "w")
        for i in range(ROWS)
    ]
    return make_pairs(rows, view, settings)


def student():
    model = make_model()
    torch.manual_seed(1)
    return get_peft_model(
        model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0)
    )


def trainer(
    tmp_path, settings, batch=1, accumulation=ROWS, layout="padded", steps=STEPS, made=None,
    teacher=None,
):  # fmt: skip
    # Imported here: axolotl takes its time, and most tests do without it.
    from axolotl.core.training_args import AxolotlTrainingArguments

    from genpi_plugin.training.trainer import GenPITrainer

    data = Dataset.from_list([pair.columns() for pair in made or pairs(settings)])
    built = GenPITrainer(
        model=student(),
        args=AxolotlTrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=batch,
            per_device_eval_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            max_steps=steps,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            use_cpu=True,
            report_to=[],
            logging_steps=1,
            save_strategy="no",
            max_grad_norm=0.0,
        ),
        train_dataset=data,
        eval_dataset=data,
        data_collator=GenPICollator(None),
        eval_data_collator=GenPICollator(None),
    )
    built.genpi = settings
    built.layout = layout
    if teacher is not None:
        built.distill_from(teacher)
    return built


def trajectory(made):
    made.train()
    losses = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
    weights = torch.cat([p.detach().flatten() for p in made.model.parameters() if p.requires_grad])
    return losses, weights


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Plain torch: the official formula over all rows, AdamW, ten steps."""
    settings = paper()
    model = student()
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0
    )
    losses = []
    for _ in range(STEPS):
        loss = official_loss(model, pairs(settings), settings.label_weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    weights = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    return losses, weights


@pytest.mark.parametrize(
    ("batch", "accumulation", "layout"),
    [
        (1, 8, "bucketed"),
        (8, 1, "bucketed"),
        (4, 2, "bucketed"),
        (4, 2, "padded"),
        (4, 2, "packed"),
        (8, 1, "packed"),
    ],
)
def test_every_cut_of_the_batch_is_the_official_step(
    tmp_path, reference, batch, accumulation, layout
):
    losses, weights = trajectory(trainer(tmp_path, paper(), batch, accumulation, layout))
    assert losses == pytest.approx(reference[0], rel=1e-5)
    torch.testing.assert_close(weights, reference[1], rtol=1e-4, atol=2e-6)


def test_a_step_in_which_some_micro_batches_lack_a_half(tmp_path):
    settings = paper(prompt_generation_share=0.25)
    one = trajectory(trainer(tmp_path / "a", settings, 1, 8))
    other = trajectory(trainer(tmp_path / "b", settings, 8, 1))
    assert one[0] == pytest.approx(other[0], rel=1e-5)


def recital_losses(made):
    """What the recitals add to the logged loss of each step, and what is said of them."""
    made.args.learning_rate = 0.0
    made.train()
    steps = [entry for entry in made.state.log_history if "loss" in entry]
    added = [step["loss"] - made.genpi.label_weight * step["behaviour_loss"] for step in steps]
    return added, steps


def test_a_recital_weighs_the_same_however_many_rows_a_step_has(tmp_path):
    """Two of eight rows recite. Over the epoch their loss weighs 1 - w times its mean."""
    settings = paper(prompt_generation_share=0.25, sft_weight=0.7)
    view = ChatView(make_tokenizer())
    alike = [parse(our_row(id=f"r{place}"), "w") for place in range(ROWS)]
    made = make_pairs(alike, view, settings)
    assert sum(bool(pair.prompt_generation) for pair in made) == 2
    one, steps = recital_losses(trainer(tmp_path / "a", settings, 1, 1, steps=ROWS, made=made))
    whole, [step] = recital_losses(trainer(tmp_path / "b", settings, 8, 1, steps=1, made=made))
    expected = 0.3 * step["prompt_generation_loss"]
    assert whole == pytest.approx([expected], rel=1e-3)
    assert sum(one) / ROWS == pytest.approx(expected, rel=1e-3)
    # A step without a recital has no loss of one, which is not a loss of 0.
    said = [("prompt_generation_loss" in step, step["prompt_generation_tokens"]) for step in steps]
    assert sorted(loss for loss, _ in said) == [False] * 6 + [True] * 2
    assert all(loss == (tokens > 0) for loss, tokens in said)


def test_the_last_short_step_of_an_epoch_weighs_its_own_tokens(tmp_path):
    """Six rows a step and two left over, two epochs, however the six are cut up."""
    one = trajectory(trainer(tmp_path / "a", paper(), 3, 2, "bucketed", steps=4))
    other = trajectory(trainer(tmp_path / "b", paper(), 1, 6, "bucketed", steps=4))
    assert len(one[0]) == 4
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    torch.testing.assert_close(one[1], other[1], rtol=1e-4, atol=2e-6)


def test_train_and_eval_report_both_halves_and_their_tokens(tmp_path):
    settings = paper(sft_weight=0.3)
    made = trainer(tmp_path, settings, batch=2, accumulation=4, steps=1)
    before = made.evaluate()
    made.train()
    [logged] = [entry for entry in made.state.log_history if "loss" in entry]
    expected = {"behaviour": 0, "prompt_generation": 0}
    for pair in pairs(settings):
        for half in expected:
            expected[half] += sum(
                label != -100 for sequence in getattr(pair, half) for label in sequence.labels
            )
    for half, tokens in expected.items():
        assert logged[f"{half}_tokens"] == tokens
        assert before[f"eval_{half}_tokens"] == tokens
        # The first step's loss is that of the untrained student: evaluation saw the same.
        assert logged[f"{half}_loss"] == pytest.approx(before[f"eval_{half}_loss"], rel=1e-4)
    joint = 0.3 * logged["behaviour_loss"] + 0.7 * logged["prompt_generation_loss"]
    assert logged["loss"] == pytest.approx(joint, rel=1e-4)
    assert before["eval_loss"] == pytest.approx(joint, rel=1e-4)


def test_behaviour_only_reports_no_other_half(tmp_path):
    made = trainer(tmp_path, paper(sft_weight=1.0), steps=1)
    made.train()
    [logged] = [entry for entry in made.state.log_history if "loss" in entry]
    assert "behaviour_loss" in logged
    assert not [key for key in logged if key.startswith("prompt_generation")]


@pytest.mark.parametrize("rows", [1, 7])
def test_packing_leaves_no_row_out(tmp_path, rows):
    """axolotl drops a batch of fewer bins than `micro_batch_size`, all there is of a few rows."""
    settings = paper()
    made = trainer(tmp_path, settings, batch=4, layout="packed", made=pairs(settings)[:rows])
    made.args.sample_packing = made.args.multipack_real_batches = True
    made.args.max_seq_length, made.args.dataset_num_proc = 1024, 1
    for sampler in (made._get_train_sampler(), made._get_eval_sampler(made.eval_dataset)):
        assert sorted(row for bins in sampler for bin in bins for row in bin) == list(range(rows))


def test_an_epoch_without_a_batch_is_refused(tmp_path):
    """transformers would train nothing, and axolotl save the adapter and exit with 0."""
    settings = paper()
    made = trainer(tmp_path, settings, batch=4, made=pairs(settings)[:3])
    made.args.dataloader_drop_last = True
    with pytest.raises(SystemExit, match=r"3 rows do not fill one batch of `micro_batch_size: 4`"):
        made.train()
