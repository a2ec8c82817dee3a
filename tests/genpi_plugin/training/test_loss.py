"""The joint loss against the official formula in plain two-pass torch, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import BEHAVIOUR_SEQUENCES, LENGTHS, make_pairs
from genpi_plugin.data.rows import parse
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.layout import PADDING, SMALL_CALL, buckets, make_calls
from genpi_plugin.teacher.targets import Targets
from genpi_plugin.training.collator import TOKENS, GenPICollator
from genpi_plugin.training.loss import LossSums, TokenCounts, joint_loss, token_loss_sums
from genpi_plugin.training.supervised_loss import loss_sums
from tests.genpi_plugin.rows_made import our_row, paper
from tests.tiny import make_model, make_tokenizer, save_tiny


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
    return make_pairs(rows, view, paper(**settings))


def our_loss(model, pairs, weight: float, layout: str) -> torch.Tensor:
    batch = GenPICollator(None)([pair.columns() for pair in pairs])
    ids, labels, lengths = batch["input_ids"][0], batch["labels"][0], batch[LENGTHS]
    count = batch[BEHAVIOUR_SEQUENCES]
    cut = sum(lengths[:count])
    head = SupervisedHead(model)
    sums = []
    for part in ((ids[:cut], labels[:cut], lengths[:count]),
                 (ids[cut:], labels[cut:], lengths[count:])):  # fmt: skip
        sums.append(sum(loss_sums(head, model, call)[0] for call in make_calls(*part, layout)))
    return joint_loss(LossSums(*sums), TokenCounts(*batch[TOKENS]), weight)


@pytest.mark.parametrize("layout", ["bucketed", "padded", "packed"])
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
    """Changing one sequence's tokens leaves the other's logits as they are."""
    model = make_model()
    ids = torch.arange(20, 60)
    labels = ids.clone()
    labels[[0, 20]] = -100
    changed = ids.clone()
    changed[:20] += 100
    calls = [make_calls(x, labels, [20, 20], "packed")[0] for x in (ids, changed)]
    with torch.no_grad():
        one, other = (model(**call.inputs()).logits[0] for call in calls)
    assert not torch.equal(one[:19], other[:19])
    torch.testing.assert_close(one[20:], other[20:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("standalone", [True, False])
def test_no_logits_are_computed_where_there_is_no_loss(standalone):
    labels = torch.tensor([-100, -100, 7, 8, -100, -100, 9, -100, 4, 5])
    model = make_model()
    head = SupervisedHead(model, standalone)
    rows = []
    model.lm_head.register_forward_hook(
        lambda _, args, logits: rows.append(logits.shape[:-1].numel())
    )
    for call in make_calls(torch.arange(10), labels, [7, 3], "padded"):
        loss_sums(head, model, call)
    # One more where the loss comes after the forward, which has to end somehow.
    assert sum(rows) == 5 + standalone


def test_a_loss_in_chunks_is_the_loss(monkeypatch):
    """Value and gradients of head and body, with chunks of three tokens and with one of all."""
    found = []
    for most in (512 * 3, 2**25):
        monkeypatch.setattr("genpi_plugin.reading.head.MAX_LOGITS", most)
        model = make_model()
        loss = our_loss(model, pairs_of(), 0.7, "bucketed")
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in model.parameters())])
    for chunked, whole in zip(*found, strict=True):
        torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=1e-6)


def test_logits_that_the_model_changes_after_its_head_stay_changed():
    """Gemma 2 caps its logits behind the head; the head alone would give others."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, final_logit_softcapping=1.0,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(50)
    assert not SupervisedHead(model).standalone
    pairs = pairs_of()
    with torch.no_grad():
        assert our_loss(model, pairs, 0.7, "bucketed").item() == pytest.approx(
            official_loss(model, pairs, 0.7).item(), rel=1e-5
        )


def test_a_sequence_never_predicts_the_first_token_of_the_next():
    labels = torch.tensor([-100, 5, -100, 6])
    [call] = make_calls(torch.arange(4), labels, [2, 2], "packed")
    assert call.targets.tolist() == [[5, -100, 6, -100]]
    assert call.position_ids.tolist() == [[0, 1, 0, 1]]


@given(st.lists(st.integers(1, 3000), max_size=24))
def test_buckets_hold_every_sequence_once_with_little_padding(lengths):
    groups = buckets(lengths)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        padded = len(group) * max(lengths[i] for i in group)
        real = sum(lengths[i] for i in group)
        assert padded <= SMALL_CALL or len(group) == 1 or padded - real <= PADDING * padded


def test_bucketed_calls_know_which_supervised_tokens_are_theirs():
    lengths = [2, 900, 3, 880]
    ids = torch.arange(sum(lengths))
    labels = torch.full_like(ids, -100)
    for start, length in zip((0, 2, 902, 905), lengths, strict=True):
        labels[start + length - 1] = start + length - 1
    supervised = labels[labels != -100]
    calls = make_calls(ids, labels, lengths, "bucketed")
    assert [call.input_ids.shape for call in calls] == [(2, 900), (2, 3)]
    for call in calls:
        assert call.targets[call.targets != -100].tolist() == supervised[call.order].tolist()


def test_two_tokens_by_hand():
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    total, _ = token_loss_sums(logits, torch.tensor([1, 0]))
    assert total.item() == pytest.approx(-math.log(0.75) - math.log(0.5))
    loss = joint_loss(LossSums(total, 3 * total), TokenCounts(2, 6), 0.7)
    assert loss.item() == pytest.approx(total.item() / 2)


class OverwritingCrossEntropy(torch.autograd.Function):
    """Like Liger's kernel: the forward pass leaves its gradient where the logits were."""

    @staticmethod
    def forward(context, logits, targets):
        loss = -logits.log_softmax(-1).gather(-1, targets[:, None]).sum()
        gradient = logits.softmax(-1) - F.one_hot(targets, logits.shape[-1])
        logits.data.copy_(gradient)  # as a kernel writes: unseen by autograd
        context.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(context, outer):
        return context.saved_tensors[0] * outer, None


def test_a_cross_entropy_that_overwrites_the_logits_is_not_ours(monkeypatch):
    """`liger_cross_entropy` replaces torch's for the whole process; loss and gradient stay."""
    torch.manual_seed(0)
    truth = torch.randn(6, 64) * 3
    targets = torch.randint(64, (6,))
    teacher = Targets.of(truth, 8)

    def plain(logits: torch.Tensor) -> torch.Tensor:
        probability = logits.exp() / logits.exp().sum(-1, keepdim=True)
        wanted = truth.exp() / truth.exp().sum(-1, keepdim=True)
        kept = truth.topk(8).indices
        divergence = 0.0
        for row, (mine, right) in enumerate(zip(probability, wanted, strict=True)):
            pairs = [(right[token], mine[token]) for token in kept[row]]
            pairs.append((1 - right[kept[row]].sum(), 1 - mine[kept[row]].sum()))
            divergence = divergence + sum(p * (p / q).log() for p, q in pairs)
        cross_entropy = -sum(
            mine[token].log() for mine, token in zip(probability, targets, strict=True)
        )
        return torch.stack([cross_entropy, divergence])

    start = torch.randn(6, 64)
    expected = plain(logits := start.double().requires_grad_())
    (gradient,) = torch.autograd.grad((expected * torch.tensor([0.7, 1.0])).sum(), logits)

    def overwriting(logits, targets, **_):
        return OverwritingCrossEntropy.apply(logits, targets)

    monkeypatch.setattr(F, "cross_entropy", overwriting)
    found = token_loss_sums(logits := start.clone().requires_grad_(), targets, teacher)
    (mine,) = torch.autograd.grad((found * torch.tensor([0.7, 1.0])).sum(), logits)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine, gradient.float(), rtol=1e-4, atol=1e-6)


def test_nothing_supervised_is_a_loss_of_zero_with_a_gradient_of_zeros():
    model = make_model()
    head = SupervisedHead(model)
    for lengths, labels in (([], []), ([3], [-100, -100, -100])):
        ids = torch.zeros(len(labels), dtype=torch.long)
        [call] = make_calls(ids, torch.tensor(labels, dtype=torch.long), lengths, "bucketed")
        loss, divergence = loss_sums(head, model, call)
        assert loss.item() == divergence.item() == 0.0
        loss.backward()
        assert all(p.grad is not None and not p.grad.any() for p in model.model.layers.parameters())


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


def test_a_quantized_base_model_has_the_official_loss_and_gradients(tmp_path):
    """QLoRA: nf4, double quantization, against the official formula on the same model."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    save_tiny(tmp_path, hidden_size=64)  # nf4 takes its weights in blocks of 64
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip
    base = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=nf4, device_map="cpu", dtype=torch.float32
    )
    assert type(base.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(base, config).train()
    pairs = pairs_of()
    found = []
    for loss in (official_loss(model, pairs, 0.7), our_loss(model, pairs, 0.7, "bucketed")):
        model.zero_grad()
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in model.parameters() if p.requires_grad)])
    for official, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, official, rtol=1e-4, atol=1e-6)


def test_ligers_forward_leaves_the_head_to_us(monkeypatch):
    """`liger_fused_linear_cross_entropy` fuses head and loss only where it is given labels."""
    liger = pytest.importorskip("liger_kernel.transformers.model.llama")
    from transformers import LlamaForCausalLM

    pairs = pairs_of()
    model = make_model().train()
    plain = our_loss(model, pairs, 0.7, "bucketed").item()
    monkeypatch.setattr(LlamaForCausalLM, "forward", liger.lce_forward)
    assert our_loss(model, pairs, 0.7, "bucketed").item() == pytest.approx(plain, rel=1e-6)
