"""Requests to keep in training, against plain torch: one trajectory, however a step is cut up."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import ChatView, TokenSequence
from genpi_plugin.data.rows import parse
from genpi_plugin.errors import GenPIError
from genpi_plugin.keeping.answers import Writer
from genpi_plugin.keeping.keeping import KEEP, Keeping, coming, places
from genpi_plugin.keeping.prompt import record_prompt, recorded_prompt
from genpi_plugin.keeping.requests import Asked, rendered
from genpi_plugin.teacher.targets import TargetStore
from genpi_plugin.teacher.teacher import Teacher
from tests.genpi_plugin.reading.test_generation import plainly_sampled
from tests.genpi_plugin.rows_made import our_row, paper
from tests.genpi_plugin.teacher.test_teacher import Alone, plain_logits, with_random_adapter
from tests.genpi_plugin.training.test_loss import official_loss
from tests.genpi_plugin.training.test_trainer import pairs, student, trainer, trajectory
from tests.tiny import make_tokenizer

TEXTS = ["Hi", "What is the time?", "Tell me a story about a shirt " * 3, "2 + 2", "Bye"]
WEIGHT, EACH, LIMIT, SEED, STEPS = 0.8, 3, 6, 7, 4
SETTINGS = paper(keep_weight=WEIGHT, keep_rows=EACH, keep_tokens=LIMIT)


def requests_of(tmp_path, keep):
    prompt = None
    if keep == "teacher":
        record_prompt(str(tmp_path), [parse(our_row(), "w")])
        prompt = recorded_prompt(str(tmp_path))
    asked = [Asked(text[:9], [{"role": "user", "content": text}]) for text in TEXTS]
    return rendered(asked, ChatView(make_tokenizer()), prompt)


def keeping_of(tmp_path, keep="floor", with_adapter=False, token_budget=400):
    requests = requests_of(tmp_path, keep)
    reference = Teacher(TargetStore(tmp_path / "targets"), None, 200, with_adapter)
    writer = Writer(tmp_path / "answers", range(2, 40), 0, SEED, with_adapter, 400)
    return Keeping(lambda *_: requests, writer, reference, EACH, LIMIT, SEED)


def kept_trainer(tmp_path, keep, batch, accumulation, layout, **more):
    made = trainer(tmp_path, SETTINGS, batch, accumulation, layout, **{"steps": STEPS, **more})
    made.keeping = keeping_of(tmp_path, keep)
    return made


def plain_rows(tmp_path, model, keep):
    """(student's, reference's) sequence of each request, with answers from plain forwards."""
    writer = keeping_of(tmp_path, keep).writer
    found = []
    for one in requests_of(tmp_path, keep):
        with model.disable_adapter():
            key = writer.key(one.reference, LIMIT)
            answer = plainly_sampled(model, one.reference, key, LIMIT, writer.end_ids)
        found.append(
            [
                TokenSequence([*ids, *answer], [*[-100] * len(ids), *answer])
                for ids in (one.student, one.reference)
            ]
        )
    return found


def plain_keep_loss(model, rows):
    """KL(reference||student), the mean over all the rows' answer tokens."""
    total, tokens = 0.0, 0
    for mine, its in rows:
        with torch.no_grad(), model.disable_adapter():
            truth = plain_logits(model, its).log_softmax(-1)
        own = plain_logits(model, mine).log_softmax(-1)
        total = total + F.kl_div(own, truth, log_target=True, reduction="sum")
        tokens += len(truth)
    return total / tokens


@pytest.fixture(scope="module", params=["floor", "teacher"])
def reference(request, tmp_path_factory):
    """Plain torch: the official formula and the divergence to be kept small, AdamW, four steps."""
    model = student()
    rows = plain_rows(tmp_path_factory.mktemp("plain"), model, request.param)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.0)
    losses, kept = [], []
    for step in range(STEPS):
        chosen = [rows[place] for place in places(step, EACH, len(rows), SEED)]
        kept.append(plain_keep_loss(model, chosen))
        loss = official_loss(model, pairs(SETTINGS), SETTINGS.label_weight) + WEIGHT * kept[-1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    flat = torch.cat([p.detach().flatten() for p in weights])
    return request.param, losses, flat, [one.item() for one in kept]


@pytest.mark.parametrize(
    ("batch", "accumulation", "layout", "at_once"),
    [(1, 8, "bucketed", 32), (4, 2, "packed", 1), (8, 1, "padded", 1)],
)
def test_every_cut_of_the_batch_is_the_plain_step(
    tmp_path, monkeypatch, reference, batch, accumulation, layout, at_once
):
    monkeypatch.setattr("genpi_plugin.keeping.keeping.AT_ONCE", at_once)
    keep, expected, weights, kept = reference
    made = kept_trainer(tmp_path, keep, batch, accumulation, layout)
    losses, found = trajectory(made)
    assert losses == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-4)
    logged = [one["keep_divergence"] for one in made.state.log_history if "loss" in one]
    assert logged == pytest.approx(kept, rel=1e-4, abs=1e-6)
    assert kept[-1] > 1e-4  # it has something to hold back
    assert not [key for key in made.evaluate() if "keep" in key]


def test_a_resumed_run_has_the_requests_of_an_uninterrupted_one(tmp_path):
    from transformers.trainer_utils import SaveStrategy

    whole = trajectory(kept_trainer(tmp_path / "whole", "floor", 2, 2, "padded", steps=6))
    for steps, resumed in ((3, None), (6, True)):
        made = kept_trainer(tmp_path / "cut", "floor", 2, 2, "padded", steps=steps)
        made.args.save_strategy, made.args.save_steps = SaveStrategy.STEPS, 3
        made.train(resume_from_checkpoint=resumed)
    weights = torch.cat([p.detach().flatten() for p in made.model.parameters() if p.requires_grad])
    assert torch.equal(weights, whole[1])


def test_all_requests_come_equally_often_by_seed_and_step_alone():
    walked = [places(step, 4, 10, 1) for step in range(25)]
    assert set(Counter(place for step in walked for place in step).values()) == {10}
    assert [places(step, 4, 10, 1) for step in range(25)] == walked
    assert [places(step, 4, 10, 2) for step in range(25)] != walked
    assert sorted(places(0, 10, 10, 1)) == sorted(places(3, 10, 10, 1)) == list(range(10))
    assert places(0, 10, 10, 1) != places(1, 10, 10, 1)
    assert sorted(places(5, 30, 10, 1)) == list(range(10))


@pytest.mark.parametrize(("processes", "batches"), [(1, 1), (1, 5), (2, 1), (2, 3), (3, 2)])
def test_processes_and_batches_share_a_step_between_them(tmp_path, processes, batches):
    keeping = keeping_of(tmp_path)
    keeping.prepare(with_random_adapter(), Alone())
    expected = [keeping.rows[place] for place in places(4, EACH, len(TEXTS), SEED)]
    keys, counts = [], []
    for process in range(processes):
        step = [{} for _ in range(batches)]
        total = keeping.add(step, 4, process, processes, "cpu")
        for batch in step:
            keys += batch[KEEP]["genpi_teacher_key"]
            counts.append(batch[KEEP]["tokens"])
            assert batch[KEEP]["input_ids"].shape == (sum(batch[KEEP]["genpi_lengths"]),)
        assert total == sum(row["genpi_supervised"][0] for row in expected)
    assert sorted(keys) == sorted(row["genpi_teacher_key"] for row in expected)
    assert sum(counts) == total


def test_nothing_is_written_twice_and_processes_write_the_same(tmp_path):
    class Part(Alone):
        num_processes = 2

        def __init__(self, index):
            self.process_index = index

    model = with_random_adapter().train()
    alone = keeping_of(tmp_path / "alone")
    alone.prepare(model, Alone())
    assert model.training
    with pytest.raises(GenPIError, match="2 of 5 answers to requests to keep are not in"):
        keeping_of(tmp_path / "two").prepare(model, Part(0))
    with pytest.raises(GenPIError, match="targets are not in"):
        keeping_of(tmp_path / "two").prepare(model, Part(1))
    two = keeping_of(tmp_path / "two")
    two.prepare(model, Part(0))
    assert two.rows == alone.rows
    assert two.facts == alone.facts == {"requests": 5, "digest": two.facts["digest"]}
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    keeping_of(tmp_path / "two").prepare(model, Alone())
    assert not calls


def test_the_start_answers_with_its_adapter_on_and_only_before_the_first_step(tmp_path):
    model = with_random_adapter()
    off, on = keeping_of(tmp_path / "off"), keeping_of(tmp_path / "on", with_adapter=True)
    off.prepare(model, Alone())
    on.prepare(model, Alone())
    assert [row["input_ids"] for row in on.rows.values()] != [
        row["input_ids"] for row in off.rows.values()
    ]
    keeping_of(tmp_path / "on", with_adapter=True).prepare(model, Alone(), step=3)
    late = keeping_of(tmp_path / "late", with_adapter=True)
    with pytest.raises(GenPIError, match=r"5 of 5 answers.*missing.*for 3 steps"):
        late.prepare(model, Alone(), step=3)


@pytest.mark.parametrize(("last", "answered"), [(1, 2), (2, 4), (3, 5), (90, 5)])
def test_a_run_has_answers_to_the_requests_of_its_steps_and_to_no_others(tmp_path, last, answered):
    model, whole = with_random_adapter(), keeping_of(tmp_path / "whole")
    whole.prepare(model, Alone())
    short = keeping_of(tmp_path / "short")
    short.keep_rows = 2
    short.prepare(model, Alone(), last=last)
    steps = {at for step in range(last) for at in places(step, 2, len(TEXTS), SEED)}
    assert set(short.rows) == steps
    assert len(list((tmp_path / "short").rglob("answers/*/*.json"))) == answered
    assert all(short.rows[at] == whole.rows[at] for at in steps)
    assert short.facts == whole.facts
    on = keeping_of(tmp_path / "on", with_adapter=True)
    on.prepare(model, Alone(), last=1)
    assert len(on.rows) == len(TEXTS)


def test_requests_are_answered_as_steps_come_to_them_and_as_if_all_at_once(tmp_path, monkeypatch):
    model, whole = with_random_adapter(), keeping_of(tmp_path / "whole")
    whole.prepare(model, Alone())
    monkeypatch.setattr("genpi_plugin.keeping.keeping.AT_ONCE", 2)
    bit = keeping_of(tmp_path / "bit")
    bit.keep_rows = 1
    answered = []
    for step in range(7):
        bit.prepare(model, Alone(), step)
        assert places(step, 1, len(TEXTS), SEED)[0] in bit.rows
        answered.append(len(bit.rows))
    assert answered == [2, 2, 4, 4, 5, 5, 5]
    assert bit.rows == whole.rows
    assert bit.facts == whole.facts
    keys = [row["genpi_teacher_key"] for row in whole.rows.values()]
    its, alone = bit.targets(keys, "cpu"), whole.targets(keys, "cpu")
    assert torch.equal(its.token_ids, alone.token_ids)
    torch.testing.assert_close(its.logprobs, alone.logprobs)
    on = keeping_of(tmp_path / "on", with_adapter=True)
    on.prepare(model, Alone())
    assert len(on.rows) == len(TEXTS)


def test_what_comes_next_is_not_answered_twice_and_a_step_never_in_part(monkeypatch):
    monkeypatch.setattr("genpi_plugin.keeping.keeping.AT_ONCE", 5)
    step = set(places(0, 8, 20, 1))
    assert coming(0, None, 8, 20, 1, ()) == sorted(step)
    answered = step | set(places(1, 8, 20, 1))
    # The third step goes through the last four, and then begins anew.
    assert answered & set(places(2, 8, 20, 1))
    assert coming(2, None, 8, 20, 1, answered) == sorted(set(range(20)) - answered)
    assert coming(0, None, 2, 20, 1, ()) == sorted(at for n in (0, 1) for at in places(n, 2, 20, 1))
    assert coming(0, 1, 2, 20, 1, ()) == sorted(places(0, 2, 20, 1))
    assert coming(9, None, 2, 20, 1, range(20)) == []


def test_no_weight_is_no_requests():
    assert not GenPISettings().keeps
    assert GenPISettings(keep_weight=0.1).keeps


@pytest.mark.parametrize(
    ("source", "given", "kept"), [("model", None, None), ("rows", None, 128), ("rows", 20, 20)]
)
def test_rows_that_hold_few_tokens_do_not_make_requests_hold_all(source, given, kept):
    chosen = GenPISettings(distill_weight=1, distill_from=source, distill_top_k=given)
    assert chosen.keep_top_k == kept
