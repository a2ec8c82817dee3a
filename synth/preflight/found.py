"""What `synth preflight` found, and what of it speaks against a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from synth.quality.thoughts import OFF_CURE, THINKS

# Below these the prompt is said to change little: nats a token, a share of answers.
LITTLE_KL = 0.05
LITTLE_SHARE = 0.1
HALF = 0.5


@dataclass(frozen=True)
class Scored:
    """What a model tells that scores given answers: one in this process, or behind vLLM.

    Args:
        nats: how much the prompt changes the model, in nats a token of the teacher's answers. In
            process KL(teacher‖floor), exact, over the whole vocabulary. From a server how much
            likelier the prompt makes the answer's own tokens, which is an estimate of that.
        exact: which of the two.
        other_tokens: the first answer that the template gives other tokens with the prompt than
            without; "" if there is none.
        longest: tokens of the longest of what the model must take: a request for a reason with
            room for the reason, or a prompt-generation half; 0 where no row has any.
        context: tokens that the model takes; None where the server does not say.
        answers: how many were scored; a server scores none with calls or thoughts.
        before_slot: of a request's tokens, those of the prompt before its first slot; None without
            slots.
    """

    nats: float
    exact: bool
    other_tokens: str
    longest: int
    context: int | None
    answers: int = 0
    before_slot: int | None = None


@dataclass
class Preflight:
    """What was seen. `go` is whether nothing speaks against the run.

    `slots`: by slot of the prompt, how often each value occurred.
    `thoughts`: by model, its answers that came with thoughts, and all; see `Tally.thoughts`.
    `thinking` is the task's. `tools` says which tools were called, a sentence each.
    `same` is of the `floors` rows that have a floor output, None where there is none. `lost` says
    why rows have no reason that should; `reasons` have one.
    """

    inputs: int
    rows: int
    scored: Scored | None
    well_formed: dict[str, float]
    same: float | None
    floors: int
    too_long: int
    tokens: dict[str, tuple[float, float]]
    wanted: int
    money: float | None
    whole: bool
    rejected: list[str] = field(default_factory=list)
    reasons: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    uncounted: int = 0
    thoughts: dict[str, tuple[int, int]] = field(default_factory=dict)
    thinking: str = "keep"
    slots: dict[str, Counter[str]] = field(default_factory=dict)
    tools: list[str] = field(default_factory=list)

    @property
    def against(self) -> list[str]:
        """What speaks against the run, a sentence each."""
        found = []
        if self.rows < HALF * self.inputs:
            found.append(f"Only {self.rows} of {self.inputs} rows came through.")
        if self.lost and self.reasons < HALF * (self.reasons + self.lost.total()):
            found.append(
                f"Only {self.reasons} of {self.reasons + self.lost.total()} reasons came through; "
                "without one a row can't be recited."
            )
        teacher, floor = self.well_formed.get("teacher"), self.well_formed.get("floor")
        if teacher is not None and teacher < HALF:
            found.append(
                f"The teacher itself gives a well-formed action in only {teacher:.0%} of answers."
            )
        seen = self.scored
        if seen is not None and seen.nats < LITTLE_KL:
            found.append(
                f"The prompt hardly changes what the model says ({seen.nats:.3f} nats a "
                "token): there is little to internalize."
            )
        elif seen is None and teacher is not None and floor is not None:
            if teacher - floor < LITTLE_SHARE:
                found.append("With the prompt, actions are hardly more often well-formed.")
        elif seen is None and self.same is not None and self.same > 1 - LITTLE_SHARE:
            found.append(
                f"{self.same:.0%} of answers are nearly the same with the prompt and without."
            )
        if "target" in self.thoughts and self.thinking == "off":
            thought, of = self.thoughts["target"]
            found.append(
                f"The target {THINKS}: {thought} of its {of} answers came with thoughts, and are "
                f"rejected. {OFF_CURE}"
            )
        if seen is not None and seen.other_tokens:
            found.append(
                "The chat template gives an answer other tokens with the prompt than without: "
                f"{seen.other_tokens}"
            )
        if seen is not None and seen.context is not None and seen.longest > seen.context:
            found.append(
                f"Prompt and reason take {seen.longest:,} tokens, the model {seen.context:,}."
            )
        if self.too_long:
            found.append(f"{self.too_long} requests were longer than the model's context.")
        return found

    @property
    def go(self) -> bool:
        return not self.against
