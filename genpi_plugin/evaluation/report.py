"""What an evaluation produces: a table on the terminal, and files with the same figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from genpi_plugin.evaluation.figures.measured import Measured
from genpi_plugin.evaluation.figures.names import FLOOR, TEACHER
from genpi_plugin.evaluation.headlines import METRICS, USER_SCORE_FORMAT, headlines, shown_figure
from genpi_plugin.evaluation.html import write_html
from genpi_plugin.evaluation.sections.benchmarks import table_rows as benchmark_rows
from genpi_plugin.evaluation.sections.cost import table_rows as cost_rows


def show(console: Console, metrics: dict[str, Any]) -> None:
    """Print the table of systems and, below it, the two figures that matter most."""
    table = Table(title=f"{metrics['n']} held-out inputs, 95 % intervals", title_justify="left")
    table.add_column("", min_width=len("internalization"), overflow="fold")
    for name in metrics["systems"]:
        table.add_column(f"{name}\n{kind_of(name, metrics)}", justify="right")
    for label, *cells in table_rows(metrics):
        table.add_row(label, *(cell.replace(" [", "\n[") for cell in cells))
    console.print(table)
    for line in headlines(metrics):
        console.print(line, highlight=False, soft_wrap=True)
    if "settings" in metrics["cost"]:
        show_cost(console, metrics["cost"])
    if "benchmarks" in metrics:
        show_benchmarks(console, metrics)


def show_cost(console: Console, cost: dict[str, Any]) -> None:
    """Print what one request costs in each setting, and the verdict."""
    first, *rows = cost_rows(cost)
    table = Table(title=f"One request, {cost['where']}", title_justify="left")
    for place, heading in enumerate(first):
        table.add_column(heading, justify="right" if place else "left", no_wrap=not place)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(cost["verdict"], highlight=False, soft_wrap=True)


def show_benchmarks(console: Console, metrics: dict[str, Any]) -> None:
    """Print what floor and students score on the benchmarks."""
    first, *rows = benchmark_rows(metrics["benchmarks"])
    table = Table(title=_benchmarks_title(metrics), title_justify="left")
    for place, heading in enumerate(first):
        table.add_column(heading, justify="right" if place > 1 else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell.replace(" [", "\n[") for cell in row))
    console.print(table)


def _benchmarks_title(metrics: dict[str, Any]) -> str:
    of, limit = metrics["benchmarks"], metrics["benchmarks"]["limit"]
    first = f", the first {limit} items of each" if limit else ""
    return f"lm-evaluation-harness {of['harness']}{first}; ± is its standard error"


def kind_of(name: str, metrics: dict[str, Any]) -> str:
    """A system's description, in a word or two."""
    known = {FLOOR: "no prompt", TEACHER: "prompt"}
    return known.get(name, "adapter, no prompt" if name in metrics["students"] else "this prompt")


def table_rows(metrics: dict[str, Any]) -> list[list[str]]:
    """One row a metric: its name, then a cell for each system."""
    systems = metrics["systems"]
    known = [name for name in METRICS if name in systems[TEACHER]]
    user_scores = [name for name in systems[TEACHER] if name not in (*METRICS, "cut_answers")]
    rows = []
    for metric in (*known, *user_scores):
        label, form = METRICS.get(metric, (metric, USER_SCORE_FORMAT))
        rows.append([label, *(shown_figure(systems[name][metric], form) for name in systems)])
    return rows


def write(
    folder: Path, metrics: dict[str, Any], details: dict[str, Any], measured: Measured
) -> None:
    """Write the figures, the data behind them, and pages to read, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "metrics.json", metrics)
    _write_json(folder / "details.json", details)
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as file:
        for index, text in enumerate(measured.inputs):
            file.write(json.dumps(_answer_line(measured, index, text), ensure_ascii=False) + "\n")
    if recitals := details.get("recitals"):
        page = _recital_page(recitals[0], details["prompt_text"])
        (folder / "recital.md").write_text(page, encoding="utf-8")
    (folder / "report.md").write_text(_page(metrics, measured), encoding="utf-8")
    write_html(folder, metrics, details)


def _answer_line(measured: Measured, index: int, text: str) -> dict[str, Any]:
    own_id = measured.ids[index] if measured.ids else ""
    return {
        **({"id": own_id} if own_id else {}),
        "input": text,
        **({"slots": measured.values[index]} if measured.values else {}),
        **{
            name: {
                "answer": answers[index].text,
                **({"thoughts": found} if (found := answers[index].thoughts) else {}),
                "cut": answers[index].cut,
                "kl_to_teacher": measured.kl[name][index] / max(measured.tokens[index], 1),
                **_along_own(measured, name, index),
                **{metric: values[index] for metric, values in measured.scores[name].items()},
            }
            for name, answers in measured.answers.items()
        },
    }


def _along_own(measured: Measured, name: str, index: int) -> dict[str, float]:
    if name not in measured.own_path:
        return {}
    own, tokens = measured.own_path[name], max(len(measured.answers[name][index].ids), 1)
    return {
        "kl_own_path": own.kl[index] / tokens,
        "kl_own_path_reverse": own.reverse[index] / tokens,
    }


def _page(metrics: dict[str, Any], measured: Measured) -> str:
    systems = list(metrics["systems"])
    student = next(iter(metrics["students"]))
    lines = ["# What was internalized", ""]
    lines += [f"> **Warning:** {line}" for line in metrics["warnings"]]
    lines += ["", *(f"- {line}" for line in headlines(metrics)), ""]
    lines += [
        "| | " + " | ".join(f"{name} ({kind_of(name, metrics)})" for name in systems) + " |",
        "|---" * (len(systems) + 1) + "|",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in table_rows(metrics)]
    if "benchmarks" in metrics:
        heading, *rows = benchmark_rows(metrics["benchmarks"])
        lines += ["", _benchmarks_title(metrics), "", "| " + " | ".join(heading) + " |",
                  "|---" * len(heading) + "|"]  # fmt: skip
        lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", f"{metrics['n']} held-out inputs; intervals are 95 % percentile bootstrap over "
              "inputs. All answers: `answers.jsonl`; the recited prompt: `recital.md`.",
              "", f"## Where {student} is furthest from the teacher", ""]  # fmt: skip
    divergence = [k / max(n, 1) for k, n in zip(measured.kl[student], measured.tokens, strict=True)]
    for index in sorted(range(len(divergence)), key=lambda i: -divergence[i])[:5]:
        lines += [
            f"### {divergence[index]:.2f} nats per token",
            "",
            _quoted(measured.inputs[index]),
        ]
        for name in (TEACHER, student, FLOOR):
            answer = measured.answers[name][index]
            lines += ["", f"**{name}**", ""]
            if answer.thoughts:
                lines += ["*thoughts:*", "", _quoted(answer.thoughts), "", "*answer:*", ""]
            lines.append(_quoted(answer.text))
        lines.append("")
    return "\n".join(lines)


def _recital_page(recital: dict[str, Any], prompt: str) -> str:
    cut = " It reached the length limit." if recital["cut"] else ""
    pieces = recital.get("pieces", 1)
    in_pieces = f", in {pieces} pieces, each after the last words of those before" \
        if pieces > 1 else ""  # fmt: skip
    return (
        f"# The prompt, recited (chrF {recital['chrf']:.1f})\n\nAsked as in training, on a "
        f"held-out input{in_pieces}.{cut}\n\n## Recited\n\n{_quoted(recital['prompt'])}\n\n"
        f"## The prompt itself\n\n{_quoted(prompt)}\n\n"
        f"## The reason it gave\n\n{_quoted(recital['reason'] or '(none)')}\n"
    )


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
