"""Ways to learn beside distillation: more steps of it, one's own answers, other requests kept.

    python -m synth init my-task --prompt PROMPT
    python -m synth run my-task --model models/smollm2 --inputs TRAIN --test-share 0 -o data/long
    python -m benchmarks.ways data/long HELD_OUT --model models/smollm2 -o outputs/ways

Each way is a `genpi:` block over distillation alone. Some begin as it does, with a new adapter; the
others go on from its adapter for one epoch more, at a third of its learning rate. All train on the
same rows, and all adapters are measured by `axolotl genpi-eval` on the same held-out requests: what
is internalized along the teacher's answers and along the student's own, and how far the adapter
drifts, on requests that the prompt is not about, from the model without the prompt and with it.
What the teacher reads and the answers to requests to keep are kept for all runs: the seconds
`before` the first step, and those of the steps with answers in between, are those of the run that
made them, and fewer in the others. All in bfloat16 where the processor has instructions for it.

A run that is done is not done again, so the command may be stopped and repeated. At its end, and
with --report alone, it prints the table, and writes `ways.md` and `points.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.figures import Interval, over_seeds, shown
from benchmarks.peers.clock import ADAPTERS, MOMENTS
from benchmarks.peers.contestants import ALONE, Contestant, Recipe
from benchmarks.peers.options import (
    add_options,
    make_recipe,
    measuring,
    names_of,
    note_rows,
    seeds_of,
)
from benchmarks.peers.runs import REPORT, measure, train

UNSHOWN = "turns,recitation,clauses,disclosure,cost"
TEACHER, FLOOR = "teacher", "floor"


@dataclass(frozen=True)
class Way:
    """What differs from distillation alone: keys of the `genpi:` block, and where it begins."""

    what: str
    block: Mapping[str, Any] = field(default_factory=dict)
    further: bool = False


def on_policy(divergence: str, temperature: float = 0.0, **settings: float) -> dict[str, Any]:
    return {"on_policy": {"epochs": 1.0, "divergence": divergence, "temperature": temperature,
                          **settings}}  # fmt: skip


FLOOR_KEPT = {"keep_weight": 1.0, "keep": "floor"}
TEACHER_KEPT = {**FLOOR_KEPT, "keep": "teacher"}
FIRST = "distill"
WAYS = {
    FIRST: Way("distillation alone"),
    "keep_floor": Way("the same, kept to the floor", FLOOR_KEPT),
    "keep_one": Way("the same, one request a step", {**FLOOR_KEPT, "keep_rows": 1}),
    "keep_light": Way("the same, at a quarter of the weight", {**FLOOR_KEPT, "keep_weight": 0.25}),
    "keep_teacher": Way("the same, kept to the teacher", TEACHER_KEPT),
    "keep_teacher_rows": Way("the same, kept to the teacher, eight requests a step",
                             {**TEACHER_KEPT, "keep_rows": 8}),
    "keep_teacher_weight": Way("the same, kept to the teacher, at four times the weight",
                               {**TEACHER_KEPT, "keep_weight": 4.0}),
    "top_20": Way("the same, of the teacher's 20 likeliest tokens", {"distill_top_k": 20}),
    "whole": Way("the same, of all tokens", {"distill_top_k": None}),
    "rows_20": Way("the same, of 20 that the rows hold (`synth run --logprobs`)",
                   {"distill_from": "rows", "distill_top_k": 20}),
    "longer": Way("a further epoch: distillation", further=True),
    "forward": Way("a further epoch: its own answers, forward", on_policy("forward"), True),
    "reverse": Way("a further epoch: its own answers, reverse", on_policy("reverse"), True),
    "jsd": Way("a further epoch: its own answers, Jensen-Shannon", on_policy("jsd"), True),
    "half": Way("a further epoch: half its own answers, forward",
                on_policy("forward", share=0.5), True),
    "sampled": Way("a further epoch: its own answers at temperature 1, forward",
                   on_policy("forward", temperature=1.0), True),
    "sampled_reverse": Way("a further epoch: its own answers at temperature 1, reverse",
                           on_policy("reverse", temperature=1.0), True),
}  # fmt: skip


# A figure's name in `metrics.json`, its head, and its form.
FIGURES = (
    ("internalization", "internalization", ".3f"),
    ("kl_to_teacher", "KL, nats/token", ".3f"),
    ("own_path", "own path", ".3f"),
    ("valid", "well-formed", ".0%"),
    ("agreement", "action = teacher's", ".0%"),
)
DRIFTS = (
    ("kl_from_floor", "drift from the floor, nats", ".3f"),
    ("kl_from_teacher", "from the teacher", ".3f"),
)


@dataclass(frozen=True)
class Result:
    """A run's figures, or a way's over its seeds.

    Attributes:
        before: seconds until the first micro-batch was learned from.
        seconds: of the steps behind it, the sampling of the student's own answers included.
        cpu_seconds: of the processor, for all of it.
        figures: by their names in `metrics.json`, as intervals.
    """

    steps: float
    before: float
    seconds: float
    cpu_seconds: float
    figures: dict[str, Interval]


def main() -> None:
    """Do the runs that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser, "outputs/ways", "cosine")
    parser.add_argument("--only", help=f"some of {','.join(WAYS)} (default all)")
    parser.add_argument("--rows", type=int, help="to train on (default all)")
    parser.add_argument("--accumulation", type=int, default=2, help="rows a step, halved (2)")
    options = parser.parse_args()
    names = names_of(parser, options.only, WAYS)
    seeds = seeds_of(parser, options.seeds)
    if not options.report:
        if options.model is None:
            parser.error("give --model, or --report")
        go(options, names, seeds)
    print(report(options))


def go(options: argparse.Namespace, names: Sequence[str], seeds: Sequence[int]) -> None:
    """Train and measure what is missing."""
    recipe = make_recipe(options, options.rows, options.output)
    recipe = replace(recipe, moments=1, accumulation=options.accumulation,
                     prepared=str(options.output / "prepared"))  # fmt: skip
    how = replace(measuring(options, recipe), skip=UNSHOWN)
    for seed in seeds:
        first = options.output / "runs" / f"{FIRST}-seed{seed}"
        if any(WAYS[name].further for name in names):
            train(contestant(FIRST), recipe, seed, first)
        for name in names:
            folder = first.with_name(f"{name}-seed{seed}")
            its = going_on(recipe, first) if WAYS[name].further else recipe
            train(contestant(name), its, seed, folder)
            measure(folder, how)


def contestant(name: str) -> Contestant:
    """A way as the peers' benchmark has those who train."""
    return Contestant(name, "genpi", WAYS[name].what, {**ALONE, **WAYS[name].block})


def going_on(recipe: Recipe, first: Path) -> Recipe:
    """One epoch more from the adapter that a run has left."""
    [adapter] = (first / ADAPTERS).iterdir()
    return replace(recipe, epochs=1.0, learning_rate=recipe.learning_rate / 3, start=str(adapter))


def report(options: argparse.Namespace) -> str:
    """The table of what is there; also written to the output folder, with all figures."""
    runs: dict[str, dict[int, Result]] = {}
    baseline: dict[str, Result] = {}
    for name in WAYS:
        for folder in sorted((options.output / "runs").glob(f"{name}-seed*")):
            path = folder / REPORT / "metrics.json"
            if path.is_file():
                metrics = json.loads(path.read_text(encoding="utf-8"))
                seed = int(folder.name.rpartition("-seed")[2])
                runs.setdefault(name, {})[seed] = result(folder, metrics)
                baseline = {one: Result(0, 0, 0, 0, of_system(metrics, one))
                            for one in (TEACHER, FLOOR)}  # fmt: skip
    if not runs:
        return "Nothing is measured yet."
    text = "\n".join([note_rows(options.dataset), "", *table(runs, baseline)])
    every = [{"way": name, "seed": seed, **vars(one)}
             for name, found in runs.items() for seed, one in found.items()]  # fmt: skip
    for file, content in (("points.json", json.dumps(every, indent=1)), ("ways.md", text + "\n")):
        (options.output / file).write_text(content, encoding="utf-8")
    return text


def result(folder: Path, metrics: Mapping[str, Any]) -> Result:
    """What a run left: the clock's last line and the evaluation's figures."""
    last = json.loads((folder / MOMENTS).read_text(encoding="utf-8").splitlines()[-1])
    before = last["before_seconds"]
    seconds = last["seconds"] - before
    return Result(last["step"], before, seconds, last["cpu_seconds"],
                  of_system(metrics, "student"))  # fmt: skip


def of_system(metrics: Mapping[str, Any], name: str) -> dict[str, Interval]:
    """A system's figures. The drift of a run's one student stands at the section's own level."""
    drift = metrics["drift"] if name == "student" else metrics["drift"][name]
    known = [(metrics["systems"][name], FIGURES), (drift, DRIFTS)]
    return {key: found[key] for found, columns in known for key, *_ in columns
            if isinstance(found.get(key), dict)}  # fmt: skip


def table(
    runs: Mapping[str, Mapping[int, Result]], baseline: Mapping[str, Result]
) -> Iterator[str]:
    """Markdown: a line for each way; over several seeds, means with t-intervals."""
    every = [one for by_seed in runs.values() for one in by_seed.values()]
    columns = [column for column in (*FIGURES, *DRIFTS)
               if any(column[0] in one.figures for one in every)]  # fmt: skip
    heads = " | ".join(head for _, head, _ in columns)
    yield f"| | what | seeds | steps | before, s | steps, s | processor, s | {heads} |"
    yield "|---" * (7 + len(columns)) + "|"
    for name, found in runs.items():
        one = together(list(found.values()))
        about = [name, WAYS[name].what, str(len(found)), f"{one.steps:g}",
                 f"{one.before:,.0f}", f"{one.seconds:,.0f}",
                 f"{one.cpu_seconds:,.0f}"]  # fmt: skip
        yield _line(about, one, columns)
    for name, one in baseline.items():
        yield _line([name, *[""] * 6], one, columns)


def _line(about: Sequence[str], one: Result, columns: Sequence[tuple[str, str, str]]) -> str:
    nothing: Interval = {"value": None}
    cells = [shown(one.figures.get(key, nothing), form) for key, _, form in columns]
    return f"| {' | '.join([*about, *cells])} |"


def together(found: Sequence[Result]) -> Result:
    """Seeds of a way as one: means, and intervals over seeds; of one seed, as it is."""
    count = len(found)
    figures = {key: over_seeds([one.figures[key] for one in found]) for key in found[0].figures}
    before, seconds, cpu_seconds = (
        sum(getattr(one, name) for one in found) / count
        for name in ("before", "seconds", "cpu_seconds")
    )
    return Result(found[0].steps, before, seconds, cpu_seconds, figures)


if __name__ == "__main__":
    main()
