"""Are calls of tools internalized? Two tools, few-shot calls, SmolLM2, held-out requests.

    python -m benchmarks.calls --model models/smollm2

gives the model a chat template that takes tools, makes rows, trains, evaluates, and prints a table:
how often teacher, student and floor make a call, of the teacher's tool, with its arguments, what of
that the adapter keeps, and the tokens of a request, those of the tools apart. Each step that is
done already is not done again, so the command may be stopped and repeated; `--report` prints the
table alone.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from pathlib import Path
from typing import Any

from benchmarks.figures import shown
from benchmarks.folders import run

OUT = Path("outputs/calls")
TASK = Path("benchmarks/calls_task")
CONFIG = Path("benchmarks/calls.yml")
REPORT = OUT / "report"
ASK_WEATHER = (
    "what is the weather in {city}?",
    "is it cold in {city} today?",
    "how warm is it in {city} right now?",
    "do i need a coat in {city}?",
    "i am in {city} this morning, will it rain?",
    "please tell me the weather in {city}",
    "does the sun shine in {city}?",
    "what is the sky like over {city}?",
)
ASK_TIMER = (
    "set a timer for {minutes} minutes for the {thing}",
    "the {thing} needs {minutes} minutes",
    "please remind me about the {thing} in {minutes} minutes",
    "start a {thing} timer of {minutes} minutes",
    "{minutes} minutes for the {thing}, please",
    "tell me when {minutes} minutes are over, it is for the {thing}",
)
THINGS = ("rice", "bread", "eggs", "tea", "soup", "potatoes", "roast", "pizza", "beans", "cookies")
MINUTES = range(2, 60)
UNSHOWN = "recitation,clauses,drift,disclosure"  # sections of which the table shows nothing
MOST = len(THINGS) * len(MINUTES)  # requests
SCORES = {
    "call_made": "calls where the teacher calls, well-formed",
    "call_tool": "calls the teacher's tool",
    "call_arguments": "with the same arguments, by value",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, help="the folder of SmolLM2-135M-Instruct")
    parser.add_argument("--rows", type=int, default=160, help="inputs to make (default 160)")
    parser.add_argument("--report", action="store_true", help="print the table alone")
    options = parser.parse_args()
    if not options.report:
        if options.model is None:
            parser.error("give --model, or --report")
        if not 1 <= options.rows <= MOST:
            parser.error(f"--rows is 1 to {MOST}: there are no more requests")
        make(options.model, options.rows)
    print(table(json.loads((REPORT / "metrics.json").read_text(encoding="utf-8"))))


def make(model: Path, rows: int) -> None:
    """Model with tools, dataset, adapter, evaluation; what is there already is kept.

    Raises:
        SystemExit: it was made of other requests.
    """
    inputs, asked = OUT / "inputs.txt", "\n".join(requests(rows)) + "\n"
    if inputs.is_file() and (before := inputs.read_text(encoding="utf-8")) != asked:
        raise SystemExit(
            f"{OUT} holds what was made of {before.count(chr(10))} requests: give --rows "
            f"{before.count(chr(10))} to go on, or remove the folder."
        )
    copy = OUT / "model"
    if not copy.is_dir():
        shutil.copytree(model, copy)
        shutil.copy(TASK / "chat_template.jinja", copy / "chat_template.jinja")
    inputs.write_text(asked, encoding="utf-8")
    synth = ("python", "-m", "synth", "run", TASK, "--model", copy)
    run(*synth, "--inputs", inputs, "-o", OUT / "data")
    if not (OUT / "adapter" / "adapter_model.safetensors").is_file():
        run("axolotl", "train", CONFIG, "--launcher", "python")
    run("axolotl", "genpi-eval", CONFIG, "--output", REPORT, "--skip", UNSHOWN)


def requests(count: int) -> list[str]:
    """Requests in many words: each city, and each pair of a time and a thing, occurs once."""
    rng = random.Random(0)
    timers = [(minutes, thing) for thing in THINGS for minutes in MINUTES]
    rng.shuffle(timers)
    cities = (TASK / "cities.txt").read_text(encoding="utf-8").split()
    rng.shuffle(cities)
    found = []
    for number in range(count):
        if number % 2 and number // 2 < len(cities):
            found.append(rng.choice(ASK_WEATHER).format(city=cities[number // 2]))
        else:
            minutes, thing = timers[number]
            found.append(rng.choice(ASK_TIMER).format(minutes=minutes, thing=thing))
    return found


def table(metrics: dict[str, Any]) -> str:
    """The table, from a report's metrics.json."""
    lines = ["| | teacher | student | floor | retention |", "|---|---|---|---|---|"]
    for name, words in SCORES.items():
        systems = [shown(metrics["systems"][one][name]) for one in ("teacher", "student", "floor")]
        kept = shown(metrics["retention"][name])
        lines.append(f"| {words} | {' | '.join(systems)} | {kept} |")
    for turn in metrics.get("turns", []):
        students = turn["systems"]["student"]
        found = ", ".join(f"{name} {shown(students[name])}" for name in SCORES if name in students)
        lines.append(f"| turn {turn['turn']}, student: {found} | | | | |")
    cost = metrics["cost"]
    whole, tools = cost["request_tokens_with_prompt"], cost["tools_tokens"]
    return "\n".join(
        [
            f"{metrics['n']} held-out requests.",
            "",
            *lines,
            "",
            f"internalization: {shown(metrics['internalization'], '.3f')}",
            f"tokens of a request: {whole:.0f} with the prompt, "
            f"{cost['request_tokens_without_prompt']:.0f} without; the tools alone {tools:.0f} "
            f"({tools / whole:.0%}).",
        ]
    )


if __name__ == "__main__":
    main()
