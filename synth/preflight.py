"""`synth preflight`: from a few inputs, whether the whole run is worth its money."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rich.console import Console

from synth.engines.base import OVERLONG
from synth.inputs_file import GivenInputs, read_inputs
from synth.pipeline import synthesize
from synth.progress import ROLES, Tally, shown
from synth.rows import Row
from synth.run import RunSettings, open_engines
from synth.store import Store
from synth.taskfile import Task

# Below these the prompt is said to change little: nats a token, a share of answers.
LITTLE_KL = 0.05
LITTLE_SHARE = 0.1
HALF = 0.5


@dataclass(frozen=True)
class Inside:
    """What only a model in this process tells.

    Args:
        kl: KL(teacher‖floor) in nats a token over the teacher's answers, whole vocabulary.
        other_tokens: the first answer that the template gives other tokens with the prompt than
            without; "" if there is none.
        longest: tokens of the longest of what the model must take: a request for a reason with
            room for the reason, or a prompt-generation half.
        context: tokens that the model takes.
    """

    kl: float
    other_tokens: str
    longest: int
    context: int


@dataclass
class Preflight:
    """What was seen. `go` is whether nothing speaks against the run."""

    inputs: int
    rows: int
    inside: Inside | None
    well_formed: dict[str, float]
    same: float
    too_long: int
    tokens: dict[str, tuple[float, float]]
    wanted: int
    money: float | None
    max_turns: int
    rejected: list[str] = field(default_factory=list)

    @property
    def against(self) -> list[str]:
        """What speaks against the run, a sentence each."""
        found = []
        if self.rows < HALF * self.inputs:
            found.append(f"Only {self.rows} of {self.inputs} rows came through.")
        teacher, floor = self.well_formed.get("teacher"), self.well_formed.get("floor")
        if teacher is not None and teacher < HALF:
            found.append(
                f"The teacher itself gives a well-formed action in only {teacher:.0%} of answers."
            )
        if self.inside is not None and self.inside.kl < LITTLE_KL:
            found.append(
                f"The prompt hardly changes what the model says ({self.inside.kl:.3f} nats a "
                "token): there is little to internalize."
            )
        elif self.inside is None and teacher is not None and floor is not None:
            if teacher - floor < LITTLE_SHARE:
                found.append("With the prompt, actions are hardly more often well-formed.")
        elif self.inside is None and self.same > 1 - LITTLE_SHARE:
            found.append(f"{self.same:.0%} of answers are the same with the prompt and without.")
        if self.inside is not None and self.inside.other_tokens:
            found.append(
                "The chat template gives an answer other tokens with the prompt than without: "
                f"{self.inside.other_tokens}"
            )
        if self.inside is not None and self.inside.longest > self.inside.context:
            found.append(
                f"Prompt and reason take {self.inside.longest:,} tokens, the model "
                f"{self.inside.context:,}."
            )
        if self.too_long:
            found.append(f"{self.too_long} requests were longer than the model's context.")
        return found

    @property
    def go(self) -> bool:
        return not self.against


def look(task: Task, settings: RunSettings, count: int, console: Console) -> Preflight:
    """Make `count` rows up to their reasons, kept nowhere, and look at them.

    Raises:
        SynthError: as `synth run` does.
    """
    given = None
    if settings.inputs_file is not None:
        given = read_inputs(settings.inputs_file)
        given = replace(given, texts=given.texts[:count])
        count = len(given.texts)
    return asyncio.run(_look(_short(task, count), task, settings, count, given, console))


async def _look(
    short: Task, task: Task, settings: RunSettings, count: int, given: GivenInputs | None,
    console: Console,
) -> Preflight:  # fmt: skip
    tally = Tally(count, settings.prices)
    inside = None
    with contextlib.closing(Store(":memory:")) as store:
        async with open_engines(settings) as models:
            async with shown(tally, console):
                await synthesize(short, models, store, tally, settings.seed, given)
            rows = list(store.rows())
            on_model = getattr(models.target, "on_model", None)
            if on_model is not None and rows:
                from synth.preflight_local import measure

                inside = await on_model(lambda local: measure(local, rows, task))
        rejected = [
            f"{stage}: {number} x {reason}"
            for stage, reasons in store.rejected().items()
            for reason, number in reasons.items()
        ]
        too_long = sum(r.reason == OVERLONG for r in store.rejections())
    return Preflight(
        count,
        len(rows),
        inside,
        _well_formed(rows, task.config.action_pattern),
        sum(row.floor_output == row.teacher_output for row in rows) / max(len(rows), 1),
        too_long,
        *_cost(tally, task.config.inputs.count / count),
        task.config.conversations.max_turns,
        rejected,
    )


def print_preflight(found: Preflight, console: Console) -> None:
    """Print what was seen, and whether to go on."""
    lines = [f"{found.rows} of {found.inputs} rows came through, up to their reasons."]
    lines += [f"  rejected in {line}" for line in found.rejected]
    if found.well_formed:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in found.well_formed.items())
        lines.append(f"Well-formed actions: {shares}.")
    lines.append(f"Answers that are the same with and without the prompt: {found.same:.0%}.")
    if found.inside is None:
        lines.append(
            "Not looked at, since a server does not tell: the KL between teacher and floor, the "
            "tokens of both views, the model's context."
        )
    else:
        lines.append(
            f"KL(teacher‖floor): {found.inside.kl:.3f} nats a token, along the teacher's answers."
        )
        lines.append(
            "The template gives an answer the same tokens with and without the prompt: "
            + ("no." if found.inside.other_tokens else "yes.")
        )
        lines.append(
            f"Prompt and reason: {found.inside.longest:,} tokens at most; the model takes "
            f"{found.inside.context:,}."
        )
    (tokens_in, tokens_out) = map(sum, zip(*found.tokens.values(), strict=True))
    money = "" if found.money is None else f", {found.money:.2f} at these prices"
    more = " Further turns of conversations come on top." if found.max_turns > 1 else ""
    lines.append(
        f"A run of {found.wanted:,} inputs: about {tokens_in:,.0f} tokens in, "
        f"{tokens_out:,.0f} out{money}.{more}"
    )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for line in found.against:
        console.print(f"Against it: {line}", style="red", highlight=False, markup=False,
                      soft_wrap=True)  # fmt: skip
    if found.go:
        console.print("Go on: nothing speaks against the run.", style="green")
    else:
        console.print("Don't go on before this is mended; `preview` shows whole rows.",
                      style="red")  # fmt: skip


def _short(task: Task, count: int) -> Task:
    """The task with `count` inputs and conversations that end with the first answer."""
    config = task.config
    inputs = config.inputs.model_copy(update={"count": count})
    talks = config.conversations.model_copy(update={"max_turns": 1, "require_end": False})
    return replace(
        task, config=config.model_copy(update={"inputs": inputs, "conversations": talks})
    )


def _well_formed(rows: Sequence[Row], pattern: str | None) -> dict[str, float]:
    if pattern is None or not rows:
        return {}
    return {
        "teacher": sum(bool(re.search(pattern, row.teacher_output)) for row in rows) / len(rows),
        "floor": sum(bool(re.search(pattern, row.floor_output)) for row in rows) / len(rows),
    }


def _cost(tally: Tally, times: float) -> tuple[dict[str, tuple[float, float]], int, float | None]:
    """Of a run `times` as long: tokens in and out by role, inputs, money."""
    tokens = {
        role: (
            times * sum(counts.by_role[role].tokens_in for counts in tally.stages.values()),
            times * sum(counts.by_role[role].tokens_out for counts in tally.stages.values()),
        )
        for role in ROLES
    }
    whole = {role: (round(each[0]), round(each[1])) for role, each in tokens.items()}
    return tokens, round(tally.total * times), tally.prices.of(whole)
