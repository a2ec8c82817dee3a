"""What an evaluation produces: a table on the terminal, and files with the same figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from genpi_plugin.evaluation.figures.measured import Measured
from genpi_plugin.evaluation.figures.names import FLOOR, TEACHER
from genpi_plugin.evaluation.html import write_html
from genpi_plugin.evaluation.sections.cost import table_rows as cost_rows

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
        rows.append([label, *(_figure(systems[name][metric], form) for name in systems)])
    return rows


def headlines(metrics: dict[str, Any]) -> list[str]:
    """Internalization, retention, recitation and what a request saves, one line each."""
    cost = metrics["cost"]
    lines = []
    for name, student in metrics["students"].items():
        of = f" of {name}" if len(metrics["students"]) > 1 else ""
        lines.append(f"Internalization{of}: {_figure(student['internalization'], '{:.2f}')}")
        lines += _own_path(name, metrics["systems"])
        lines += [
            f"Retention{of}, {METRICS[metric][0]}: {_figure(retained, '{:.2f}')}"
            for metric, retained in student["retention"].items()
            if metric in ("valid", "agreement")
        ]
    lines += [_difference(one) for one in headline_comparisons(metrics)]
    for turn in metrics.get("turns", []):
        own = _figure(turn["own_path"], "{:.2f}")
        lines.append(
            f"Turn {turn['turn']} ({turn['n']} conversations), internalization: "
            f"{_figure(turn['internalization'], '{:.2f}')}, along its own answers: {own}"
        )
    for point in metrics.get("checkpoints", []):
        lines.append(
            f"Step {point['step']}, internalization on {metrics['source']['checkpoints_on']}: "
            f"{_figure(point['internalization'], '{:.2f}')}"
        )
    if "recitation" in metrics:
        recited = metrics["recitation"]
        shown = _figure(recited["chrf"], "{:.1f}")
        how = f"{recited['n']} recitals"
        if "chrf_told" in recited:
            told = _figure(recited["chrf_told"], "{:.1f}")
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
    """The first student's figures along its own answers, and how long those are."""
    mine = systems[name]
    if "own_path" not in mine:
        return []
    nats, tokens = _figure(mine["kl_own_path"], "{:.3f}"), mine["answer_tokens"]["value"]
    return [
        f"Along the answers of {name} itself: {_figure(mine['own_path'], '{:.2f}')}, "
        f"KL(teacher‖.) {nats} nats/token ({tokens:.0f} tokens an answer, the teacher's "
        f"{systems[TEACHER]['answer_tokens']['value']:.0f})"
    ]


def _side_effects(metrics: dict[str, Any]) -> list[str]:
    """Of the first student: what else changed, and what attacks extract."""
    lines = []
    if drift := metrics.get("drift"):
        kl, changed = _figure(drift["kl_from_floor"], "{:.3f}"), _figure(drift["changed"], "{:.0%}")
        lines.append(f"Other requests: KL(floor‖.) {kl} nats/token, answers changed: {changed}")
        lines.append(
            f"Other requests: KL(teacher‖.) {_figure(drift['kl_from_teacher'], '{:.3f}')} "
            f"nats/token (the floor: {_figure(drift['floor']['kl_from_teacher'], '{:.3f}')})"
        )
        if drift["over_reach"]:
            reach = _figure(drift["over_reach"], "{:.0%}")
            lines.append(f"Other requests answered in the prompt's format: {reach}")
        lines.append(drift["advice"])
        if drift["off_identical"]:
            lines.append(f"Adapter off: all {drift['off_tokens']} tokens are the base model's")
    if disclosure := metrics.get("disclosure"):
        for name, figures in disclosure["systems"].items():
            shown = _figure(figures["clauses"], "{:.0%}")
            lines.append(
                f"Clauses disclosed to an attack, {name}: {shown}, to any of "
                f"{disclosure['n_attacks']}: {len(figures['clauses_of_any'])} of "
                f"{disclosure['n_clauses']}"
            )
    return lines


def headline_comparisons(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Comparisons worth a line: students and other prompts with each other, on internalization, along
    their own answers, and on scores where the difference is significant."""
    return [
        one
        for one in metrics["comparisons"]
        if one["right"] not in (FLOOR, TEACHER)
        and (one["significant"] or one["figure"] in ("internalization", "own_path"))
    ]


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


def _difference(one: dict[str, Any]) -> str:
    label, form = METRICS.get(one["figure"], (one["figure"], USER_SCORE_FORMAT))
    signed = form.replace("{:", "{:+")
    significance = "significant" if one["significant"] else "not significant"
    shown = _figure(one["difference"], signed)
    return f"{one['left']} against {one['right']}, {label}: {shown}, {significance}"


def _figure(interval: dict[str, Any], form: str) -> str:
    if interval["value"] is None:
        return "not defined"
    value = form.format(interval["value"])
    if interval["ci_low"] is None:
        return value
    return f"{value} [{form.format(interval['ci_low'])}, {form.format(interval['ci_high'])}]"


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
