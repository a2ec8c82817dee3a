"""One family, read in every fast way that its model is found able to, against plain forwards.

`python -m tests.genpi_plugin.reading.walk` prints the table of docs/architectures.md.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from genpi_plugin.data.chat import ChatView
from genpi_plugin.evaluation.subjects.subject import Subject
from genpi_plugin.reading import agreement, capabilities
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.layout import make_calls
from genpi_plugin.reading.prefix import PrefixCache
from genpi_plugin.reading.supervised import supervised_states
from tests.genpi_plugin.reading.families import UNBUILT, families, tiny_model
from tests.tiny import make_tokenizer

# Nats a token, float32.
ALLOWED = 1e-4
# Tokens before the rows part, longer than the families' windows; tokens of each row behind it.
START, RESTS = 60, (12, 5, 21, 9)
SUPERVISED = 4
WRITTEN = 5


@dataclass(frozen=True)
class Verdict:
    """How a family is called, and the largest difference from plain forwards, in nats a token."""

    family: str
    teacher: str
    answers: str
    packing: str
    together: str
    why: list[str]
    off: dict[str, float]

    @property
    def worst(self) -> float:
        return max(self.off.values())


def examine(family: str) -> Verdict:
    """Read rows in each way that the product would choose, and plainly."""
    warnings.simplefilter("ignore")
    base = tiny_model(family)
    start, parting = _rows(base)
    untouched = [plain(base, row) for row in start]
    other = [*start[0][:-6], *start[0][-4:-6:-1], *start[0][-4:]]
    if not divergence(plain(base, other)[-1:], untouched[0][-1:]) > 0:
        raise ValueError("the model's outputs do not depend on what it has read")
    model = adapted(base)
    switched_off = zip(_with_off(model, start), untouched, strict=True)
    off = {"adapter off": max(divergence(found, right) for found, right in switched_off)}
    with model.disable_adapter():
        off["teacher"], prefix = reading(model, start)
        off["teacher, unlike rows"], _ = reading(model, parting)
    off["student"], _ = reading(model, parting)
    off["answers"], way = answering(model, start)
    off["answers, unlike rows"], _ = answering(model, parting)
    packing, off["packed"] = training(model, parting, "packed")
    together, off["padded"] = training(model, parting, "bucketed")
    return Verdict(family, prefix.way, way, packing, together, capabilities.told(model), off)


def divergence(found: torch.Tensor, right: torch.Tensor) -> float:
    """Mean KL in nats a token; infinite where something is no number."""
    far = agreement.divergence(found, right)
    return far if far == far else float("inf")


def plain(model: Any, row: Sequence[int]) -> torch.Tensor:
    """Logits [tokens, vocabulary] of a row by itself, as transformers computes them."""
    with torch.no_grad():
        capabilities.begin(model, len(row))
        return model(input_ids=torch.tensor([list(row)]), use_cache=False).logits[0]


def adapted(base: Any) -> Any:
    """The model with an adapter that changes its answers."""
    torch.manual_seed(1)
    # PEFT refuses Mamba's `out_proj`, whose weights its kernels read past any adapter; a router
    # gives more than one tensor.
    lora = LoraConfig(r=4, target_modules="all-linear", exclude_modules=["out_proj", "router"])
    model = get_peft_model(base, lora).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    return model


def reading(model: Any, rows: list[list[int]]) -> tuple[float, PrefixCache]:
    """The largest divergence of a row, read as teacher and evaluation do."""
    sequences = [(row, labels(row)) for row in rows]
    requests = [row[:-SUPERVISED] for row in rows]
    with torch.no_grad():
        head = SupervisedHead(model)
        prefix = PrefixCache(model, requests, longest=max(map(len, rows)))
        found = head.logits(supervised_states(model, head, prefix, sequences)).split(SUPERVISED)
    right = [plain(model, row)[-SUPERVISED - 1 : -1] for row in rows]
    return max(divergence(*pair) for pair in zip(found, right, strict=True)), prefix


def answering(model: Any, rows: list[list[int]]) -> tuple[float, str]:
    """How far the answers of a batch are from those of one request at a time: 0, or 1 a token."""
    subject = Subject("student", model, ChatView(make_tokenizer()), adapter=True, batch_size=3)
    found = [one.ids for one in subject.generate(rows, WRITTEN)]
    prefix = subject.prefix_of(rows, max(map(len, rows)) + WRITTEN, generating=True)
    other = 0
    for row, answer in zip(rows, found, strict=True):
        ids = torch.tensor([row])
        capabilities.begin(model, len(row) + WRITTEN)
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=WRITTEN,
            do_sample=False, eos_token_id=subject.end_ids, pad_token_id=0,
        )  # fmt: skip
        right = output[0, len(row) :].tolist()
        other += sum(a != b for a, b in zip(answer, right, strict=False))
        other += abs(len(answer) - len(right))
    return float(other), prefix.way


def training(model: Any, rows: list[list[int]], wanted: Any) -> tuple[str, float]:
    """The largest divergence of a sequence in a training step's calls."""
    model.train()
    layout, together = capabilities.training_layout(model, wanted)
    model.eval()
    ids = torch.tensor([token for row in rows for token in row])
    given = torch.tensor([label for row in rows for label in labels(row)])
    lengths = [len(row) for row in rows]
    parts = capabilities.split(model, lengths, together)
    head = SupervisedHead(model)
    found = torch.zeros(len(rows) * SUPERVISED, base_vocabulary(model))
    with torch.no_grad():
        for call in make_calls(ids, given, lengths, layout, parts):
            capabilities.begin(model, call.input_ids.shape[1])
            states = head.states(model, call.inputs(), call.targets != -100)
            found[call.order] = head.logits(states)
    right = [plain(model, row)[-SUPERVISED - 1 : -1] for row in rows]
    worst = max(divergence(*p) for p in zip(found.split(SUPERVISED), right, strict=True))
    return (layout if layout == "packed" else together), worst


def labels(row: Sequence[int]) -> list[int]:
    """A loss on the last few tokens."""
    return [-100] * (len(row) - SUPERVISED) + list(row[-SUPERVISED:])


def base_vocabulary(model: Any) -> int:
    return int(plain(model, [5, 6]).shape[-1])


def _with_off(model: Any, rows: list[list[int]]) -> list[torch.Tensor]:
    with model.disable_adapter():
        return [plain(model, row) for row in rows]


def _rows(model: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Rows with a long start in common, and rows with none, short ones beside long ones."""
    ids = agreement.test_ids(model, START + 4 * 80)
    start, rests = ids[:START], ids[START:]
    common = [start + rests[place * 30 : place * 30 + n] for place, n in enumerate(RESTS)]
    parting = [rests[place * 80 : place * 80 + n] for place, n in enumerate((23, 9, 71, 34))]
    return common, parting


def table(found: Sequence[Verdict | tuple[str, str]]) -> str:
    """The families as Markdown, those that are called alike next to each other."""
    lines = [
        "| family | cached start | answers behind it | packing | rows in one call | why |",
        "|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, ...], list[str]] = {}
    for one in found:
        if isinstance(one, Verdict):
            packing = "packed" if one.packing == "packed" else "padded instead"
            why = "<br>".join(map(_shortly, one.why))
            key = (one.teacher, one.answers, packing, one.together, why)
            groups.setdefault(key, []).append(one.family)
    for key, names in sorted(groups.items(), key=lambda group: -len(group[1])):
        named = ", ".join(name.replace(", ", " with ") for name in names)
        lines.append(f"| {named} | {' | '.join(key)} |")
    lines += ["", "Not walked:", ""]
    unbuilt: dict[str, list[str]] = {}
    for one in found:
        if not isinstance(one, Verdict):
            unbuilt.setdefault(one[1], []).append(one[0])
    return "\n".join([*lines, *(f"- {', '.join(names)}: {why}." for why, names in unbuilt.items())])


def _shortly(line: str) -> str:
    """A log line without its figures, which differ from model to model."""
    return re.sub(r": [\d.e-]+ nats a token off\.$", ": it would be wrong.", line)


def main() -> None:
    """Print the table of docs/architectures.md."""
    found: list[Verdict | tuple[str, str]] = []
    for family in families():
        if family in UNBUILT:
            found.append((family, UNBUILT[family]))
            continue
        verdict = examine(family)
        print(f"{family}: {verdict.worst:.1e}", file=sys.stderr, flush=True)
        if not verdict.worst <= ALLOWED:
            raise SystemExit(f"{family} is off: {verdict}")
        found.append(verdict)
    print(table(found))


if __name__ == "__main__":
    main()
