"""The figures of an evaluation as lines of text: the ones that matter most, and each as a cell."""

from __future__ import annotations

from typing import Any

from genpi_plugin.evaluation.figures.names import FLOOR, TEACHER

# Metric -> its label for a reader, and the format of its value.
METRICS = {
    "internalization": ("internalization", "{:.2f}"),
    "kl_to_teacher": ("KL(teacher‖.), nats/token", "{:.3f}"),
    "own_path": ("own path: share taken over", "{:.2f}"),
    "kl_own_path": ("own path: KL(teacher‖.)", "{:.3f}"),
    "kl_own_path_reverse": ("own path: KL(.‖teacher)", "{:.3f}"),
    "answer_tokens": ("tokens of an answer", "{:.1f}"),
    "valid": ("well-formed actions", "{:.0%}"),
    "agreement": ("action = teacher's", "{:.0%}"),
    "call_made": ("calls where the teacher does", "{:.0%}"),
    "call_tool": ("calls the teacher's tools", "{:.0%}"),
    "call_arguments": ("with its arguments", "{:.0%}"),
    "values": ("uses its values", "{:.0%}"),
    "exact": ("answer = teacher's", "{:.0%}"),
    "chrf": ("chrF to the teacher's answer", "{:.1f}"),
    "thinks": ("answers with thoughts", "{:.0%}"),
}
USER_SCORE_FORMAT = "{:.3f}"


def headlines(metrics: dict[str, Any]) -> list[str]:
    """Internalization, retention, recitation and what a request saves, one line each."""
    cost = metrics["cost"]
    lines = []
    for name, student in metrics["students"].items():
        of = f" of {name}" if len(metrics["students"]) > 1 else ""
        lines.append(f"Internalization{of}: {shown_figure(student['internalization'], '{:.2f}')}")
        lines += _own_path(name, metrics["systems"])
        lines += [
            f"Retention{of}, {METRICS[metric][0]}: {shown_figure(retained, '{:.2f}')}"
            for metric, retained in student["retention"].items()
            if metric in ("valid", "agreement")
        ]
    lines += [_difference(one) for one in headline_comparisons(metrics)]
    for turn in metrics.get("turns", []):
        own = shown_figure(turn["own_path"], "{:.2f}")
        lines.append(
            f"Turn {turn['turn']} ({turn['n']} conversations), internalization: "
            f"{shown_figure(turn['internalization'], '{:.2f}')}, along its own answers: {own}"
        )
    for point in metrics.get("checkpoints", []):
        lines.append(
            f"Step {point['step']}, internalization on {metrics['source']['checkpoints_on']}: "
            f"{shown_figure(point['internalization'], '{:.2f}')}"
        )
    if "recitation" in metrics:
        recited = metrics["recitation"]
        shown = shown_figure(recited["chrf"], "{:.1f}")
        how = f"{recited['n']} recitals"
        if "chrf_told" in recited:
            told = shown_figure(recited["chrf_told"], "{:.1f}")
            how += f" in {recited['pieces']} pieces; each piece after the prompt's words: {told}"
        lines.append(f"Recited prompt, chrF: {shown} ({how})")
    lines += _side_effects(metrics)
    lines.append(
        f"Request: {cost['request_tokens_with_prompt']:.0f} tokens with the prompt, "
        f"{cost['request_tokens_without_prompt']:.0f} without"
        + (f"; {cost['tools_tokens']:.0f} are the tools'" if cost.get("tools_tokens") else "")
    )
    return lines


def _own_path(name: str, systems: dict[str, Any]) -> list[str]:
    """A student's figures along its own answers, and how long those are."""
    mine = systems[name]
    if "own_path" not in mine:
        return []
    nats, tokens = shown_figure(mine["kl_own_path"], "{:.3f}"), mine["answer_tokens"]["value"]
    return [
        f"Along the answers of {name} itself: {shown_figure(mine['own_path'], '{:.2f}')}, "
        f"KL(teacher‖.) {nats} nats/token ({tokens:.0f} tokens an answer, the teacher's "
        f"{systems[TEACHER]['answer_tokens']['value']:.0f})"
    ]


def _side_effects(metrics: dict[str, Any]) -> list[str]:
    """Of the first student: what else changed, and what attacks extract."""
    lines = []
    if drift := metrics.get("drift"):
        kl, changed = (
            shown_figure(drift["kl_from_floor"], "{:.3f}"),
            shown_figure(drift["changed"], "{:.0%}"),
        )
        lines.append(f"Other requests: KL(floor‖.) {kl} nats/token, answers changed: {changed}")
        lines.append(
            f"Other requests: KL(teacher‖.) {shown_figure(drift['kl_from_teacher'], '{:.3f}')} "
            f"nats/token (the floor: {shown_figure(drift['floor']['kl_from_teacher'], '{:.3f}')})"
        )
        to_teacher = drift.get("kept_to") == TEACHER
        if reach := drift["over_reach_from_teacher" if to_teacher else "over_reach"]:
            where = ", where the teacher's answers are not" if to_teacher else ""
            shown = shown_figure(reach, "{:.0%}")
            lines.append(f"Other requests answered in the prompt's format{where}: {shown}")
        lines.append(drift["advice"])
        if drift["off_identical"]:
            lines.append(f"Adapter off: all {drift['off_tokens']} tokens are the base model's")
    if disclosure := metrics.get("disclosure"):
        for name, figures in disclosure["systems"].items():
            shown = shown_figure(figures["clauses"], "{:.0%}")
            lines.append(
                f"Clauses disclosed to an attack, {name}: {shown}, to any of "
                f"{disclosure['n_attacks']}: {len(figures['clauses_of_any'])} of "
                f"{disclosure['n_clauses']}"
            )
    return lines


def headline_comparisons(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Comparisons worth a line: students and other prompts with each other, on internalization,
    along their own answers, and on scores where the difference is significant."""
    return [
        one
        for one in metrics["comparisons"]
        if one["right"] not in (FLOOR, TEACHER)
        and (one["significant"] or one["figure"] in ("internalization", "own_path"))
    ]


def _difference(one: dict[str, Any]) -> str:
    label, form = METRICS.get(one["figure"], (one["figure"], USER_SCORE_FORMAT))
    signed = form.replace("{:", "{:+")
    significance = "significant" if one["significant"] else "not significant"
    shown = shown_figure(one["difference"], signed)
    return f"{one['left']} against {one['right']}, {label}: {shown}, {significance}"


def shown_figure(interval: dict[str, Any], form: str) -> str:
    """A figure with its interval, as text."""
    if interval["value"] is None:
        return "not defined"
    value = form.format(interval["value"])
    if interval["ci_low"] is None:
        return value
    return f"{value} [{form.format(interval['ci_low'])}, {form.format(interval['ci_high'])}]"
