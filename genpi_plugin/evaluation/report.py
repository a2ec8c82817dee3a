"""What an evaluation leaves: a table on the terminal, and files that hold the same figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .measure import Measured, Recital
from .summary import FLOOR, STUDENT, TEACHER

# Metric -> what a reader calls it, and how its value is shown.
METRICS = {
    "kl_to_teacher": ("KL(teacher‖.), nats/token", "{:.3f}"),
    "valid": ("well-formed actions", "{:.0%}"),
    "agreement": ("action = teacher's", "{:.0%}"),
    "exact": ("answer = teacher's", "{:.0%}"),
    "chrf": ("chrF to the teacher's answer", "{:.1f}"),
}

HEADINGS = {FLOOR: "no prompt", TEACHER: "prompt", STUDENT: "adapter, no prompt"}


def show(console: Console, metrics: dict[str, Any]) -> None:
    """Print the table of systems and, below it, the two figures that matter most."""
    table = Table(title=f"{metrics['n']} held-out inputs, 95 % intervals", title_justify="left")
    table.add_column("")
    for name in metrics["systems"]:
        table.add_column(f"{name}\n{HEADINGS.get(name, '')}", justify="right")
    for label, *cells in table_rows(metrics):
        table.add_row(label, *(cell.replace(" [", "\n[") for cell in cells))
    console.print(table)
    for line in headlines(metrics):
        console.print(line)


def table_rows(metrics: dict[str, Any]) -> list[list[str]]:
    """One row a metric: its name, then a cell for each system."""
    systems = metrics["systems"]
    rows = []
    for metric, (label, form) in METRICS.items():
        if metric in systems[STUDENT]:
            rows.append([label, *(_figure(systems[name][metric], form) for name in systems)])
    return rows


def headlines(metrics: dict[str, Any]) -> list[str]:
    """Internalization, retention, recitation and what a request saves, one line each."""
    cost = metrics["cost"]
    lines = [f"Internalization: {_figure(metrics['internalization'], '{:.2f}')}"]
    for metric, retained in metrics["retention"].items():
        if metric in ("valid", "agreement"):
            lines.append(f"Retention of {METRICS[metric][0]}: {_figure(retained, '{:.2f}')}")
    if "recitation" in metrics:
        recited = metrics["recitation"]
        shown = _figure(recited["chrf"], "{:.1f}")
        lines.append(f"Recited prompt, chrF: {shown} ({recited['n']} recitals)")
    lines.append(
        f"Request: {cost['request_tokens_with_prompt']:.0f} tokens with the prompt, "
        f"{cost['request_tokens_without_prompt']:.0f} without"
    )
    return lines


def write(
    folder: Path, metrics: dict[str, Any], measured: Measured, recitals: list[Recital], prompt: str
) -> None:
    """Write `metrics.json`, `answers.jsonl`, `recital.md` and `report.md` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "metrics.json", metrics)
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as file:
        for index, text in enumerate(measured.inputs):
            file.write(json.dumps(_answer_line(measured, index, text), ensure_ascii=False) + "\n")
    if recitals:
        (folder / "recital.md").write_text(_recital_page(recitals[0], prompt), encoding="utf-8")
    (folder / "report.md").write_text(_page(metrics, measured), encoding="utf-8")


def _heading(name: str) -> str:
    return f"{name} ({HEADINGS[name]})" if name in HEADINGS else name


def _figure(interval: dict[str, Any], form: str) -> str:
    if interval["value"] is None:
        return "not defined"
    value = form.format(interval["value"])
    if interval["ci_low"] is None:
        return value
    return f"{value} [{form.format(interval['ci_low'])}, {form.format(interval['ci_high'])}]"


def _answer_line(measured: Measured, index: int, text: str) -> dict[str, Any]:
    return {
        "input": text,
        **{
            name: {
                "answer": answers[index].text,
                "cut": answers[index].cut,
                "kl_to_teacher": measured.kl[name][index] / max(measured.tokens[index], 1),
                **{metric: values[index] for metric, values in measured.scores[name].items()},
            }
            for name, answers in measured.answers.items()
        },
    }


def _page(metrics: dict[str, Any], measured: Measured) -> str:
    systems = list(metrics["systems"])
    lines = ["# What was internalized", "", *(f"- {line}" for line in headlines(metrics)), ""]
    lines += [
        "| | " + " | ".join(_heading(name) for name in systems) + " |",
        "|---" * (len(systems) + 1) + "|",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in table_rows(metrics)]
    lines += ["", f"{metrics['n']} held-out inputs; intervals are 95 % percentile bootstrap over "
              "inputs. All answers: `answers.jsonl`; the recited prompt: `recital.md`.",
              "", "## Where the student is furthest from the teacher", ""]  # fmt: skip
    divergence = [k / max(n, 1) for k, n in zip(measured.kl[STUDENT], measured.tokens, strict=True)]
    for index in sorted(range(len(divergence)), key=lambda i: -divergence[i])[:5]:
        lines += [f"### {divergence[index]:.2f} nats a token", "", _quoted(measured.inputs[index])]
        for name in (TEACHER, STUDENT, FLOOR):
            lines += ["", f"**{name}**", "", _quoted(measured.answers[name][index].text)]
        lines.append("")
    return "\n".join(lines)


def _recital_page(recital: Recital, prompt: str) -> str:
    cut = " It ran into the length limit." if recital.cut else ""
    return (
        f"# The prompt, recited (chrF {recital.chrf:.1f})\n\nAsked as in training, on a held-out "
        f"input.{cut}\n\n## Recited\n\n{_quoted(recital.prompt)}\n\n## The prompt itself\n\n"
        f"{_quoted(prompt)}\n\n## The reason it gave\n\n{_quoted(recital.reason or '(none)')}\n"
    )


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
