"""The joint loss and its gradients against plain torch: each layout, attention and precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu_check.checks import Check, Finding, Machine
from benchmarks.gpu_check.made import SMALL, TINY, base_model, pairs, trained, with_adapter
from benchmarks.gpu_check.packages import need, need_capability, need_compiler, need_gpu
from genpi_plugin.data.chat import TokenSequence
from genpi_plugin.data.examples import BEHAVIOUR_SEQUENCES, LENGTHS, Pair
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.layout import Layout, make_calls
from genpi_plugin.teacher.targets import Targets
from genpi_plugin.training.collator import TOKENS, GenPICollator
from genpi_plugin.training.loss import LossSums, TokenCounts, joint_loss
from genpi_plugin.training.supervised_loss import loss_sums

WEIGHT, DISTILL, TOP_K = 0.7, 1.0, 32
# Of the loss and of all gradients together, relative. What rounding comes to, several times over;
# sequences that see each other, or a target one place off, cost more than 0.1 of the gradients.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
# Every precision and layout that an attention kernel has. Flash attention has no float32.
WAYS: list[tuple[str, torch.dtype, Layout]] = [
    *(("sdpa", dtype, layout) for dtype in TOLERANCE
      for layout in ("padded", "bucketed", "packed")),
    *(("flex_attention", dtype, layout) for dtype in TOLERANCE
      for layout in ("bucketed", "packed")),
    *(("flash_attention_2", torch.bfloat16, layout) for layout in ("bucketed", "packed")),
]  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A loss and the gradients of all trained parameters, in one vector."""

    loss: float
    gradients: torch.Tensor


def checks(machine: Machine) -> list[Check]:
    """Of the group, in order."""
    found = [
        Check(f"joint loss, {attention}, {NAMES[dtype]}, {layout}",
              lambda here, way=(attention, dtype, layout): against_plain(here, *way),
              "relative", TOLERANCE[dtype])
        for attention, dtype, layout in WAYS
    ]  # fmt: skip
    for kind, reentrant in (("plain", False), ("reentrant", True)):
        found.append(
            Check(f"joint loss, gradient checkpointing ({kind}), float32",
                  lambda here, reentrant=reentrant: checkpointed(here, reentrant),
                  "relative", TOLERANCE[torch.float32])
        )  # fmt: skip
    return found


def against_plain(machine: Machine, attention: str, dtype: torch.dtype, layout: Layout) -> Finding:
    """One layout with one attention kernel in one precision."""
    check_there(machine, attention, dtype)
    rows, targets, right = reference_step(machine)
    model = student(machine, attention, dtype)
    return compared(our_step(model, rows, targets, layout, dtype), right)


def checkpointed(machine: Machine, reentrant: bool) -> Finding:
    """Activations computed again in the backward pass.

    Raises:
        RuntimeError: they were not.
    """
    rows, targets, right = reference_step(machine)
    model = student(machine, "sdpa", torch.float32)
    once = layer_calls(model, rows, targets)[1]
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    step, again = layer_calls(model, rows, targets)
    if again <= once:
        raise RuntimeError(f"the layers ran {again} times, and {once} times without checkpointing")
    return compared(step, right)


def layer_calls(model: Any, rows: Sequence[Pair], targets: Targets) -> tuple[Step, int]:
    """A step, and how often the first layer ran in it."""
    calls: list[int] = []
    layer = model.get_base_model().model.layers[0].mlp
    hook = layer.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        step = our_step(model, rows, targets, "bucketed", torch.float32)
    finally:
        hook.remove()
    return step, len(calls)


def check_there(machine: Machine, attention: str, dtype: torch.dtype) -> None:
    """
    Raises:
        Skipped: the machine has not what this attention needs.
    """
    if dtype is not torch.float32:
        need_gpu(machine.gpu, NAMES[dtype])
        need_capability((8, 0), NAMES[dtype])
    if attention == "flex_attention":
        need_gpu(machine.gpu, "the backward pass of flex attention")
        need_compiler()
    if attention == "flash_attention_2":
        need_gpu(machine.gpu, "flash attention")
        need("flash_attn")


def shape_for(machine: Machine) -> dict[str, Any]:
    """Of the model that is compared with itself."""
    return SMALL if machine.gpu else TINY


def rows_for(machine: Machine) -> list[Pair]:
    """Its pairs."""
    return pairs(shape_for(machine)["vocab_size"], scale=8 if machine.gpu else 1)


def student(machine: Machine, attention: str, dtype: torch.dtype) -> Any:
    """The model with an adapter, the base's weights in `dtype` as axolotl loads it."""
    base = base_model(shape_for(machine)).to(machine.device, dtype)
    base.set_attn_implementation(attention)
    return with_adapter(base).to(machine.device)


def reference_step(machine: Machine) -> tuple[list[Pair], Targets, Step]:
    """Pairs, a teacher's targets for them, and the step in plain torch and float32."""
    rows = rows_for(machine)
    model = student(machine, "sdpa", torch.float32)
    targets = plain_targets(model, rows)
    return rows, targets, plain_step(model, rows, targets)


@torch.no_grad()
def plain_targets(model: Any, rows: Sequence[Pair]) -> Targets:
    """Of a teacher that reads each row by itself, the adapter off."""
    with model.disable_adapter():
        logits = [supervised_logits(model, [s])[0] for row in rows for s in row.teacher]
    return Targets.of(torch.cat(logits), TOP_K)


def supervised_logits(
    model: Any, sequences: Sequence[TokenSequence]
) -> tuple[torch.Tensor, torch.Tensor]:
    """One padded pass with a mask: logits [tokens, vocabulary], and the tokens that they predict.

    Sequence after sequence, where there is a loss.
    """
    pad, device = torch.nn.utils.rnn.pad_sequence, model.device
    ids = pad([torch.tensor(s.ids) for s in sequences], batch_first=True).to(device)
    labels = pad([torch.tensor(s.labels) for s in sequences], batch_first=True,
                 padding_value=-100).to(device)  # fmt: skip
    mask = pad([torch.ones(len(s.ids), dtype=torch.long) for s in sequences], batch_first=True)
    logits = model(input_ids=ids, attention_mask=mask.to(device), use_cache=False).logits.float()
    there = labels[:, 1:] != -100
    return logits[:, :-1][there], labels[:, 1:][there]


def plain_step(model: Any, rows: Sequence[Pair], targets: Targets) -> Step:
    """The joint loss by its definition: both halves padded, all logits, whole softmaxes."""
    behaviour, told = supervised_logits(model, [s for row in rows for s in row.behaviour])
    recital, recited = supervised_logits(model, [s for row in rows for s in row.prompt_generation])
    own, at = behaviour.softmax(-1), torch.arange(len(told), device=told.device)
    kept = targets.token_ids.long()
    held = torch.cat([targets.logprobs.exp(), targets.tail.exp()[:, None]], -1)
    mine = own.gather(-1, kept)
    mine = torch.cat([mine, own.scatter(-1, kept, 0.0).sum(-1, keepdim=True)], -1)
    divergence = (held * (held / mine).log()).sum(-1).mean()
    at_recital = torch.arange(len(recited), device=recited.device)
    loss = (
        WEIGHT * -own[at, told].log().mean()
        + (1 - WEIGHT) * -recital.softmax(-1)[at_recital, recited].log().mean()
        + DISTILL * divergence
    )
    return finished(model, loss)


def our_step(
    model: Any, rows: Sequence[Pair], targets: Targets, layout: Layout, dtype: torch.dtype
) -> Step:
    """The joint loss as the trainer computes it, with the pairs as the whole step."""
    return finished(model, our_loss(model, rows, targets, layout, dtype))


def our_loss(
    model: Any, rows: Sequence[Pair], targets: Targets, layout: Layout, dtype: torch.dtype
) -> torch.Tensor:
    """See `our_step`; the forward passes are under autocast below float32, as accelerate's are."""
    batch = GenPICollator(None)([row.columns() for row in rows])
    ids = batch["input_ids"][0].to(model.device)
    labels = batch["labels"][0].to(model.device)
    lengths, count = batch[LENGTHS], batch[BEHAVIOUR_SEQUENCES]
    cut = sum(lengths[:count])
    head, forward = SupervisedHead(model), autocast(model, dtype)
    nothing = torch.zeros((), device=model.device)
    sums = [(nothing, nothing)] * 2
    for half, (part, given) in enumerate(
        (((ids[:cut], labels[:cut], lengths[:count]), targets),
         ((ids[cut:], labels[cut:], lengths[count:]), None))
    ):  # fmt: skip
        for call in make_calls(*part, layout=layout) if part[2] else ():
            entropy, divergence = loss_sums(head, forward, call, given)
            sums[half] = (sums[half][0] + entropy, sums[half][1] + divergence)
    (behaviour, divergence), (recital, _) = sums
    return joint_loss(
        LossSums(behaviour, recital, divergence), TokenCounts(*batch[TOKENS]), WEIGHT, DISTILL
    )


def autocast(model: Any, dtype: torch.dtype) -> Any:
    """The model as it is called in training."""
    if dtype is torch.float32:
        return model

    def forward(**inputs: Any) -> Any:
        with torch.autocast(model.device.type, dtype):
            return model(**inputs)

    return forward


def finished(model: Any, loss: torch.Tensor) -> Step:
    """Run the backward pass and collect the gradients."""
    model.zero_grad()
    loss.backward()
    gradients = torch.cat([p.grad.detach().float().flatten() for p in trained(model)])
    model.zero_grad()
    return Step(float(loss.detach()), gradients)


def compared(found: Step, right: Step) -> Finding:
    """The larger of both relative differences: of the loss, and of all gradients together."""
    loss = abs(found.loss - right.loss) / abs(right.loss)
    gradients = float((found.gradients - right.gradients).norm() / right.gradients.norm())
    return Finding(max(loss, gradients), f"loss {loss:.1e}, gradients {gradients:.1e}")
