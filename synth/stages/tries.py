"""What became of the tries for inputs, and when they are given up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from synth.errors import TooFewInputs
from synth.quality.filters import CALLS, CUT, CUT_THINKING, EMPTY, LEAKS, NO_TEXT

# So many tries with nothing but empty answers are enough to know.
EMPTY_TRIES = 40
# And so many without a single input, whatever is wrong with them.
FRUITLESS_TRIES = 100
NOTHING_CURE = (
    "Look at what it is asked and answers: python -m synth preview TASK --model MODEL. A base "
    "model without chat training, a wrong chat template, or an end token right at the start are "
    "the usual causes."
)
NO_TEXT_CURE = (
    "A model that thinks needs more `inputs.max_tokens`, or its thinking switched off, for example "
    "inputs.chat_template_kwargs: {enable_thinking: false}; one that calls tools should get none "
    "(--generator-request-args)."
)


@dataclass
class Tries:
    """What became of the tries so far."""

    made: int = 0
    tried: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def without_text(self) -> int:
        """Tries that came to no text, or to more than text, whatever else they had."""
        none = (EMPTY, NO_TEXT, CUT_THINKING, CALLS)
        return sum(count for fault, count in self.faults.items() if fault.startswith(none))

    def drop(self, reason: str, text: str) -> None:
        """Count a try that gave no input; the first text of each reason is kept as an example."""
        self.faults[reason] += 1
        self.examples.setdefault(reason, text)


def check_alive(tries: Tries, count: int) -> None:
    """Check that the generator is worth asking on.

    Raises:
        TooFewInputs: after many tries there is not a single input.
    """
    if tries.tried < EMPTY_TRIES or tries.made:
        return
    if tries.faults[EMPTY] == tries.tried:
        raise TooFewInputs(
            f"The generator answers with nothing: {tries.tried} tries for an input, all empty.",
            NOTHING_CURE,
        )
    if tries.without_text == tries.tried or tries.tried >= FRUITLESS_TRIES:
        raise gave_up(tries, count)


def gave_up(tries: Tries, count: int) -> TooFewInputs:
    """The error for too few inputs: what the tries gave instead, with examples and a cure."""
    faults = dict(tries.faults)
    duplicates = faults.pop("duplicate", 0) + faults.pop("near duplicate", 0)
    malformed = ", ".join(f"{number} {reason}" for reason, number in sorted(
        faults.items(), key=lambda item: -item[1]))  # fmt: skip
    lines = [
        f"Only {tries.made} of {count} inputs after {tries.tried} tries "
        f"(yield {tries.made / tries.tried:.1%}): {duplicates} duplicates, "
        f"{sum(faults.values())} malformed" + (f" ({malformed})." if malformed else ".")
    ]
    for reason, _ in tries.faults.most_common(3):
        text = " ".join(tries.examples[reason].split())
        lines.append(f"  {reason}: {text[:160]!r}")
    if faults == {EMPTY: tries.tried}:
        cure = NOTHING_CURE
    elif (tries.without_text - tries.faults[EMPTY]) * 2 > sum(faults.values()):
        cure = NO_TEXT_CURE
    elif duplicates > sum(faults.values()):
        cure = (
            "The generator repeats itself: write more and more varied `inputs.seeds`, raise "
            "`inputs.temperature`, or ask for fewer inputs (-n)."
        )
    elif faults.get(CUT, 0) * 2 > sum(faults.values()):
        cure = (
            "The generator does not come to an end: raise `inputs.max_tokens`, write shorter "
            "`inputs.seeds`, or use a stronger --generator-model."
        )
    elif faults.get(LEAKS, 0) * 2 > sum(faults.values()):
        cure = (
            "If the examples look right, raise `inputs.copied_words` (0 allows every copy of the "
            "prompt); if not, add `inputs.seeds`, or set `inputs.show_prompt: false`."
        )
    else:
        cure = (
            "If the examples look right, loosen `inputs.pattern`, `min_chars` or `max_chars`; if "
            "not, write clearer `inputs.seeds` and `inputs.request`, or use a stronger "
            "--generator-model."
        )
    return TooFewInputs("\n".join(lines), cure + " What was made so far is kept.")
