"""Steps on the student's own answers, against plain torch: whole forward passes, no cache, all
logits, the functions of torch.nn.functional."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset

from genpi_plugin.args import GenPISettings, OnPolicySettings
from genpi_plugin.data.chat import IGNORE_INDEX, ChatView, TokenSequence
from genpi_plugin.data.examples import make_pairs
from tests.genpi_plugin.teacher.test_teacher import ALL, new_teacher, plain_logits, rows
from tests.genpi_plugin.training.test_trainer import student, trainer
from tests.tiny import make_tokenizer

ENDS = list(range(2, 512, 17))
STEPS = 3


def settings(share=1.0, refresh=2, divergence="forward", epochs=1e6, **changes):
    on_policy = OnPolicySettings(
        epochs=epochs, share=share, refresh=refresh, divergence=divergence, beta=0.3,
        temperature=1.0, max_new_tokens=10,
    )  # fmt: skip
    return GenPISettings(**{**ALL, "sft_weight": 0.6, **changes}, on_policy=on_policy)


def on_policy_trainer(tmp_path, chosen, template="chatml", model=None, **how):
    from genpi_plugin.on_policy.rollouts import Student
    from genpi_plugin.on_policy.store import RolloutStore
    from genpi_plugin.on_policy.windows import OnPolicy

    made = make_pairs(rows(), ChatView(make_tokenizer(template)), chosen)
    teacher = new_teacher(tmp_path)
    built = trainer(tmp_path, chosen, **{"steps": STEPS, **how}, made=made, teacher=teacher)
    if model is not None:
        built.model = built.model_wrapped = model
    answering = Student(chosen.on_policy, ENDS, 0, seed=5)
    store = RolloutStore(tmp_path / "answers")
    built.on_policy = OnPolicy(chosen.on_policy, teacher, answering, store)
    return built


def trained(built, resume=None):
    built.train(resume_from_checkpoint=resume)
    logged = [entry for entry in built.state.log_history if "loss" in entry]
    weights = torch.cat([p.detach().flatten() for p in built.model.parameters() if p.requires_grad])
    return logged, weights


def kept_answers(folder):
    """By step, the answers of all rows: {key: [ids, ...]}."""
    return {
        int(window.name.removeprefix("step-")): {
            path.stem: [one["ids"] for one in json.loads(path.read_text())]
            for path in window.glob("*/*.json")
        }
        for window in (folder / "answers").iterdir()
    }


def behind(request, answer):
    sequence = TokenSequence()
    sequence.extend(request, supervised=False)
    sequence.extend(answer, supervised=True)
    return sequence


def requests(row, view):
    """Of each turn, as a server would be asked: without the prompt and with it."""
    for turn, message in enumerate(row.conversation):
        if message["role"] == "assistant":
            history = row.conversation[:turn]
            yield (
                view.request_ids([*row.student_request, *history]),
                view.request_ids([*row.teacher_request, *history]),
            )


def plain_own(model, kind, row, view, answers, beta=0.3):
    """The divergence along a row's own answers, summed, and the number of their tokens."""
    total, tokens = 0.0, 0
    for (asked, with_prompt), answer in zip(requests(row, view), answers, strict=True):
        with torch.no_grad(), model.disable_adapter():
            truth = plain_logits(model, behind(with_prompt, answer)).log_softmax(-1)
        mine = plain_logits(model, behind(asked, answer)).log_softmax(-1)
        if kind == "forward":
            found = F.kl_div(mine, truth, log_target=True, reduction="sum")
        elif kind == "reverse":
            found = F.kl_div(truth, mine, log_target=True, reduction="sum")
        else:
            middle = (beta * truth.exp() + (1 - beta) * mine.exp()).log()
            found = beta * F.kl_div(middle, truth, log_target=True, reduction="sum")
            found = found + (1 - beta) * F.kl_div(middle, mine, log_target=True, reduction="sum")
        total, tokens = total + found, tokens + len(answer)
    return total, tokens


def plain_recitals(model, made):
    total, tokens = 0.0, 0
    for pair in made:
        for sequence in pair.prompt_generation:
            labels = torch.tensor([one for one in sequence.labels if one != IGNORE_INDEX])
            total = total + F.cross_entropy(plain_logits(model, sequence), labels, reduction="sum")
            tokens += len(labels)
    return total / tokens


@pytest.mark.parametrize(
    ("kind", "template", "batch", "layout"),
    [
        ("forward", "chatml", 4, "bucketed"),
        ("reverse", "thinking", 1, "packed"),
        ("jsd", "chatml", 8, "padded"),
    ],
)
def test_steps_on_own_answers_are_the_plain_ones(tmp_path, kind, template, batch, layout):
    chosen = settings(divergence=kind)
    built = on_policy_trainer(
        tmp_path, chosen, template, batch=batch, accumulation=8 // batch, layout=layout
    )
    logged, weights = trained(built)
    answers = kept_answers(tmp_path)
    # One step is an epoch, and the student answers anew in each.
    assert sorted(answers) == list(range(STEPS))
    view = ChatView(make_tokenizer(template))
    made = make_pairs(rows(), view, chosen)
    from genpi_plugin.on_policy.rows import rows_of

    keys = []
    for pair in made:
        batched = built.data_collator([pair.columns()])
        [row] = rows_of(batched, built.teacher)
        keys.append(row.key)
    model = student()
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0
    )
    for step in range(STEPS):
        total, tokens = 0.0, 0
        for row, key in zip(rows(), keys, strict=True):
            found = plain_own(model, kind, row, view, answers[step][key])
            total, tokens = total + found[0], tokens + found[1]
        # No cross entropy on own tokens; recitals as ever.
        loss = 0.4 * plain_recitals(model, made) + 0.5 * total / tokens
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        entry = logged[step]
        assert entry["loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert entry["own_divergence"] == pytest.approx(float(total.detach()) / tokens, rel=1e-4)
        assert entry["own_tokens"] == tokens
        given = [one for row in answers[step].values() for one in row]
        assert entry["own_length"] == pytest.approx(tokens / len(given))
        cut = sum(one[-1] not in ENDS for one in given) / len(given)
        assert entry["own_cut"] == pytest.approx(cut)
        assert 0 < cut < 1
        assert "behaviour_loss" not in entry
    expected = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("batch", "accumulation", "layout"), [(4, 1, "packed"), (2, 2, "bucketed"), (4, 1, "padded")]
)
def test_every_cut_of_the_batch_is_the_same_step_on_own_answers(
    tmp_path, batch, accumulation, layout
):
    """Windows of three steps over epochs of two, some rows on recorded answers, recitals of a
    quarter of the rows."""
    chosen = settings(share=0.5, refresh=3, prompt_generation_share=0.25)
    one = on_policy_trainer(tmp_path / "a", chosen, batch=1, accumulation=4, steps=6)
    other = on_policy_trainer(
        tmp_path / "b", chosen, batch=batch, accumulation=accumulation, layout=layout, steps=6
    )
    (losses, weights), (others, other_weights) = trained(one), trained(other)
    assert sorted(kept_answers(tmp_path / "a")) == [0, 2, 3, 4]
    assert kept_answers(tmp_path / "a") == kept_answers(tmp_path / "b")
    for left, right in zip(losses, others, strict=True):
        for name in ("loss", "own_divergence", "divergence", "own_tokens", "behaviour_tokens"):
            assert right.get(name) == pytest.approx(left.get(name), rel=1e-4), name
    assert any(entry["behaviour_tokens"] and entry.get("own_tokens") for entry in losses)
    torch.testing.assert_close(other_weights, weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_targets_are_made_whichever_answers_the_first_batch_has(tmp_path, monkeypatch, share):
    """Other processes may have recorded answers, and wait until all have made their targets."""
    from genpi_plugin.on_policy.windows import OnPolicy

    monkeypatch.setattr(OnPolicy, "_is_on", lambda *_: True)
    built = on_policy_trainer(
        tmp_path, settings(share=share, refresh=1), batch=1, accumulation=1, steps=1
    )
    trained(built)
    made = [key in built.teacher.store for key in built.teacher.rows]
    assert made == [share < 1] * 8


def test_the_epochs_before_are_off_policy(tmp_path):
    """Two steps an epoch: the last one and a half of three epochs are on policy."""
    logged, _ = trained(
        on_policy_trainer(tmp_path, settings(epochs=1.5), batch=4, accumulation=1, steps=6)
    )
    assert ["own_divergence" in entry for entry in logged] == [False] * 3 + [True] * 3
    assert ["divergence" in entry for entry in logged] == [True] * 3 + [False] * 3
    assert sorted(kept_answers(tmp_path)) == [3, 4, 5]


def test_a_run_that_max_steps_ends_before_the_epochs_on_policy_is_refused(tmp_path):
    built = on_policy_trainer(tmp_path, settings(epochs=1), batch=4, accumulation=1, steps=2)
    with pytest.raises(SystemExit, match=r"(?s)`max_steps: 2`.*all of it.*below 1, or"):
        built.train()


class Killed(Exception):
    pass


@pytest.mark.parametrize("lost", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_killed_within_a_window_goes_on_with_the_same_answers(tmp_path, lost):
    from transformers import TrainerCallback

    class Kill(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == 3:
                raise Killed

    def made(folder, *, kill):
        chosen = settings(refresh=4)
        built = on_policy_trainer(folder, chosen, batch=2, accumulation=1, steps=8)
        built.args.save_strategy, built.args.save_steps = "steps", 1
        built.state.save_steps = 1
        if kill:
            built.add_callback(Kill())
        return built

    whole, weights = trained(made(tmp_path / "whole", kill=False))
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        trained(made(folder, kill=True))
    if lost:
        for path in (folder / "answers").glob("step-*/*/*.json"):
            path.unlink()
    resumed = made(folder, kill=False)
    logged, found = trained(resumed, str(folder / "checkpoint-2"))
    if lost:
        assert not torch.allclose(found, weights, rtol=1e-4, atol=1e-3)
        return
    # The teacher reads the rest of the window in other company: the same but for rounding.
    for left, right in zip(logged, whole, strict=True):
        assert left["loss"] == pytest.approx(right["loss"], rel=1e-5)
    torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-5)
    assert kept_answers(folder) == kept_answers(tmp_path / "whole")


def test_evaluation_stays_on_the_recorded_answers(tmp_path):
    built = on_policy_trainer(tmp_path, settings(), batch=4, accumulation=2, steps=1)
    built.train()
    found = built.evaluate()
    assert found["eval_divergence"] > 0
    assert not [name for name in found if "own" in name]


def test_a_model_that_changes_its_logits_behind_its_head_is_read_step_by_step(tmp_path):
    """Gemma 2 caps its logits, Granite scales them: what the head is given says less."""
    from peft import LoraConfig, get_peft_model
    from transformers import GraniteConfig, GraniteForCausalLM

    def granite():
        torch.manual_seed(0)
        config = GraniteConfig(
            vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, logits_scaling=4.0,
            initializer_range=0.2, eos_token_id=2, pad_token_id=0, bos_token_id=0,
        )  # fmt: skip
        model = GraniteForCausalLM(config)
        torch.manual_seed(1)
        return get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))

    chosen = settings(prompt_generation_share=0.0, sft_weight=1.0)
    built = on_policy_trainer(tmp_path, chosen, model=granite(), batch=4, accumulation=2, steps=1)
    [entry], _ = trained(built)
    view, model = ChatView(make_tokenizer()), granite()
    [answers] = kept_answers(tmp_path).values()
    from genpi_plugin.on_policy.rows import rows_of

    total, tokens = 0.0, 0
    for row, pair in zip(rows(), make_pairs(rows(), view, chosen), strict=True):
        [known] = rows_of(built.data_collator([pair.columns()]), built.teacher)
        found = plain_own(model, "forward", row, view, answers[known.key])
        total, tokens = total + float(found[0]), tokens + found[1]
    assert entry["own_divergence"] == pytest.approx(total / tokens, rel=1e-4)


def test_a_head_with_dropout_is_read_alike_by_teacher_and_student():
    from peft import LoraConfig, get_peft_model

    from genpi_plugin.reading.head import SupervisedHead
    from tests.tiny import make_model

    config = LoraConfig(r=4, target_modules=["lm_head"], lora_dropout=0.5, init_lora_weights=False)
    model = get_peft_model(make_model(), config)
    assert SupervisedHead(model.eval()).standalone
    assert SupervisedHead(model.train()).standalone
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("way", ["saved", "lora"])
def test_an_adapter_on_the_head_is_off_for_the_teacher(way):
    from peft import LoraConfig, get_peft_model

    from genpi_plugin.on_policy.targets import OwnTargets
    from genpi_plugin.reading.head import SupervisedHead
    from tests.tiny import make_model

    how = {
        "saved": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        "lora": {"target_modules": ["q_proj", "lm_head"]},
    }[way]
    model = get_peft_model(make_model(), LoraConfig(r=4, **how))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    states = torch.randn(5, 32)
    head = SupervisedHead(model)
    assert head.standalone
    targets = OwnTargets(states, OnPolicySettings())
    with torch.no_grad(), model.disable_adapter():
        truth = head.logits(states).log_softmax(-1)
    assert not torch.allclose(head.logits(states).log_softmax(-1), truth, atol=1e-2)
    assert torch.equal(targets.logprobs(head, torch.device("cpu")), truth)


def test_a_loss_in_chunks_is_the_loss_on_own_answers(tmp_path, monkeypatch):
    from genpi_plugin.reading import head

    chosen = settings(divergence="jsd")
    whole = trained(on_policy_trainer(tmp_path / "a", chosen, batch=8, accumulation=1, steps=2))
    monkeypatch.setattr(head, "MAX_LOGITS", 512 * 7)
    parts = trained(on_policy_trainer(tmp_path / "b", chosen, batch=8, accumulation=1, steps=2))
    torch.testing.assert_close(parts[1], whole[1], rtol=1e-4, atol=2e-6)


def test_what_the_divergences_are():
    from genpi_plugin.training.divergences import divergences

    torch.manual_seed(0)
    teacher, mine = torch.randn(2, 6, 40, dtype=torch.float64).log_softmax(-1)
    forward, reverse = (divergences(kind, teacher, mine) for kind in ("forward", "reverse"))
    assert torch.allclose(forward, divergences("reverse", mine, teacher))
    assert not torch.allclose(forward, reverse, rtol=1e-2)
    jsd = divergences("jsd", teacher, mine, 0.5)
    assert torch.allclose(jsd, divergences("jsd", mine, teacher, 0.5))
    assert bool((jsd < math.log(2)).all())
    assert torch.allclose(divergences("jsd", teacher, teacher, 0.3), torch.zeros(6).double())
    # At its ends it is a multiple of either (Agarwal et al. 2023, section 2).
    for beta, kind in ((1e-7, forward), (1 - 1e-7, reverse)):
        found = divergences("jsd", teacher, mine, beta) / min(beta, 1 - beta)
        assert torch.allclose(found, kind, rtol=1e-4)


def test_own_rows_of_a_packed_dataset_are_told_apart(tmp_path):
    """A batch of several rows gives back each row's sequences and requests."""
    from genpi_plugin.on_policy.rows import rows_of
    from genpi_plugin.training.collator import GenPICollator

    view = ChatView(make_tokenizer("thinking"))
    made = make_pairs(rows(), view, settings())
    teacher = new_teacher(tmp_path)
    data = Dataset.from_list([pair.columns() for pair in made])
    teacher.take_teacher_columns(data)
    columns = [data[place] for place in range(len(made))]
    batch = GenPICollator(None)([columns[:3], columns[3:]])
    for known, row, pair in zip(rows_of(batch, teacher), rows(), made, strict=True):
        expected = list(requests(row, view))
        assert known.requests == [asked for asked, _ in expected]
        assert known.teacher_requests == [asked for _, asked in expected]
        assert known.sequences == [(one.ids, one.labels) for one in pair.behaviour]
