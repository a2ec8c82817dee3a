"""`inputs.vary`: what each try for an input draws of the task's lists, and how it is asked for.

Attributes drawn for each request make synthetic data varied where sampling alone repeats itself:
Yu et al. 2023, AttrPrompt (arXiv 2306.15895); Ge et al. 2024, personas (arXiv 2406.20094).
"""

from __future__ import annotations

import random
import re

from synth.task.sections import Inputs
from synth.text import word_runs

ASKED = "Let this one fit the following, without naming it:"
ASKED_WORDS = 3  # words in a row of it that give it away


def drawn(settings: Inputs, seed: int, number: int) -> dict[str, str]:
    """What try `number` draws: one text of each list. A list more changes no other's draws."""
    return {
        name: random.Random(f"{seed}-{number}-{name}").choice(texts)
        for name, texts in settings.vary.items()
    }


def asked_for(settings: Inputs, seed: int, number: int) -> str:
    """The generator's turn for try `number`: the task's request, and what was drawn for it."""
    lines = [f"{name}: {text}" for name, text in drawn(settings, seed, number).items()]
    return "\n".join([settings.request, "", ASKED, *lines]) if lines else settings.request


def echoes(text: str, settings: Inputs) -> bool:
    """Whether a generated text gives what was asked for back: a line `name: ...` of a list's name
    that no seed has, or words of `ASKED`."""
    if not settings.vary:
        return False
    asked = word_runs(ASKED, ASKED_WORDS)
    if not set(asked).isdisjoint(word_runs(text, ASKED_WORDS)):
        return True
    marks = [re.compile(rf"^\W*{re.escape(name)}\W*:", re.I | re.M) for name in settings.vary]
    return any(m.search(text) and not any(map(m.search, settings.seeds)) for m in marks)
