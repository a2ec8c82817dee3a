"""The page: the sections' views, rendered through a template into one file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from genpi_plugin.evaluation.html import answers, clauses, cost, disclosure, drift, systems
from genpi_plugin.evaluation.html.formatting import (
    colours,
    figure,
    interval_text,
    percent,
    role_of,
    seconds,
    students_of,
    tenths,
    value_text,
)
from genpi_plugin.evaluation.html.verdict import cautions, verdict_parts

NAME = "report.html"


def write_html(folder: Path, metrics: Mapping[str, Any], details: Mapping[str, Any]) -> Path:
    """Write `report.html` into `folder`, and return its path.

    Args:
        metrics: what `metrics.json` holds.
        details: what `details.json` holds; without it, answers and recitals are left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    path.write_text(render(metrics, details), encoding="utf-8")
    return path


def render(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    """The page as text: self-contained, without the sections that were not measured.

    All text of models and users is escaped.
    """
    environment = SandboxedEnvironment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        style=_style(),
        metrics=metrics,
        title=_title(metrics),
        verdict=verdict_parts(metrics),
        warnings=list(metrics.get("warnings") or []),
        base_model=_base_model(metrics),
        cautions=cautions(metrics),
        first=students_of(metrics)[0],
        css=colours(metrics),
        taken_over=systems.taken_over(metrics),
        table=systems.table(metrics),
        divergence=systems.divergence(metrics),
        own_path=systems.divergence(metrics, "kl_own_path"),
        comparisons=systems.comparisons(metrics),
        turns=systems.turns(metrics),
        checkpoints=systems.checkpoints(metrics),
        clauses=clauses.clauses(metrics, details),
        cases=answers.cases(metrics, details),
        recitals=answers.recitals(details),
        drift=drift.drift(metrics, details),
        disclosure=disclosure.disclosure(metrics, details),
        cost=cost.cost(metrics),
        benchmarks=systems.benchmarks(metrics),
        facts=_facts(metrics),
        value_text=value_text,
        interval_text=interval_text,
        percent=percent,
        tenths=tenths,
        figure=figure,
    )


def _style() -> Markup:
    """The style sheet is ours, so it is not escaped."""
    return Markup(files(__package__).joinpath("style.css").read_text(encoding="utf-8"))


def _title(metrics: Mapping[str, Any]) -> str:
    source = metrics.get("source") or {}
    return str(source.get("prompt_id") or "the prompt")


def _base_model(metrics: Mapping[str, Any]) -> str:
    """Its own name, without the folders before it."""
    return str((metrics.get("source") or {}).get("base_model") or "").rstrip("/").split("/")[-1]


def _facts(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How everything was measured: (name, value)."""
    source = metrics.get("source") or {}
    found = [("inputs", f"{metrics['n']} from {source.get('inputs') or 'an unnamed source'}")]
    labels = {
        "base_model": "base model",
        "prompt_id": "prompt",
        "config": "config",
        "action_pattern": "well-formed action",
        "max_new_tokens": "answer limit, tokens",
        "checkpoints_on": "checkpoints measured on",
    }
    found += [(label, str(source[key])) for key, label in labels.items() if source.get(key)]
    scores = source.get("scores")
    if scores:
        found.append(("task scores", ", ".join(scores)))
    adapters = {name: one.get("adapter") for name, one in (metrics.get("students") or {}).items()}
    if not adapters and source.get("adapter"):
        adapters = {students_of(metrics)[0]: source["adapter"]}
    found += [(f"adapter, {name}", str(path)) for name, path in adapters.items() if path]
    found += [
        (f"system, {name}", role_of(name, metrics))
        for name in metrics["systems"]
        if name not in adapters
    ]
    found.append(("seed of the bootstrap", str(metrics["seed"])))
    if metrics.get("seconds") is not None:
        found.append(("time", seconds(metrics["seconds"])))
    versions = metrics.get("versions") or {}
    if versions:
        found.append(("versions", ", ".join(f"{name} {one}" for name, one in versions.items())))
    if source.get("command"):
        found.append(("command", str(source["command"])))
    return found
