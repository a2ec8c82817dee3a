"""The report in one sentence, and cautions about it. Pure.

Every judgement is based on an interval's end, not on its middle: praise on the lower end, blame
on the upper one. Where there are too few inputs to tell, nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genpi_plugin.evaluation.figures.limits import FEW_INPUTS, MOST, NEARLY_ALL, PART
from genpi_plugin.evaluation.html.findings import Finding, findings
from genpi_plugin.evaluation.html.formatting import (
    TEACHER,
    interval_text,
    join_words,
    percent,
    students_of,
)


def verdict(metrics: Mapping[str, Any]) -> str:
    """One sentence: how much the adapter took over, then what else is good, then what is bad."""
    return "".join(text for _, text in verdict_parts(metrics))


def verdict_parts(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The sentence in parts that the page styles differently: (`lead`, `good` or `bad`; text)."""
    lead, found = _lead(metrics), findings(metrics)
    good = [finding.text for finding in found if finding.good]
    bad = [finding.text for finding in found if not finding.good]
    parts = [("lead", lead.text)]
    if lead.good:
        if good:
            parts.append(("good", join_words(["", *good]) if len(good) > 1 else f" and {good[0]}"))
        if bad:
            parts.append(("bad", f"; but {join_words(bad)}"))
    else:
        if bad:
            parts.append(("bad", f"; {join_words(bad)}"))
        if good:
            parts.append(("good", f"; still, it {join_words(good)}"))
    kind, text = parts[-1]
    return [*parts[:-1], (kind, f"{text}.")]


def cautions(metrics: Mapping[str, Any]) -> list[str]:
    """Reasons for caution besides the evaluation's own warnings; whole sentences."""
    found, n = [], metrics["n"]
    if n < FEW_INPUTS:
        found.append(f"Only {n} input{'s' * (n != 1)}: intervals over so few mean little.")
    cut = metrics["systems"][TEACHER].get("cut_answers", 0)
    if cut:
        limit = (metrics.get("source") or {}).get("max_new_tokens")
        at = f" of {limit} tokens" if limit else ""
        found.append(
            f"{cut} of the teacher’s {n} answers reached the length limit{at} (--max-new-tokens); "
            "only their beginning is judged."
        )
    return found


def _lead(metrics: Mapping[str, Any]) -> Finding:
    figure = metrics["internalization"]
    students = students_of(metrics)
    name = "The adapter" if len(students) < 2 else f"The adapter “{students[0]}”"
    value, low, high = figure["value"], figure["ci_low"], figure["ci_high"]
    if value is None:
        return Finding(False, "The prompt changes nothing here, so there is nothing to take over")
    low, high = (value if low is None else low), (value if high is None else high)
    shown = f"{percent(value)} {interval_text(figure, percent)}".strip()
    if high < 0:
        return Finding(
            False, f"{name} is further from the prompted model than no adapter ({shown})"
        )
    if low <= 0:
        return Finding(False, f"{name} has not been shown to take over anything ({shown})")
    for limit, words in ((NEARLY_ALL, "nearly all"), (MOST, "most"), (PART, "a part")):
        if low >= limit:
            return Finding(
                limit > PART, f"{name} took over {words} of the prompt’s effect ({shown})"
            )
    return Finding(False, f"{name} took over little of the prompt’s effect ({shown})")
