"""How many rows does a prompt need? Internalization over the number of rows to train on.

    python -m synth run my-task --model models/smollm2 --inputs TRAIN --test-share 0 -o data/long
    python -m benchmarks.rows_curve data/long HELD_OUT --model models/smollm2 --rows 50,100,200

Each number takes the dataset's first rows, so that more rows hold the fewer, and trains as a user
would: the same epochs, and so more steps the more rows there are; steps and seconds stand beside.
All adapters are measured by `axolotl genpi-eval` on the same held-out requests. A run that is done
is not done again, so the command may be stopped and repeated. At its end, and with --report alone,
it prints the table, and writes it with `points.json` and `rows.svg` to the output folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.drawing import Line, draw
from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.peers.options import add_options, make_recipe, measuring, seeds_of
from benchmarks.peers.points import Point, as_json, curve, points
from benchmarks.peers.runs import measure, train
from benchmarks.peers.tables import figure_cells, figure_columns

DRAWN = {"internalization": "internalization", "valid": "well-formed",
         "agreement": "action = teacher's"}  # fmt: skip


def main() -> None:
    """Do the runs that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser, "outputs/rows", "cosine")
    parser.add_argument("--rows", default="50,100,200,400,800", help="default 50,100,200,400,800")
    parser.add_argument("--like", default="ours", choices=[
        name for name, one in CONTESTANTS.items() if one.trainer == "genpi"
    ], help="whose `genpi:` block (default ours)")  # fmt: skip
    options = parser.parse_args()
    if not options.report:
        if options.model is None:
            parser.error("give --model, or --report")
        numbers = sorted(int(one) for one in options.rows.split(","))
        train_all(options, numbers, seeds_of(parser, options.seeds))
    print(report(options.output, options.like))


def train_all(options: argparse.Namespace, numbers: Sequence[int], seeds: Sequence[int]) -> None:
    """Train and measure what is missing, the most rows first: they say how long answers get."""
    answer_tokens = None
    for number in reversed(numbers):
        folder = options.output / f"rows-{number:05}"
        recipe = replace(make_recipe(options, number, folder), moments=1)
        answer_tokens = answer_tokens or recipe.answer_tokens
        recipe = replace(recipe, answer_tokens=answer_tokens)
        for seed in seeds:
            run = folder / f"{options.like}-seed{seed}"
            train(CONTESTANTS[options.like], recipe, seed, run)
            measure(run, measuring(options, recipe))


def report(output: Path, like: str) -> str:
    """The table of what was trained so; also written to the output folder, with points and picture.

    Raises:
        SystemExit: seeds of a number of rows end at unlike steps.
    """
    by_rows: dict[int, list[Point]] = {}
    for folder in sorted(output.glob(f"rows-*/{like}-seed*")):
        rows = int(folder.parent.name.partition("-")[2])
        found = points(folder, str(rows), int(folder.name.rpartition("-seed")[2]))
        by_rows.setdefault(rows, []).extend(found)
    means = {rows: _mean(rows, found) for rows, found in by_rows.items() if found}
    if not means:
        return f"Nothing of `{like}` is measured yet."
    seeds = {rows: len(found) for rows, found in by_rows.items()}
    text = "\n".join([f"Trained as `{like}`.", "", *table(means, seeds)])
    every = [point for found in by_rows.values() for point in found]
    for name, content in (("points.json", json.dumps(as_json(every), indent=1)),
                          ("rows.md", text + "\n"), ("rows.svg", picture(means))):  # fmt: skip
        (output / name).write_text(content, encoding="utf-8")
    return text


def _mean(rows: int, found: Sequence[Point]) -> Point:
    """The last adapters of a number of rows as one point.

    Raises:
        SystemExit: the seeds end at unlike steps.
    """
    last = {point.seed: point.step for point in found}  # in the order of the steps
    if len(set(last.values())) > 1:
        told = ", ".join(f"seed {seed} at step {step:g}" for seed, step in last.items())
        raise SystemExit(
            f"The seeds of {rows:,} rows were not trained alike, as they end at other steps "
            f"({told}): remove the runs that are not meant, and repeat the command."
        )
    return curve(found)[-1]


def table(means: dict[int, Point], seeds: dict[int, int]) -> Iterator[str]:
    """Markdown: a line for each number of rows; over several seeds, means with t-intervals."""
    columns = figure_columns(means.values())
    heads = " | ".join(column.head for column in columns)
    yield f"| rows | seeds | epochs | steps | training, s | {heads} |"
    yield "|---" * (5 + len(columns)) + "|"
    for rows, point in means.items():
        cells = [f"{rows:,}", str(seeds[rows]), f"{point.epoch:g}", f"{point.step:g}",
                 f"{point.seconds:,.0f}", *figure_cells(point, columns)]  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def picture(means: dict[int, Point]) -> str:
    """Internalization and the task's scores over the number of rows, as an SVG."""
    lines = [
        Line(label, [(rows, point.figures[figure]) for rows, point in means.items()])
        for figure, label in DRAWN.items()
        if all(figure in point.figures for point in means.values())
    ]
    return draw(lines, "What more rows bring", "rows to train on, logarithmic", "share")


if __name__ == "__main__":
    main()
