"""Findings about an adapter besides internalization, good or bad. Pure.

Every limit is compared with an interval's end, see `verdict.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from genpi_plugin.evaluation.figures.limits import (
    CLAUSE_MISSING,
    DISCLOSED,
    DISCLOSED_BY_ANY,
    HIDDEN,
    KEPT,
    LESS_ON_OWN_PATH,
    LOST,
    MUCH_KL,
    MUCH_OVER_REACH,
)
from genpi_plugin.evaluation.html.formatting import (
    TEACHER,
    hundredths,
    join_words,
    metric,
    percent,
    students_of,
)


@dataclass(frozen=True)
class Finding:
    """A good or bad result; `text` is a clause that fits after a comma."""

    good: bool
    text: str


def findings(metrics: Mapping[str, Any]) -> list[Finding]:
    """Findings besides internalization, in the order of the report."""
    return [
        *_rivals(metrics),
        *_own_path(metrics),
        *_scores(metrics),
        *_clauses(metrics.get("clauses")),
        *_drift(metrics),
        *_disclosure(metrics),
        *_benchmarks(metrics),
        *_cost(metrics.get("cost")),
    ]


def _rivals(metrics: Mapping[str, Any]) -> list[Finding]:
    """Adapters and prompts that are significantly closer to the teacher than the first adapter."""
    first, better = students_of(metrics)[0], []
    for entry in metrics.get("comparisons") or []:
        if entry["figure"] != "internalization" or not entry["significant"]:
            continue
        ahead = entry["left"] if entry["difference"]["value"] > 0 else entry["right"]
        if first in (entry["left"], entry["right"]) and ahead != first:
            better.append(f"“{ahead}”")
    verb = "is" if len(better) == 1 else "are"
    text = f"{join_words(better)} {verb} closer to the prompted model"
    return [Finding(False, text)] if better else []


def _own_path(metrics: Mapping[str, Any]) -> list[Finding]:
    """Of the first student: its own answers lead it clearly further away than the teacher's do."""
    own, along = metrics.get("own_path"), metrics["internalization"]
    if not own or own["ci_high"] is None or along["ci_low"] is None:
        return []
    if own["ci_high"] >= along["ci_low"] - LESS_ON_OWN_PATH:
        return []
    return [Finding(False, f"along its own answers it is only {percent(own['value'])}")]


def _scores(metrics: Mapping[str, Any]) -> list[Finding]:
    """Task scores; similar wording (chrF, exact) is not a task score."""
    found = []
    student = metrics["systems"].get(students_of(metrics)[0], {})
    for name, kept in (metrics.get("retention") or {}).items():
        if name in ("chrf", "exact") or kept["value"] is None or kept["ci_low"] is None:
            continue
        shown = metric(name).formatter(student[name]["value"])
        if name == "valid":
            good, bad = (
                f"keeps its format ({shown} well-formed)",
                f"only {shown} of answers are well-formed",
            )
        elif name == "agreement":
            good = f"acts as the prompted model does ({shown})"
            bad = f"its action is the prompted model’s in only {shown} of answers"
        else:
            good, bad = (
                f"keeps {metric(name).label} ({shown})",
                f"it loses {metric(name).label} ({shown})",
            )
        if kept["ci_low"] >= KEPT:
            found.append(Finding(True, good))
        elif kept["ci_high"] < LOST:
            found.append(Finding(False, bad))
    return found


def _clauses(section: Mapping[str, Any] | None) -> list[Finding]:
    alive = [clause for clause in (section or {}).get("clauses", []) if not clause["dead"]]
    if not alive:
        return []
    missing = [clause for clause in alive if is_missing(clause)]
    if missing:
        of = f"{len(missing)} of {len(alive)} clauses that matter"
        return [Finding(False, f"{of} {'is' if len(missing) == 1 else 'are'} not in it")]
    if not all(is_present(clause) for clause in alive):
        return []  # too few inputs to tell
    return [Finding(True, f"misses none of its {len(alive)} clauses that matter")]


def is_missing(clause: Mapping[str, Any]) -> bool:
    """Whether less than half of a clause's effect is in the adapter, with the whole interval."""
    figure = clause.get("internalized")
    if not figure or figure["value"] is None:
        return False
    upper = figure["value"] if figure["ci_high"] is None else figure["ci_high"]
    return bool(upper < CLAUSE_MISSING)


def is_present(clause: Mapping[str, Any]) -> bool:
    """Whether half of a clause's effect or more is in the adapter, with the whole interval."""
    figure = clause.get("internalized")
    if not figure or figure["value"] is None:
        return False
    lower = figure["value"] if figure["ci_low"] is None else figure["ci_low"]
    return bool(lower >= CLAUSE_MISSING)


def first_of(section: Mapping[str, Any], metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """A section's figures of the first student, where it has several."""
    students = section.get("students")
    return section if not students else students[students_of(metrics)[0]]


def _drift(metrics: Mapping[str, Any]) -> list[Finding]:
    if not metrics.get("drift"):
        return []
    drift, found = first_of(metrics["drift"], metrics), []
    to_teacher = drift.get("kept_to") == TEACHER
    reach = drift.get("over_reach_from_teacher" if to_teacher else "over_reach")
    kl = drift["kl_from_teacher" if to_teacher else "kl_from_floor"]
    if reach and reach["ci_low"] is not None and reach["ci_low"] > MUCH_OVER_REACH:
        shown = percent(reach["value"])
        where = ", where the prompted model does not" if to_teacher else ""
        text = f"it answers {shown} of other requests in the prompt’s format{where}"
        found.append(Finding(False, text))
    if kl["ci_low"] is not None and kl["ci_low"] > MUCH_KL:
        shown = hundredths(kl["value"])
        how = "is {} nats per token from the prompted model on other requests" \
            if to_teacher else "shifts other requests by {} nats per token"  # fmt: skip
        found.append(Finding(False, f"it {how.format(shown)}"))
    elif kl["ci_high"] is not None and kl["ci_high"] < MUCH_KL and not found:
        good = "does with other requests what the prompt would do" if to_teacher \
            else "leaves other requests nearly unchanged"  # fmt: skip
        found.append(Finding(True, good))
    if metrics["drift"].get("off_identical", drift.get("off_identical")) is False:
        found.append(Finding(False, "switched off, the model is not the base model"))
    return found


def _disclosure(metrics: Mapping[str, Any]) -> list[Finding]:
    section = metrics.get("disclosure") or {}
    systems = section.get("systems") or {}
    student = systems.get(students_of(metrics)[0], {})
    mine = student.get("clauses")
    if not mine or mine["value"] is None or mine["ci_low"] is None:
        return []
    shown, teacher = percent(mine["value"]), systems.get(TEACHER, {})
    total, any_of = section.get("n_clauses") or 0, len(student.get("clauses_of_any") or [])
    if mine["ci_low"] > DISCLOSED:
        compared = f" (prompted model: {percent(teacher['clauses']['value'])})" if teacher else ""
        return [Finding(False, f"an attack extracts {shown} of its clauses on average{compared}")]
    if total and any_of >= DISCLOSED_BY_ANY * total:
        return [Finding(False, f"attacks together extract {any_of} of its {total} clauses")]
    if mine["ci_high"] < HIDDEN:
        disclosed = "none" if not mine["value"] else shown
        return [Finding(True, f"discloses {disclosed} of its clauses to an attack")]
    return []


def _benchmarks(metrics: Mapping[str, Any]) -> list[Finding]:
    """Public tests on which the first student is worse than the base model, at 95 % over all of
    their figures together; of a group the figures of the whole, not of its tasks."""
    section, first, worse = metrics.get("benchmarks") or {}, students_of(metrics)[0], []
    tasks, groups = section.get("tasks") or {}, section.get("groups") or {}
    inner = {task for group in groups if group in tasks for task in _within(group, groups)}
    judged = [
        (task, one["differences"][first], one["higher_is_better"])
        for task, figures in tasks.items()
        if task not in inner
        for one in figures.values()
        if one["differences"][first]["ci_low"] is not None
    ]
    for task, difference, higher_is_better in judged:
        fell = (difference["value"] < 0) is higher_is_better
        if fell and _differs(difference, len(judged)) and task not in worse:
            worse.append(task)
    return [Finding(False, f"it loses on {join_words(worse)}")] if worse else []


def _within(group: str, groups: Mapping[str, Any]) -> list[str]:
    """The tasks and groups of a group, at any depth."""
    return [one for its in groups.get(group, ()) for one in (its, *_within(its, groups))]


def _differs(difference: Mapping[str, Any], figures: int) -> bool:
    """Whether a difference is significant as one of several (Bonferroni, by the normal
    distribution: its 95 % interval made as much wider)."""
    normal, low, high = NormalDist(), difference["ci_low"], difference["ci_high"]
    wider = normal.inv_cdf(1 - 0.025 / figures) / normal.inv_cdf(0.975)
    value = difference["value"]
    return bool(value - wider * (value - low) > 0 or value + wider * (high - value) < 0)


def _cost(cost: Mapping[str, Any] | None) -> list[Finding]:
    if not cost:
        return []
    found = []
    saved = cost.get("request_tokens_saved_share")
    if saved is not None and saved > 0:
        found.append(Finding(True, f"saves {percent(saved)} of a request’s tokens"))
    outcomes = cached_outcomes(cost)
    slower = [name for name, outcome in outcomes.items() if outcome == "never"]
    if slower and len(slower) == len(outcomes):
        found.append(Finding(False, "a cached prefix is as fast as the adapter or faster"))
    elif slower:
        found.append(
            Finding(False, f"a cached prefix is as fast as the {slower[0]} adapter or faster")
        )
    elif outcomes and all(outcome in ("paid_back", "unknown") for outcome in outcomes.values()):
        found.append(Finding(True, "is faster than even a cached prefix"))
    return found


def cached_outcomes(cost: Mapping[str, Any]) -> dict[str, str]:
    """`merged` and `unmerged` against the cached prompt: paid_back, never, unclear, unknown."""
    table = ((cost.get("break_even") or {}).get("seconds") or {}).get("prompt_cached") or {}
    short = {"adapter_merged": "merged", "adapter_unmerged": "unmerged"}
    return {short.get(name, name): result["outcome"] for name, result in table.items()}
