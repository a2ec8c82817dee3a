"""What else changed: the adapter on requests that the prompt is not about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpi_plugin.data.inputs.lines import read_inputs
from genpi_plugin.evaluation.figures import intervals
from genpi_plugin.evaluation.figures.limits import MUCH_KL, MUCH_OVER_REACH
from genpi_plugin.evaluation.figures.measured import Generated
from genpi_plugin.evaluation.figures.scores import Score
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.measuring.off_switch import OffSwitch, check_off_switch
from genpi_plugin.evaluation.subjects.reading import divergences, request_and_answer
from genpi_plugin.evaluation.subjects.subject import Input, Subject

# Everyday requests in our own wording; `--general FILE` replaces them.
GENERAL = Path(__file__).with_name("general.txt")
# Tokens of an answer at least; more where the teacher's answers are longer, so that the prompt's
# format has room to appear.
TOKENS = 64


@dataclass(frozen=True)
class SystemDrift:
    """How one system answers the general inputs, by input.

    Attributes:
        answers: greedy, cut at the limit.
        kl: KL(floor||system) summed over the tokens of the floor's answer, in nats.
        changed: the answer is not the floor's, token for token.
        over_reach: the answer has the prompt's format and the floor's does not; None without a
            pattern of that format.
    """

    answers: list[str]
    kl: list[float]
    changed: list[bool]
    over_reach: list[bool] | None


@dataclass(frozen=True)
class Drift:
    """All measurements; `systems` holds the students, in order, and then the teacher."""

    source: str
    inputs: list[str]
    floor: list[str]
    tokens: list[int]
    max_new_tokens: int
    systems: dict[str, SystemDrift]
    teacher: str
    off: OffSwitch


def measure_drift(context: Context, general: Path | None = None) -> Drift:
    """Let floor, students and teacher answer general inputs, and read the floor's answers.

    Args:
        general: a file of inputs; None takes the set that is shipped.

    Raises:
        GenPIError: a file that can't be read or has no inputs.
    """
    given = read_inputs(general or GENERAL)
    inputs = context.data.with_values([one.messages for one in given.inputs])
    longest = max((len(a.ids) for a in context.measured.answers[context.teacher.name]), default=0)
    limit = min(context.max_new_tokens, max(TOKENS, longest))
    others = [*context.students, context.teacher]
    answers: dict[str, list[Generated]] = {}
    for system in (context.floor, *others):
        with context.progress(f"general inputs: {system.name} answers", len(inputs)) as advance:
            answers[system.name] = system.generate(system.requests(inputs), limit, advance)
    floor = answers[context.floor.name]
    kl = _divergence_from_floor(context, others, inputs, floor)
    return Drift(
        source=str(general) if general else "shipped",
        inputs=list(given.texts),
        floor=[answer.text for answer in floor],
        tokens=[len(answer.ids) for answer in floor],
        max_new_tokens=limit,
        systems={
            system.name: _system_drift(
                answers[system.name], floor, kl[system.name], context.scores.get("valid")
            )
            for system in others
        },
        teacher=context.teacher.name,
        off=check_off_switch(
            context.floor, context.load_base_model, inputs, limit, context.progress
        ),
    )


def summarize_drift(drift: Drift, seed: int) -> dict[str, Any]:
    """Figures of the first student, and of each under `students` where there are several.

    The teacher's, under `teacher`, say what the prompt itself would do to the same requests.
    """
    figures = {name: _figures(drift, name, seed) for name in drift.systems}
    teacher = figures.pop(drift.teacher)
    for its in figures.values():
        its["advice"] = advice(its, teacher, drift.off)
    first = next(iter(figures.values()))
    return {
        "source": drift.source,
        "n": len(drift.inputs),
        "max_new_tokens": drift.max_new_tokens,
        **first,
        "teacher": teacher,
        **({"students": figures} if len(figures) > 1 else {}),
        "off_identical": drift.off.identical,
        "off_tokens": drift.off.tokens,
        "off_largest_kl": drift.off.largest_kl,
    }


def advice(student: dict[str, Any], teacher: dict[str, Any], off: OffSwitch) -> str:
    """What the figures mean for whoever serves the adapter, in one to three plain sentences."""
    lines = []
    kl, over_reach = student["kl_from_floor"], student["over_reach"]
    if over_reach is not None and _low(over_reach) > MUCH_OVER_REACH:
        lines.append(
            f"Too much: {over_reach['value']:.0%} of the general requests are answered in the "
            f"prompt's format (with the prompt itself, {teacher['over_reach']['value']:.0%}). Send "
            "this adapter the prompt's own kind of requests, and others to the base model."
        )
    elif _low(kl) > MUCH_KL:
        itself = teacher["kl_from_floor"]["value"]
        lines.append(
            f"Too much: {kl['value']:.2f} nats per token away from the base model on requests "
            f"that the prompt is not about (the prompt itself: {itself:.2f}). "
            "Read some of the changed answers; send such requests to the base model, or take an "
            "earlier checkpoint or a lower learning rate."
        )
    elif _high(kl) < MUCH_KL:
        lines.append("Little changed on requests that the prompt is not about.")
    else:
        lines.append(
            f"About {MUCH_KL} nats per token away from the base model on requests that the prompt "
            "is not about: too few requests to tell whether that is too much (`--general FILE`)."
        )
    if off.identical is False:
        lines.append(
            "With the adapter switched off this is NOT the base model: something was trained or "
            "changed that the switch does not reach, such as biases (`bias:`) or merged weights. "
            "Teacher and floor of this report are then not the base model's."
        )
    elif off.identical is None:
        lines.append(f"Not checked that the adapter can be switched off: {off.why}.")
    return " ".join(lines)


def _low(figure: dict[str, Any]) -> float:
    return figure["value"] if figure["ci_low"] is None else figure["ci_low"]


def _high(figure: dict[str, Any]) -> float:
    return figure["value"] if figure["ci_high"] is None else figure["ci_high"]


def _divergence_from_floor(
    context: Context, others: Sequence[Subject], inputs: Sequence[Input], floor: list[Generated]
) -> dict[str, list[float]]:
    sequences = {
        system.name: [
            request_and_answer(request, given.ids)
            for request, given in zip(system.requests(inputs), floor, strict=True)
        ]
        for system in (context.floor, *others)
    }
    with context.progress("general inputs: divergence from the floor", len(inputs)) as advance:
        found = divergences(context.floor, others, sequences, advance)
    return {name: [float(tokens.sum()) for tokens in by_input] for name, by_input in found.items()}


def _system_drift(
    answers: list[Generated], floor: list[Generated], kl: list[float], valid: Score | None
) -> SystemDrift:
    pairs = list(zip(answers, floor, strict=True))
    return SystemDrift(
        answers=[answer.text for answer in answers],
        kl=kl,
        changed=[mine.ids != its.ids for mine, its in pairs],
        over_reach=None
        if valid is None
        else [
            bool(valid(mine.text, its.text)) and not valid(its.text, its.text)
            for mine, its in pairs
        ],
    )


def _figures(drift: Drift, name: str, seed: int) -> dict[str, Any]:
    system = drift.systems[name]
    return {
        "kl_from_floor": intervals.ratio_of_sums(system.kl, drift.tokens, seed).as_dict(),
        "changed": intervals.mean([float(c) for c in system.changed], seed).as_dict(),
        "over_reach": None
        if system.over_reach is None
        else intervals.mean([float(o) for o in system.over_reach], seed).as_dict(),
    }
