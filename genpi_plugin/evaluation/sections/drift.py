"""What else changed: the adapter on requests that the prompt is not about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genpi_plugin.data.inputs.lines import read_inputs
from genpi_plugin.evaluation.figures import intervals
from genpi_plugin.evaluation.figures.limits import MUCH_KL, MUCH_OVER_REACH
from genpi_plugin.evaluation.figures.measured import Generated
from genpi_plugin.evaluation.figures.names import FLOOR, TEACHER
from genpi_plugin.evaluation.figures.scores import Score
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.measuring.off_switch import OffSwitch, check_off_switch
from genpi_plugin.evaluation.subjects.reading import divergences, request_and_answer
from genpi_plugin.evaluation.subjects.subject import Input, Subject
from genpi_plugin.training.manifest import read_manifest

# Everyday requests in our own wording; `--general FILE` replaces them.
GENERAL = Path(__file__).with_name("general.txt")
# Tokens of an answer at least; more where the teacher's answers are longer, so that the prompt's
# format has room to appear.
TOKENS = 64
# The share of answers in the prompt's format where those of the one it stays with are not.
OVER_REACH = {FLOOR: "over_reach", TEACHER: "over_reach_from_teacher"}


@dataclass(frozen=True)
class SystemDrift:
    """How one system answers the general inputs, by input.

    Attributes:
        answers: greedy, cut at the limit.
        kl: KL(floor||system) summed over the tokens of the floor's answer, in nats.
        kl_teacher: KL(teacher||system) summed over the tokens of the teacher's answer, in nats.
        changed: the answer is not the floor's, token for token.
        changed_teacher: the answer is not the teacher's, token for token.
        over_reach: the answer has the prompt's format and the floor's does not; None without a
            pattern of that format.
        over_reach_teacher: the answer has the prompt's format and the teacher's does not.
    """

    answers: list[str]
    kl: list[float]
    kl_teacher: list[float]
    changed: list[bool]
    changed_teacher: list[bool]
    over_reach: list[bool] | None
    over_reach_teacher: list[bool] | None


@dataclass(frozen=True)
class Drift:
    """All measurements; `systems` holds the students, in order, and then teacher and floor.

    `tokens` and `teacher_tokens` are those of the floor's and of the teacher's answers; `kept` says
    which of the two a student was trained to stay with (see `kept_to`).
    """

    source: str
    inputs: list[str]
    floor: list[str]
    tokens: list[int]
    max_new_tokens: int
    systems: dict[str, SystemDrift]
    teacher: str
    off: OffSwitch
    teacher_tokens: list[int]
    kept: dict[str, str] = field(default_factory=dict)


def kept_to(adapters: Mapping[str, Path]) -> dict[str, str]:
    """`floor` or `teacher` by adapter: with which of them it was trained to stay.

    By `genpi.keep` in its manifest; the floor where it has none, or `keep_weight` was 0.
    """
    return {name: _kept_to(folder) for name, folder in adapters.items()}


def _kept_to(folder: Path) -> str:
    trained = (read_manifest(folder) or {}).get("genpi") or {}
    return TEACHER if trained.get("keep") == TEACHER and trained.get("keep_weight") else FLOOR


def measure_drift(
    context: Context, general: Path | None = None, kept: Mapping[str, str] | None = None
) -> Drift:
    """Let floor, students and teacher answer general inputs, and read the floor's answers and the
    teacher's.

    Args:
        general: a file of inputs; None takes the set that is shipped.
        kept: see `kept_to`.

    Raises:
        GenPIError: a file that can't be read or has no inputs.
    """
    given = read_inputs(general or GENERAL)
    inputs = context.data.with_values([one.messages for one in given.inputs])
    longest = max((len(a.ids) for a in context.measured.answers[context.teacher.name]), default=0)
    limit = min(context.max_new_tokens, max(TOKENS, longest))
    systems = [*context.students, context.teacher, context.floor]
    answers: dict[str, list[Generated]] = {}
    for system in systems:

        def answered(system: Subject = system) -> list[Generated]:
            with context.progress(f"general inputs: {system.name} answers", len(inputs)) as advance:
                return system.generate(system.requests(inputs), limit, advance)

        answers[system.name] = context.remember(system, inputs, limit, answered)
    floor, teacher = answers[context.floor.name], answers[context.teacher.name]
    kl = _divergence_from(context, context.floor, systems, inputs, floor)
    kl_teacher = _divergence_from(context, context.teacher, systems, inputs, teacher)
    valid = context.scores.get("valid")
    return Drift(
        source=str(general) if general else "shipped",
        inputs=list(given.texts),
        floor=[answer.text for answer in floor],
        tokens=[len(answer.ids) for answer in floor],
        max_new_tokens=limit,
        systems={
            name: SystemDrift(
                answers=[answer.text for answer in mine],
                kl=kl[name],
                kl_teacher=kl_teacher[name],
                changed=_changed(mine, floor),
                changed_teacher=_changed(mine, teacher),
                over_reach=_over_reach(mine, floor, valid),
                over_reach_teacher=_over_reach(mine, teacher, valid),
            )
            for name, mine in answers.items()
        },
        teacher=context.teacher.name,
        off=check_off_switch(
            context.floor, context.load_base_model, inputs, limit, context.progress
        ),
        teacher_tokens=[len(answer.ids) for answer in teacher],
        kept=dict(kept or {}),
    )


def summarize_drift(drift: Drift, seed: int) -> dict[str, Any]:
    """Figures of the first student, and of each under `students` where there are several.

    The teacher's, under `teacher`, say what the prompt itself would do to the same requests, and
    the floor's, under `floor`, what no adapter would.
    """
    figures = {name: _figures(drift, name, seed) for name in drift.systems}
    teacher, floor = figures.pop(drift.teacher), figures.pop(FLOOR)
    for name, its in figures.items():
        its["kept_to"] = drift.kept.get(name, FLOOR)
        its["advice"] = advice(its, teacher, floor, drift.off)
    first = next(iter(figures.values()))
    return {
        "source": drift.source,
        "n": len(drift.inputs),
        "max_new_tokens": drift.max_new_tokens,
        **first,
        "teacher": teacher,
        "floor": floor,
        **({"students": figures} if len(figures) > 1 else {}),
        "off_identical": drift.off.identical,
        "off_tokens": drift.off.tokens,
        "off_largest_kl": drift.off.largest_kl,
    }


def advice(
    student: dict[str, Any], teacher: dict[str, Any], floor: dict[str, Any], off: OffSwitch
) -> str:
    """What the figures mean for whoever serves the adapter, in one to three plain sentences.

    An adapter is judged by its distance from what it was trained to stay with: the base model, or
    the base model with the prompt.
    """
    return " ".join(
        [_judgement(student, floor if student["kept_to"] == TEACHER else teacher), *_off(off)]
    )


def _judgement(student: dict[str, Any], other: dict[str, Any]) -> str:
    to = student["kept_to"]
    kl, over_reach = student[f"kl_from_{to}"], student[OVER_REACH[to]]
    whom = {FLOOR: "the base model", TEACHER: "the base model with the prompt"}[to]
    itself = {FLOOR: "the prompt itself", TEACHER: "no adapter"}[to]
    if over_reach is not None and _low(over_reach) > MUCH_OVER_REACH:
        beyond = {
            FLOOR: f"(with the prompt itself, {other['over_reach']['value']:.0%})",
            TEACHER: "where the model with the prompt does not",
        }[to]
        return (
            f"Too much: {over_reach['value']:.0%} of the general requests are answered in the "
            f"prompt's format {beyond}. Send this adapter the prompt's own kind of requests, and "
            "others to the base model."
        )
    if _low(kl) > MUCH_KL:
        return (
            f"Too much: {kl['value']:.2f} nats per token away from {whom} on requests that the "
            f"prompt is not about ({itself}: {other[f'kl_from_{to}']['value']:.2f}). "
            "Read some of the changed answers; send such requests to the base model, or take an "
            "earlier checkpoint or a lower learning rate."
        )
    if _high(kl) < MUCH_KL:
        if to == TEACHER:
            return "On requests that the prompt is not about it does what the prompt would do."
        return "Little changed on requests that the prompt is not about."
    return (
        f"About {MUCH_KL} nats per token away from {whom} on requests that the prompt is not "
        "about: too few requests to tell whether that is too much (`--general FILE`)."
    )


def _off(off: OffSwitch) -> list[str]:
    if off.identical is None:
        return [f"Not checked that the adapter can be switched off: {off.why}."]
    if off.identical:
        return []
    return [
        "With the adapter switched off this is NOT the base model: something was trained or "
        "changed that the switch does not reach, such as biases (`bias:`) or merged weights. "
        "Teacher and floor of this report are then not the base model's."
    ]


def _low(figure: dict[str, Any]) -> float:
    return figure["value"] if figure["ci_low"] is None else figure["ci_low"]


def _high(figure: dict[str, Any]) -> float:
    return figure["value"] if figure["ci_high"] is None else figure["ci_high"]


def _divergence_from(
    context: Context,
    reference: Subject,
    systems: Sequence[Subject],
    inputs: Sequence[Input],
    answers: list[Generated],
) -> dict[str, list[float]]:
    """KL(reference||system) along the reference's answers, by system and input; its own is 0."""
    others = [system for system in systems if system is not reference]
    sequences = {
        system.name: [
            request_and_answer(request, given.ids)
            for request, given in zip(system.requests(inputs), answers, strict=True)
        ]
        for system in systems
    }
    label = f"general inputs: divergence from the {reference.name}"
    with context.progress(label, len(inputs)) as advance:
        found = divergences(reference, others, sequences, advance)
    sums = {name: [float(tokens.sum()) for tokens in by_input] for name, by_input in found.items()}
    return {**sums, reference.name: [0.0] * len(inputs)}


def _changed(answers: Sequence[Generated], reference: Sequence[Generated]) -> list[bool]:
    return [mine.ids != its.ids for mine, its in zip(answers, reference, strict=True)]


def _over_reach(
    answers: Sequence[Generated], reference: Sequence[Generated], valid: Score | None
) -> list[bool] | None:
    if valid is None:
        return None
    return [
        bool(valid(mine.text, its.text)) and not valid(its.text, its.text)
        for mine, its in zip(answers, reference, strict=True)
    ]


def _figures(drift: Drift, name: str, seed: int) -> dict[str, Any]:
    system = drift.systems[name]

    def share(found: list[bool] | None) -> dict[str, Any] | None:
        return None if found is None else intervals.mean(list(map(float, found)), seed).as_dict()

    from_teacher = intervals.ratio_of_sums(system.kl_teacher, drift.teacher_tokens, seed)
    return {
        "kl_from_floor": intervals.ratio_of_sums(system.kl, drift.tokens, seed).as_dict(),
        "kl_from_teacher": from_teacher.as_dict(),
        "changed": share(system.changed),
        "changed_from_teacher": share(system.changed_teacher),
        "over_reach": share(system.over_reach),
        "over_reach_from_teacher": share(system.over_reach_teacher),
    }
