"""Does an adapter follow values of slots that it never saw, or has it learned values by heart?

    python -m benchmarks.slots --model models/smollm2 -o outputs/slots

The prompt of slots_task/ has every answer name the customer and the date, which are slots. The
adapter is trained on the teacher's answers with 60 names and the days of three years, and measured
on other inputs with names and days of which no row has any. `not told` is the student without what
is kept: it can't know the values, and a value of the training in its answers is one it has learned.

--smoke is a run of few steps that shows that all works, and proves nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.common import new_adapter, quiet, train_adapter
from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import make_pairs
from genpi_plugin.data.requests import Valued
from genpi_plugin.data.rows import Row
from genpi_plugin.data.slots import fill
from genpi_plugin.evaluation.figures.intervals import internalization, mean
from genpi_plugin.evaluation.figures.measured import Generated
from genpi_plugin.evaluation.measuring.measure import answer_all, divergence_sums
from genpi_plugin.evaluation.subjects.subject import Subject
from synth.engines.messages import as_dicts
from synth.task.taskfile import Task, load_task

TASK = Path(__file__).parent / "slots_task"
# Values that no row of the training has.
OTHERS = {
    "slots.name": {"file": "names_heldout.txt"},
    "slots.date": {"now": {"from": datetime.date(2026, 1, 1), "to": datetime.date(2028, 12, 31),
                           "format": "%A, %d %B %Y"}},
}  # fmt: skip
SETTINGS = GenPISettings(sft_weight=0.0, prompt_generation_share=0.0, distill_weight=1.0)
MAX_NEW_TOKENS = 48
NOT_TOLD = "not told"


def main() -> None:
    """Train, measure, and print the table."""
    options = _options()
    trained, others = load_task(str(TASK)), load_task(str(TASK), OTHERS)
    train, held_out = _lines("train.txt"), _lines("heldout.txt")
    if options.smoke:
        train, held_out = train[:4], held_out[:2]
    asked = requests(trained, [text for text in train for _ in range(options.repeats)], 0)
    measured = requests(others, held_out, 1)
    base = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    view = ChatView(AutoTokenizer.from_pretrained(options.model))
    model = new_adapter(base, seed=options.seed)
    prompt = as_dicts(trained.prompt)
    teacher = Subject("teacher", model, view, prompt)
    rows = make_rows(teacher, asked)
    told = {value for row in rows for value in row.slots.values()}
    assert not told & {value for one in measured for value in one.values.values()}
    epochs = 1 if options.smoke else options.epochs
    steps = train_adapter(model, make_pairs(rows, view, SETTINGS), SETTINGS, options.seed, epochs)
    print(f"{len(rows)} rows, {steps} steps", flush=True)
    floor = Subject("floor", model, view)
    student = Subject("student", model, view, adapter=True)
    bare = Subject(NOT_TOLD, model, view, adapter=True)
    answers = {one.name: answer_all(one, measured, MAX_NEW_TOKENS, quiet)
               for one in (teacher, student, floor)}  # fmt: skip
    answers[NOT_TOLD] = answer_all(bare, [one.messages for one in measured], MAX_NEW_TOKENS, quiet)
    kl = divergence_sums(measured, teacher, [floor, student], answers["teacher"], quiet)
    inside = internalization(kl["student"], kl["floor"], options.seed).as_dict()
    options.output.mkdir(parents=True, exist_ok=True)
    written = [
        {"input": one.messages[-1]["content"], "slots": one.values,
         **{name: given[place].text for name, given in answers.items()}}
        for place, one in enumerate(measured)
    ]  # fmt: skip
    text = json.dumps(written, indent=1, ensure_ascii=False)
    (options.output / "answers.json").write_text(text, encoding="utf-8")
    print(*table(measured, answers, told, inside), sep="\n")


def requests(task: Task, texts: Sequence[str], seed: int) -> list[Valued]:
    """Inputs with values as the synthesizer draws them."""
    assert task.slots.kept is not None
    found = []
    for number, text in enumerate(texts):
        values = task.slots.draw(seed, f"row-{number}")
        kept = {"role": task.slots.kept.role, "content": fill(task.slots.kept.content, values)}
        found.append(Valued([kept], [{"role": "user", "content": text}], values))
    return found


def make_rows(teacher: Subject, asked: Sequence[Valued]) -> list[Row]:
    """Rows of a dataset: the teacher's greedy answers. Those that the limit cut are left out."""
    answers = answer_all(teacher, asked, MAX_NEW_TOKENS, quiet)
    return [
        Row(str(number), "slots", teacher.prompt, one.messages[-1]["content"], None, answer.text,
            None, [{"role": "assistant", "content": answer.text}], slots=one.values, kept=one.kept)
        for number, (one, answer) in enumerate(zip(asked, answers, strict=True))
        if not answer.cut and answer.text
    ]  # fmt: skip


def table(
    asked: Sequence[Valued],
    answers: dict[str, list[Generated]],
    trained: set[str],
    inside: dict[str, Any],
) -> Iterator[str]:
    """Markdown: of each system, how often its answers hold each value, both, and a trained one."""
    names = list(asked[0].values)
    yield f"| | {' | '.join(names)} | all of them | a value of the training |"
    yield "|---" * (len(names) + 3) + "|"
    for system, given in answers.items():
        texts = [one.text for one in given]
        held = [[one.values[name] in text for name in names]
                for one, text in zip(asked, texts, strict=True)]  # fmt: skip
        columns = [[float(row[place]) for row in held] for place in range(len(names))]
        columns += [[float(all(row)) for row in held],
                    [float(any(value in text for value in trained)) for text in texts]]  # fmt: skip
        yield f"| {system} | {' | '.join(_share(column) for column in columns)} |"
    low, high = inside["ci_low"], inside["ci_high"]
    yield ""
    yield f"{len(asked)} inputs; internalization {inside['value']:.2f} [{low:.2f}, {high:.2f}]"


def _share(column: Sequence[float]) -> str:
    found = mean(list(column), 0).as_dict()
    return f"{found['value']:.0%} [{found['ci_low']:.0%}, {found['ci_high']:.0%}]"


def _lines(name: str) -> list[str]:
    return (TASK / name).read_text(encoding="utf-8").splitlines()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="a folder or a hub name")
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/slots"))
    parser.add_argument("--repeats", type=int, default=2, help="rows of each input (default 2)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="few rows, one epoch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
