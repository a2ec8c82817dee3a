"""Which objective takes a prompt in best? One model, one dataset, equal steps, several seeds.

    python -m synth run benchmarks/objectives_task --model models/smollm2 -n 100 -o data/objectives
    python -m benchmarks.objectives data/objectives --model models/smollm2 -o outputs/objectives

Every run trains a new adapter with the plugin's own trainer and is measured on held-out requests
written by hand, not by the generator. A run that stands in the output folder already is not done
again, so the command may be stopped and repeated. At its end, and with --report alone, it prints
the table of docs/results.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, TrainerCallback

from benchmarks.common import load_base, load_task, new_adapter, train_adapter
from benchmarks.figures import half_width
from benchmarks.held_out import HeldOut
from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import Pair, make_pairs
from genpi_plugin.data.prompt_generation import REASON_HEADING, Recited, answer, question
from genpi_plugin.data.rows import Row
from genpi_plugin.data.transcripts import prompt_text
from genpi_plugin.evaluation.figures.names import STUDENT
from genpi_plugin.evaluation.subjects.subject import Subject

ENOUGH = 0.8  # the internalization whose time is noted


@dataclass(frozen=True)
class Variant:
    """One objective: the `genpi:` block, and what is done to the pairs beside it."""

    name: str
    settings: dict[str, Any]
    change: Callable[[Pair, Row, ChatView], Pair] = lambda pair, row, view: pair


def without_reason(pair: Pair, row: Row, view: ChatView) -> Pair:
    """The recital ends with the prompt."""
    told = answer(Recited(prompt_text(row.prompt)), "").removesuffix(REASON_HEADING)
    asked = question(row.input, row.floor_output, row.teacher_output)
    half = view.sequences(
        [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
    )
    return replace(pair, prompt_generation=half)


def teacher_without_prompt(pair: Pair, row: Row, view: ChatView) -> Pair:
    """The teacher reads what the student reads: a control that should teach nothing."""
    return replace(pair, teacher=pair.behaviour)


# Of what a variant does not say.
PAPER = {"prompt_generation_share": 1.0, "prompt_generation_piece": None, "distill_weight": 0.0}
VARIANTS = [
    Variant("behaviour only", {"sft_weight": 1.0}),
    Variant("joint (0.7)", {"sft_weight": 0.7}),
    Variant("joint, without the reason", {"sft_weight": 0.7}, without_reason),
    Variant("joint, a quarter of the recitals", {"sft_weight": 0.7,
                                                 "prompt_generation_share": 0.25}),
    Variant("distillation only", {"sft_weight": 0.0, "prompt_generation_share": 0.0,
                                  "distill_weight": 1.0}),
    Variant("behaviour + distillation", {"sft_weight": 1.0, "distill_weight": 1.0}),
    Variant("joint, a quarter, + distillation", {"sft_weight": 0.7, "distill_weight": 1.0,
                                                 "prompt_generation_share": 0.25}),
    Variant("control: teacher without prompt", {"sft_weight": 0.0, "distill_weight": 1.0,
                                                "prompt_generation_share": 0.0},
            teacher_without_prompt),
]  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One run's figures. Times are seconds of training, the teacher's reading included."""

    variant: str
    seed: int
    internalization: float
    valid: float
    agreement: float
    recitation: float | None
    seconds: float
    seconds_to_enough: float | None
    steps: int


class Curve(TrainerCallback):
    """Internalization every few steps, and the time of training alone."""

    def __init__(self, measure_now: Callable[[], float], every: int) -> None:
        self.measure_now = measure_now
        self.every = every
        self.seconds = 0.0
        self.seconds_to_enough: float | None = None
        self.started = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds += time.perf_counter() - self.started
        due = self.seconds_to_enough is None and state.global_step % self.every == 0
        if due and self.measure_now() >= ENOUGH:
            self.seconds_to_enough = self.seconds


def run(variant: Variant, seed: int, base: Any, view: ChatView, rows: list[Row],
        held_out: HeldOut, epochs: int) -> Result:  # fmt: skip
    """Train a new adapter and measure it; the base model is given back as it was."""
    settings = GenPISettings(**{**PAPER, **variant.settings})
    pairs = [
        variant.change(pair, row, view)
        for pair, row in zip(make_pairs(rows, view, settings), rows, strict=True)
    ]
    model = new_adapter(base, seed)
    student = Subject(STUDENT, model, view, adapter=True)

    def now() -> float:
        training = model.training
        found = held_out.internalization(student)
        model.train(training)
        return found

    curve = Curve(now, every=4)
    steps = train_adapter(model, pairs, settings, seed, epochs, [curve])
    result = Result(
        variant.name,
        seed,
        now(),
        **held_out.task_scores(student),
        recitation=held_out.recitation(student) if settings.trains_prompt_generation else None,
        seconds=curve.seconds,
        seconds_to_enough=curve.seconds_to_enough,
        steps=steps,
    )
    model.unload()
    return result


def table(results: Sequence[Result]) -> Iterator[str]:
    """Markdown: means over seeds with 95 % t-intervals, in the order of `VARIANTS`."""
    yield ("| objective | internalization | well-formed | action = teacher's | recitation, chrF | "
           "time, relative | time to 80 % |")  # fmt: skip
    yield "|---|---|---|---|---|---|---|"
    of = {v.name: [r for r in results if r.variant == v.name] for v in VARIANTS}
    reference = statistics.mean([r.seconds for r in of["behaviour only"]] or [1.0])
    for name, runs in of.items():
        if not runs:
            continue
        reached = [r.seconds_to_enough for r in runs if r.seconds_to_enough is not None]
        recited = [r.recitation for r in runs if r.recitation is not None]
        columns = [
            name,
            _mean([r.internalization for r in runs], ".3f"),
            _mean([100 * r.valid for r in runs], ".0f") + " %",
            _mean([100 * r.agreement for r in runs], ".0f") + " %",
            _mean(recited, ".0f") if recited else "-",
            f"{statistics.mean([r.seconds for r in runs]) / reference:.2f}",
            f"{statistics.mean(reached) / reference:.2f} ({len(reached)} of {len(runs)})"
            if reached
            else "not reached",
        ]
        yield f"| {' | '.join(columns)} |"


def _mean(values: list[float], how: str) -> str:
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:{how}}"
    return f"{mean:{how}} ± {half_width(values):{how}}"


def main() -> None:
    """Do the runs that are missing, then print the table."""
    options = _options()
    path = options.output / "results.jsonl"
    results = [Result(**json.loads(line)) for line in path.read_text().splitlines()] \
        if path.is_file() else []  # fmt: skip
    done = {(r.variant, r.seed) for r in results}
    todo = [(v, seed) for seed in range(options.seeds) for v in VARIANTS
            if (v.name, seed) not in done]  # fmt: skip
    if todo and not options.report:
        options.output.mkdir(parents=True, exist_ok=True)
        view = ChatView(AutoTokenizer.from_pretrained(options.model))
        base = load_base(options.model)
        rows, task = load_task(options.dataset, options.rows)
        inputs = options.inputs.read_text(encoding="utf-8").splitlines()
        held_out = HeldOut(base, view, rows, inputs, task["action_pattern"])
        print(f"{len(rows)} rows, {len(inputs)} held-out requests, {len(todo)} runs to do")
        for variant, seed in todo:
            result = run(variant, seed, base, view, rows, held_out, options.epochs)
            results.append(result)
            with path.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            print(f"{len(results):3} {result}", flush=True)
    print(*table(results), sep="\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("dataset", type=Path, help="a folder made by `python -m synth run`")
    parser.add_argument("--model", required=True, help="a folder or a hub name")
    parser.add_argument("--inputs", type=Path,
                        default=Path(__file__).parent / "objectives_task" / "heldout.txt",
                        help="held-out requests, one a line")  # fmt: skip
    parser.add_argument("--rows", type=int, default=64, help="to train on (default 64)")
    parser.add_argument("--epochs", type=int, default=2, help="default 2")
    parser.add_argument("--seeds", type=int, default=3, help="default 3")
    parser.add_argument("--report", action="store_true", help="print the table of what is there")
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/objectives"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
