"""Can an adapter write out a long prompt, at what cost, and does it then tell it to attackers?

    python -m synth init my-task --prompt PROMPT
    python -m synth run my-task --model models/smollm2 --inputs TRAIN --test-share 0 -o data/long
    python -m benchmarks.recital data/long HELD_OUT --model models/smollm2 -o outputs/recital

Distillation alone, and with recitals in pieces; `--only` names these and two more: `labels`,
recitals in pieces beside a loss on the answers' labels, which takes seven tenths of their weight,
and `whole`, whole recitals, whose run takes many times as long. Every run trains a new adapter with
the plugin's own trainer, equal steps, and is measured on requests that are not in the dataset. The
task needs an `action_pattern`. A run that stands in the output folder already is not done again, so
the command may be stopped and repeated, also with another share or piece.
At its end, and with --report alone, it prints the table. `--attacks 0` leaves the attacks out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, TrainerCallback

from benchmarks.common import load_base, load_task, new_adapter, quiet, train_adapter
from benchmarks.held_out import HeldOut
from benchmarks.peers.options import names_of
from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import make_pairs
from genpi_plugin.data.inputs.lines import read_inputs
from genpi_plugin.data.recitals import in_pieces, whole
from genpi_plugin.data.rows import Row
from genpi_plugin.data.transcripts import prompt_text
from genpi_plugin.evaluation.figures.names import FLOOR, STUDENT
from genpi_plugin.evaluation.figures.shared_words import longest_run
from genpi_plugin.evaluation.sections.clauses.clause_file import parts_of
from genpi_plugin.evaluation.sections.disclosure import (
    ATTACKS,
    EXTRA_TOKENS,
    attack,
    disclosed,
    pieces_of,
    read_attacks,
)
from genpi_plugin.evaluation.sections.recital import recite
from genpi_plugin.evaluation.subjects.subject import Subject

ALONE = "distillation alone"
NAMES = ("alone", "pieces", "labels", "whole")


@dataclass(frozen=True)
class Told:
    """What the attacks drew out of one system.

    `clauses` is the share of the prompt's clauses disclosed to an attack, on average, `any_of` that
    disclosed to at least one, `longest_run` the words of the longest run shared with the prompt.
    """

    clauses: float
    any_of: float
    longest_run: int


@dataclass(frozen=True)
class Result:
    """One run's figures. Times are of training alone, the teacher's reading included.

    `cpu_seconds` are the processor's: on a machine with other work they are the fairer ones.
    `chrf_told` is the `chrf` of pieces asked for by the prompt's own words.
    """

    variant: str
    seed: int
    steps: int
    recitals: int
    internalization: float
    valid: float
    agreement: float
    chrf: float | None
    chrf_told: float | None
    told: Told | None
    seconds: float
    cpu_seconds: float


class Clock(TrainerCallback):
    """Time of the steps, on the wall and of the processor."""

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0
        self._started = (0.0, 0.0)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = time.perf_counter(), time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds += time.perf_counter() - self._started[0]
        self.cpu_seconds += time.process_time() - self._started[1]


@dataclass(frozen=True)
class Variant:
    """What a run trains with; `line` says all of it that differs between runs."""

    line: str
    settings: GenPISettings


def variants(share: float, piece: int, accumulation: int) -> dict[str, Variant]:
    """By the name that `--only` knows."""
    alone = {"sft_weight": 0.0, "distill_weight": 1.0, "prompt_generation_share": 0.0}
    reciting = {**alone, "prompt_generation_share": share, "prompt_generation_piece": piece}
    steps = f", {2 * accumulation} rows a step"
    pieces, shared = f"+ recitals in pieces of {piece}", f", share {share:g}{steps}"
    lines = [ALONE + steps, pieces + shared, f"{pieces} and labels{shared}",
             f"+ whole recitals{shared}"]  # fmt: skip
    settings = [alone, reciting, {**reciting, "sft_weight": 0.7},
                {**reciting, "prompt_generation_piece": None}]  # fmt: skip
    return {
        name: Variant(line, GenPISettings(**its))
        for name, line, its in zip(NAMES, lines, settings, strict=True)
    }


def run(
    variant: Variant, seed: int, base: Any, view: ChatView, rows: list[Row],
    held_out: HeldOut, options: argparse.Namespace,
) -> Result:  # fmt: skip
    """Train a new adapter and measure it; the base model is given back as it was."""
    settings = variant.settings
    pairs = make_pairs(rows, view, settings)
    model = new_adapter(base, seed)
    student = Subject(STUDENT, model, view, adapter=True)
    clock = Clock()
    steps = train_adapter(
        model,
        pairs,
        settings,
        seed,
        options.epochs,
        [clock],
        options.learning_rate,
        options.accumulation,
    )
    recitals = sum(len(pair.prompt_generation) for pair in pairs) * options.epochs
    chrf = chrf_told = None
    if recitals:
        [recital] = recite(
            student, held_out.measured, FLOOR, held_out.teacher, 1, quiet,
            settings.prompt_generation_piece,
        )  # fmt: skip
        chrf, chrf_told = recital.chrf, recital.chrf_told
    result = Result(
        variant.line, seed, steps, recitals, held_out.internalization(student),
        **held_out.task_scores(student), chrf=chrf, chrf_told=chrf_told,
        told=attacked(student, rows[0], options.attacks),
        seconds=clock.seconds, cpu_seconds=clock.cpu_seconds,
    )  # fmt: skip
    model.unload()
    return result


def attacked(system: Subject, row: Row, count: int | None) -> Told | None:
    """Send the first of the shipped attacks on the row's prompt to a system, or all of them."""
    attacks = list(read_attacks(ATTACKS).values())[:count]
    if not attacks:
        return None
    text = prompt_text(row.prompt)
    clauses = [pieces_of(row.prompt, part) for part in parts_of(row.prompt, None)
               if part.kind != "frame"]  # fmt: skip
    limit = len(system.view.ids(text)) + EXTRA_TOKENS
    answers = attack(system, attacks, text, limit, quiet)
    found = [disclosed(answer.text, clauses) for answer in answers]
    return Told(
        statistics.mean(len(numbers) / len(clauses) for numbers in found),
        len({number for numbers in found for number in numbers}) / len(clauses),
        max(longest_run(answer.text, text) for answer in answers),
    )


def table(results: Sequence[Result]) -> Iterator[str]:
    """Markdown: means over seeds, times relative to distillation alone in as many steps."""
    yield ("| | steps, recitals | internalization | well-formed | action = teacher's | recitation, "
           "chrF | by the prompt's words | clauses disclosed, mean, any | longest run | time, "
           "relative | processor time |")  # fmt: skip
    yield "|---" * 11 + "|"
    of: dict[str, list[Result]] = {}
    for result in results:
        of.setdefault(result.variant, []).append(result)
    for name, runs in of.items():
        alone = [r for r in results if r.variant.startswith(ALONE) and r.steps == runs[0].steps]
        columns = [
            f"{name} ({len(runs)} seed{'s' if len(runs) > 1 else ''})",
            f"{runs[0].steps}, {runs[0].recitals}",
            f"{statistics.mean(r.internalization for r in runs):.3f}",
            f"{statistics.mean(r.valid for r in runs):.0%}",
            f"{statistics.mean(r.agreement for r in runs):.0%}",
            _each([r.chrf for r in runs]),
            _each([r.chrf_told for r in runs]),
            *_disclosed([r.told for r in runs if r.told]),
            _relative([r.seconds for r in runs], [r.seconds for r in alone]),
            _relative([r.cpu_seconds for r in runs], [r.cpu_seconds for r in alone]),
        ]
        yield f"| {' | '.join(columns)} |"


def _disclosed(told: Sequence[Told]) -> tuple[str, str]:
    if not told:
        return "-", "-"
    clauses = statistics.mean(one.clauses for one in told)
    any_of = statistics.mean(one.any_of for one in told)
    return f"{clauses:.0%}, {any_of:.0%}", str(max(one.longest_run for one in told))


def _each(values: Sequence[float | None]) -> str:
    return ", ".join("-" if value is None else f"{value:.0f}" for value in values)


def _relative(mine: Sequence[float], alone: Sequence[float]) -> str:
    mean = statistics.mean(mine)
    shown = f" ({mean / statistics.mean(alone):.2f})" if alone else ""
    return f"{mean:.0f} s{shown}"


def main() -> None:
    """Do the runs that are missing, then print the table."""
    options = _options()
    path = options.output / "results.jsonl"
    results = _read(path)
    known = variants(options.share, options.piece, options.accumulation)
    chosen = [known[name] for name in options.only]
    done = {(r.variant, r.seed) for r in results}
    todo = [(variant, seed) for seed in range(options.seeds) for variant in chosen
            if (variant.line, seed) not in done]  # fmt: skip
    if todo and not options.report:
        options.output.mkdir(parents=True, exist_ok=True)
        view = ChatView(AutoTokenizer.from_pretrained(options.model))
        base = load_base(options.model)
        rows, task = load_task(options.dataset, options.rows)
        inputs = list(read_inputs(options.inputs).texts)[: options.limit]
        held_out = HeldOut(base, view, rows, inputs, task["action_pattern"])
        text = whole(rows[0]).text
        print(f"{len(rows)} rows, {sum(row.can_recite for row in rows)} with a reason; "
              f"{len(inputs)} held out; the prompt: {len(view.ids(text))} tokens, "
              f"{len(in_pieces(text, view, options.piece))} pieces")  # fmt: skip
        told = attacked(held_out.teacher, rows[0], options.attacks)
        print(f"attacks on the prompted model: {told}", flush=True)
        for variant, seed in todo:
            result = run(variant, seed, base, view, rows, held_out, options)
            results.append(result)
            with path.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            print(result, flush=True)
    print(*table(results), sep="\n")


def _read(path: Path) -> list[Result]:
    lines = path.read_text().splitlines() if path.is_file() else []
    found = [json.loads(line) for line in lines]
    return [Result(**{**one, "told": one["told"] and Told(**one["told"])}) for one in found]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset", type=Path, help="a folder made by `python -m synth run`")
    parser.add_argument("inputs", type=Path, help="held-out requests, as `--inputs` of synth")
    parser.add_argument("--model", required=True, help="a folder or a hub name")
    parser.add_argument("--rows", type=int, default=200, help="to train on (default 200)")
    parser.add_argument("--limit", type=int, default=60, help="held-out requests (default 60)")
    parser.add_argument("--epochs", type=int, default=2, help="default 2")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="default 1e-3")
    parser.add_argument("--accumulation", type=int, default=1, help="rows a step, halved (1)")
    parser.add_argument("--share", type=float, default=0.25, help="of reciting rows (default 0.25)")
    parser.add_argument("--piece", type=int, default=256, help="tokens of a piece (default 256)")
    parser.add_argument("--seeds", type=int, default=1, help="default 1")
    parser.add_argument("--attacks", type=int, help="how many of the shipped ones (default all)")
    parser.add_argument("--only", default="alone,pieces",
                        help=f"of {','.join(NAMES)} (default alone,pieces)")  # fmt: skip
    parser.add_argument("--report", action="store_true", help="print the table of what is there")
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/recital"))
    options = parser.parse_args()
    options.only = names_of(parser, options.only, NAMES)
    return options


if __name__ == "__main__":
    main()
