"""Ours beside its peers, second by second: one model, prompt, dataset and machine.

    python -m synth init my-task --prompt PROMPT
    python -m synth run my-task --model models/smollm2 --inputs TRAIN --test-share 0 -o data/long
    python -m benchmarks.peers data/long HELD_OUT --model models/smollm2 -o outputs/peers

Each contestant (`benchmarks/peers/contestants.py`) trains in a process of its own with the same
rank, targets, optimizer, learning rate and rows a step, in bfloat16 where the processor has
instructions for it, and leaves adapters at several moments; all of them are measured by
`axolotl genpi-eval` on the held-out requests. The clock runs from the moment when the trainer is
built: a teacher's reading and the sampling of answers count, keeping adapters and measuring them do
not. A constant learning rate is the default, so that no adapter's worth depends on how many steps
were still to come.

A run that is done is not done again, and one that was stopped begins again, so the command may be
stopped and repeated. At its end, and with --report alone, it prints the page, and writes
`points.json`, `peers.md` and `peers.svg`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.peers.options import (
    add_options,
    make_recipe,
    measuring,
    names_of,
    note_rows,
    seeds_of,
)
from benchmarks.peers.points import Point, as_json, points
from benchmarks.peers.runs import measure, train
from benchmarks.peers.tables import AXES, page, picture


def main() -> None:
    """Do the runs that are missing, then print the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser, "outputs/peers", "constant_with_warmup")
    parser.add_argument("--only", help=f"some of {','.join(CONTESTANTS)} (default all)")
    parser.add_argument("--rows", type=int, help="to train on (default all)")
    parser.add_argument("--moments", type=int, default=6, help="adapters of a run (default 6)")
    parser.add_argument("--most-seconds", type=float, help="of a run's training (default no limit)")
    parser.add_argument("--by", choices=AXES, default="seconds", help="the clock of the page")
    options = parser.parse_args()
    names = names_of(parser, options.only, CONTESTANTS)
    seeds, failed = seeds_of(parser, options.seeds), []
    if not options.report:
        if options.model is None:
            parser.error("give --model, or --report")
        failed = compete(options, names, seeds)
    print(report(options))
    if failed:
        raise SystemExit(f"Failed, see above: {', '.join(failed)}.")


def compete(options: argparse.Namespace, names: list[str], seeds: list[int]) -> list[str]:
    """Train and measure what is missing; the contestants that failed, which stops no other."""
    recipe = make_recipe(options, options.rows, options.output)
    recipe = replace(recipe, moments=options.moments, most_seconds=options.most_seconds)
    how, failed = measuring(options, recipe), []
    for seed in seeds:
        for name in names:
            folder = _folder(options.output, name, seed)
            try:
                train(CONTESTANTS[name], recipe, seed, folder)
                measure(folder, how)
            except subprocess.CalledProcessError as error:
                failed.append(f"{name}, seed {seed} (status {error.returncode})")
    return failed


def report(options: argparse.Namespace) -> str:
    """The page of what is there; also written to the output folder, with points and picture."""
    found: list[Point] = []
    missing = set(CONTESTANTS)
    unmeasured: list[str] = []
    for folder in sorted((options.output / "runs").glob("*-seed*")):
        name, _, seed = folder.name.rpartition("-seed")
        its = points(folder, name, int(seed))
        missing.discard(name)
        unmeasured += [] if its else [f"{name}, seed {seed}"]
        found += its
    left_out = _left_out([name for name in CONTESTANTS if name in missing], unmeasured)
    notes = [_compared(options), note_rows(options.dataset), *left_out]
    text = page(found, notes, options.by)
    if found:
        json_text = json.dumps(as_json(found), indent=1)
        title = f"Internalization over {AXES[options.by]}"
        for name, content in (("points.json", json_text), ("peers.md", text + "\n"),
                              ("peers.svg", picture(found, title, options.by))):  # fmt: skip
            (options.output / name).write_text(content, encoding="utf-8")
    return text


def _folder(output: Path, name: str, seed: int) -> Path:
    return output / "runs" / f"{name}-seed{seed}"


def _left_out(missing: Sequence[str], unmeasured: Sequence[str]) -> Iterator[str]:
    """Sentences on what the tables do not show."""
    if missing:
        yield f"Not run: {', '.join(missing)}."
    if unmeasured:
        yield f"Begun and not measured, as it failed or is not done: {'; '.join(unmeasured)}."


def _compared(options: argparse.Namespace) -> str:
    """One sentence on what was compared, from the first report that there is."""
    for path in sorted((options.output / "runs").glob("*/report/metrics.json")):
        metrics = json.loads(path.read_text(encoding="utf-8"))
        cost = metrics["cost"]
        systems = [
            f"{name} well-formed {metrics['systems'][name]['valid']['value']:.0%}"
            for name in ("teacher", "floor")
            if "valid" in metrics["systems"][name]
        ]
        return (
            f"{metrics['n']} held-out requests of {cost['request_tokens_with_prompt']:,.0f} tokens "
            f"with the prompt and {cost['request_tokens_without_prompt']:,.0f} without"
            + "".join(f"; {one}" for one in systems)
            + "."
        )
    return ""


if __name__ == "__main__":
    main()
