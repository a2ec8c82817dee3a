"""Does the clause method find the clause that was never trained on? Known answers, one model.

    python -m benchmarks.clauses --model models/smollm2 -o outputs/clauses

The prompt of clauses_task/ has six tools, one a worked turn, each for its own kind of request, and
two sentences. One adapter is trained on the whole prompt, and one each on the prompt with one tool
left out; all are measured against the whole prompt. The tool that was left out has to come out
last and near 0, the others where they are for the adapter of the whole prompt, near 1. The second
sentence says nothing about the task: it has to come out as dead weight.

An adapter that stands in the output folder already is not trained again, so the command may be
stopped and repeated. --smoke is a run of few steps that shows that all works, and proves nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.common import new_adapter, quiet, train_adapter
from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import make_pairs
from genpi_plugin.data.messages import Message
from genpi_plugin.data.rows import Row
from genpi_plugin.data.transcripts import parse_transcript
from genpi_plugin.evaluation.figures.intervals import internalization
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.measuring.measure import measure
from genpi_plugin.evaluation.sections.clauses import measure_clauses, summarize_clauses
from genpi_plugin.evaluation.sections.clauses.split import Part, split, text_of, without
from genpi_plugin.evaluation.sections.clauses.summary import (
    MeasuredClause,
    MeasuredClauses,
    WorstInput,
)
from genpi_plugin.evaluation.subjects.inputs import HeldOut
from genpi_plugin.evaluation.subjects.subject import Subject

TASK = Path(__file__).parent / "clauses_task"
WHOLE = "whole prompt"
# Of the teacher's distributions alone: what takes a prompt in best (docs/results.md).
SETTINGS = GenPISettings(sft_weight=0.0, prompt_generation_share=0.0, distill_weight=1.0)
MAX_NEW_TOKENS = 48


def main() -> None:
    """Train and measure the adapters that are missing, then print the table."""
    options = _options()
    prompt = parse_transcript((TASK / "prompt.txt").read_text(encoding="utf-8"))
    tools = {_tool(prompt, part): part for part in split(prompt) if part.kind == "turns"}
    adapters: dict[str, list[Message]] = {WHOLE: prompt} | {
        f"without {name}": without(prompt, tools[name]) for name in options.left_out
    }
    options.output.mkdir(parents=True, exist_ok=True)
    results = {name: _read(_file(options.output, name)) for name in adapters}
    if not all(results.values()):
        base = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16)
        view = ChatView(AutoTokenizer.from_pretrained(options.model))
        train, held_out = _lines("train.txt"), _lines("heldout.txt")
        if options.smoke:
            train, held_out = train[:24], held_out[:12]
        for name, trained_on in adapters.items():
            if results[name] is None:
                model = new_adapter(base, seed=options.seed)
                pairs_of = make_rows(Subject("teacher", model, view, trained_on), train)
                pairs = make_pairs(pairs_of, view, SETTINGS)
                epochs = 1 if options.smoke else options.epochs
                steps = train_adapter(model, pairs, SETTINGS, options.seed, epochs)
                results[name] = evaluate(model, view, prompt, held_out, options.output, name)
                model.unload()
                print(f"{name}: {len(pairs)} rows, {steps} steps, internalization "
                      f"{_shown(results[name]['internalization'])}", flush=True)  # fmt: skip
    print(*table({name: result for name, result in results.items() if result}), sep="\n")


def make_rows(teacher: Subject, inputs: list[str]) -> list[Row]:
    """Rows of a dataset: the teacher's greedy answers. Those that the limit cut are left out."""
    answers = teacher.generate(teacher.requests(inputs), MAX_NEW_TOKENS)
    return [
        Row(text, "clauses", teacher.prompt, text, "-", answer.text, "-",
            [{"role": "assistant", "content": answer.text}])
        for text, answer in zip(inputs, answers, strict=True) if not answer.cut and answer.text
    ]  # fmt: skip


def evaluate(
    model: Any, view: ChatView, prompt: list[Message], inputs: list[str], folder: Path, name: str
) -> dict[str, Any]:
    """Measure an adapter against the whole prompt as `axolotl genpi-eval` does, and write it."""
    teacher, floor = Subject("teacher", model, view, prompt), Subject("floor", model, view)
    student = Subject("student", model, view, adapter=True)
    measured = measure(inputs, teacher, [floor, student], {}, MAX_NEW_TOKENS, quiet)
    data = HeldOut(inputs, prompt, "clauses", str(TASK / "heldout.txt"), in_training=0)
    context = Context(data, teacher, floor, [student], measured, {}, MAX_NEW_TOKENS, quiet, 0)
    seen = measure_clauses(context)
    _file(folder, name).write_text(json.dumps(asdict(seen)), encoding="utf-8")
    return figures(seen)


def figures(seen: MeasuredClauses) -> dict[str, Any]:
    """The section of a report, and internalization over all tokens."""
    kl = [[sum(tokens) for tokens in found] for found in (seen.students["student"], seen.floor)]
    return summarize_clauses(seen, seed=0) | {
        "internalization": internalization(*kl, seed=0).as_dict()
    }


def table(results: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Markdown: clauses by their place in the prompt, adapters as columns; then what follows."""
    whole = results[WHOLE]
    yield f"| clause | effect, nats/token | {' | '.join(results)} |"
    yield "|---" * (len(results) + 2) + "|"
    for clause in _by_number(whole):
        number, label = clause["number"], clause["text"].partition("\n<")[0][:48]
        cells = [_cell(_by_number(result)[number - 1]) for result in results.values()]
        yield f"| {label} | {_shown(clause['effect'], 3)} | {' | '.join(cells)} |"
    everything = [_shown(result["internalization"]) for result in results.values()]
    yield f"| *internalization* | | {' | '.join(everything)} |"
    yield ""
    for name, result in results.items():
        if name != WHOLE:
            yield verdict(name, result, whole)


def verdict(name: str, result: dict[str, Any], whole: dict[str, Any]) -> str:
    """Whether an adapter's left-out clause is last, and how far the others are from `WHOLE`'s."""
    tool = name.removeprefix("without ")
    clauses = [clause for clause in result["clauses"] if clause["internalized"]]
    of_whole = {clause["number"]: clause["internalized"] for clause in whole["clauses"]}
    left_out = next(clause for clause in clauses if f"<AGENT>: {tool}(" in clause["text"])
    last = min(clauses, key=lambda clause: clause["internalized"]["value"])
    others = [clause for clause in clauses if clause is not left_out]
    overlap = [
        clause["internalized"]["ci_low"] <= of_whole[clause["number"]]["ci_high"]
        and of_whole[clause["number"]]["ci_low"] <= clause["internalized"]["ci_high"]
        for clause in others
    ]
    furthest = max(
        abs(clause["internalized"]["value"] - of_whole[clause["number"]]["value"])
        for clause in others
    )
    return (
        f"- {name}: {tool} has {_shown(left_out['internalized'])} and is "
        f"{'last' if last is left_out else 'NOT LAST'}; the next has "
        f"{min(clause['internalized']['value'] for clause in others):.2f}; "
        f"{sum(overlap)} of {len(others)} others overlap with the whole prompt's interval, the "
        f"furthest moved by {furthest:.2f}."
    )


def _by_number(result: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(result["clauses"], key=lambda clause: clause["number"])


def _cell(clause: dict[str, Any]) -> str:
    return "dead weight" if clause["dead"] else _shown(clause["internalized"])


def _shown(interval: dict[str, Any] | None, digits: int = 2) -> str:
    if interval is None:
        return "not defined"
    value, low, high = (f"{interval[k]:.{digits}f}" for k in ("value", "ci_low", "ci_high"))
    return f"{value} [{low}, {high}]"


def _tool(prompt: list[Message], part: Part) -> str:
    """The tool that a worked turn calls."""
    return text_of(prompt, part).rpartition("<AGENT>: ")[2].partition("(")[0]


def _lines(name: str) -> list[str]:
    return (TASK / name).read_text(encoding="utf-8").splitlines()


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(' ', '-')}.details.json"


def _read(path: Path) -> dict[str, Any] | None:
    """The figures of an adapter that was measured before."""
    if not path.is_file():
        return None
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["clauses"] = [
        MeasuredClause(**{**clause, "worst": [WorstInput(**one) for one in clause["worst"]]})
        for clause in raw["clauses"]
    ]
    return figures(MeasuredClauses(**raw))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="a folder or a hub name")
    parser.add_argument("--left-out", nargs="+", metavar="TOOL",
                        default=["weather", "play", "translate", "calculate"],
                        help="left out, an adapter each (default: four of the six)")  # fmt: skip
    parser.add_argument("--epochs", type=int, default=5, help="default 5")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="few rows and steps")
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/clauses"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
