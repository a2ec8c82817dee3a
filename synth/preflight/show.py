"""What `synth preflight` found, as a person reads it."""

from __future__ import annotations

from rich.console import Console

from synth.dataset.summary import values_line
from synth.preflight.found import Preflight
from synth.quality.filters import THINKING_CURE


def print_preflight(found: Preflight, console: Console) -> None:
    """Print what was seen, and whether to go on."""
    lines = [f"{found.rows} of {found.inputs} rows came through, up to their reasons."]
    lines += [f"  rejected in {line}" for line in found.rejected]
    lines += [f"  {count} kept without a reason: {why}" for why, count in found.lost.most_common()]
    of = {"teacher": "", "floor": "" if found.floors == found.rows else f" (of {found.floors})"}
    if found.well_formed:
        shares = ", ".join(
            f"{name} {share:.0%}{of[name]}" for name, share in found.well_formed.items()
        )
        lines.append(f"Well-formed actions: {shares}.")
    lines += found.tools
    if "target" in found.thoughts and found.thinking == "keep":
        thought, asked = found.thoughts["target"]
        lines.append(
            f"The target thinks: {thought} of its {asked} answers came with thoughts, which are "
            "trained with them (`thinking: keep`)."
        )
    if "generator" in found.thoughts:
        thought, asked = found.thoughts["generator"]
        lines.append(
            f"The generator thinks: {thought} of its {asked} answers came with thoughts, which go "
            f"into no row and cost tokens. {THINKING_CURE}"
        )
    lines.append(
        "Answers without the prompt are not looked at, since the task makes none (`reasons.share`)."
        if found.same is None
        else f"Answers that are nearly the same with and without the prompt: {found.same:.0%}"
        f"{of['floor']}."
    )
    lines += [values_line(name, counts) for name, counts in found.slots.items()]
    seen = found.scored
    if seen is None:
        lines.append(
            "Not looked at, since neither a model in this process nor a vLLM server answers: the "
            "KL between teacher and floor, the tokens of both views, the model's context."
        )
    else:
        lines.append(
            f"KL(teacher‖floor): {seen.nats:.3f} nats a token, along the teacher's answers."
            if seen.exact
            else f"The prompt makes the teacher's answers {seen.nats:.3f} nats a token likelier."
        )
        if seen.answers < found.rows:
            lines.append(f"Scored are {seen.answers} of {found.rows} answers, the plain texts.")
        lines.append(
            "The template gives an answer the same tokens with and without the prompt: "
            + ("no." if seen.other_tokens else "yes.")
        )
        if seen.before_slot is not None:
            lines.append(
                f"Tokens of the prompt before its first slot: about {seen.before_slot:,}; a "
                "server's prefix cache ends there."
            )
        takes = "the server does not tell what the model takes."
        if seen.context is not None:
            takes = f"the model takes {seen.context:,}."
        if seen.longest:
            lines.append(f"Prompt and reason: {seen.longest:,} tokens at most; {takes}")
    (tokens_in, tokens_out) = map(sum, zip(*found.tokens.values(), strict=True))
    money = "" if found.money is None else f", {found.money:.2f} at these prices"
    more = "" if found.whole else " Further turns of conversations come on top."
    if found.uncounted:
        more += f" The server did not count the tokens of {found.uncounted} answers: add theirs."
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
        looked = "" if seen is not None else " that could be looked at"
        console.print(f"Go on: nothing{looked} speaks against the run.", style="green")
    else:
        console.print("Don't go on before this is mended; `preview` shows whole rows.",
                      style="red")  # fmt: skip
