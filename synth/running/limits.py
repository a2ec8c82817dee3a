"""When a run is stopped rather than paid for to its end."""

from __future__ import annotations

import re
from collections import Counter

from synth.engines.base import OVERLONG
from synth.errors import EngineError, RequestError, SynthError
from synth.progress.progress import StageTally, Tally
from synth.quality.filters import CALLED, CALLS, CUT_THINKING, THINKING_CURE, THOUGHT
from synth.store.store import Store

# So many rows of a stage are seen before it is judged.
ENOUGH = 20
# And so many rows wherever they stand: more than are ever under way at one server.
MANY = 500
# A run is alive when more than this share of its rows comes through.
ALIVE = 0.05
# So many characters are shown of what was the matter with a row.
DETAIL = 160
SENTENCE_END = re.compile(r"[.!?]['\")]?(?= )")
# The share of a stage's rows that may fail, unless the user says otherwise.
FAILURE_RATE = 0.2


def check_failures(stage: str, counts: StageTally, max_rate: float, last: RequestError) -> None:
    """Check that not too many of a stage's rows failed.

    Args:
        stage: the stage's name.
        counts: its counts.
        max_rate: the share that may fail.
        last: the failure that was counted last.

    Raises:
        EngineError: of at least `ENOUGH` rows a larger share failed.
    """
    seen = counts.done - counts.skipped + counts.rejected.total() + counts.failed
    if seen >= ENOUGH and counts.failed > max_rate * seen:
        raise EngineError(
            f"{counts.failed} of {seen} rows failed in {stage}, more than {max_rate:.0%}. "
            f"The last one: {last.cause}",
            f"{last.cure} To go on in spite of it, raise --max-failure-rate.",
        )


class InOrder:
    """What became of the rows, judged in their order.

    Refused and empty answers come at once, good ones take their time: the rows that ended first
    say little of those that are under way. Many of them do, so that one row that takes very long
    does not keep a hopeless run alive.
    """

    def __init__(self) -> None:
        self._ended: dict[int, bool | None] = {}
        self._judged = 0
        self._in_order: Counter[bool | None] = Counter()
        self._all: Counter[bool | None] = Counter()

    def add(self, position: int, passed: bool | None) -> None:
        """Note that a row passed, or was rejected; None for one that waits for the next run."""
        self._all[passed] += 1
        self._ended[position] = passed
        while self._judged in self._ended:
            self._in_order[self._ended.pop(self._judged)] += 1
            self._judged += 1

    @property
    def alive(self) -> bool:
        """Whether rows come through; False only after `ENOUGH` were rejected."""
        return _alive(self._in_order, ENOUGH) and _alive(self._all, MANY)


def _alive(ended: Counter[bool | None], enough: int) -> bool:
    return ended[False] < enough or ended[True] > ALIVE * (ended[True] + ended[False])


def few_reasons(tally: Tally) -> str:
    """What to say of a run in which (almost) no reason comes through; "" of any other.

    Its rows are good, so it goes on.
    """
    lost = tally.lost.total()
    if lost < ENOUGH or tally.reasons > ALIVE * (tally.reasons + lost):
        return ""
    why = ", ".join(f"{count} x {reason}" for reason, count in tally.lost.most_common(3))
    return (
        f"{tally.reasons} of {tally.reasons + lost} reasons came through, the others were lost "
        f"({why}); their rows are kept without. To mend it, stop the run, change `reasons` or "
        "`outputs` in task.yml, and go on with --resume changed: only what the change touches is "
        "asked again."
    )


def brief(detail: str) -> str:
    """The first sentences of what was the matter with a row, so that no cure ends halfway; of one
    long sentence its first words."""
    text = " ".join(detail.split())
    if len(text) <= DETAIL:
        return text
    ends = [end.end() for end in SENTENCE_END.finditer(text) if end.end() <= DETAIL]
    return text[: ends[-1]] if ends else f"{text[:DETAIL].rpartition(' ')[0] or text[:DETAIL]} ..."


def no_rows(tally: Tally, store: Store, last: RequestError | None) -> SynthError:
    """The error for a run that makes (almost) no row.

    Args:
        tally: the run's counts.
        store: holds what was rejected.
        last: the failure that was counted last, if there was one.
    """
    details = {(r.stage, r.reason): brief(r.detail) for r in store.rejections()}
    lines, out = [], 0
    for stage, counts in tally.stages.items():
        if stage == "inputs":
            continue
        out += counts.rejected.total() + counts.failed
        for reason, count in counts.rejected.most_common(5):
            detail = details.get((stage, reason), "")
            lines.append(f"{stage}: {count} x {reason}" + (f" ({detail})" if detail else ""))
        if counts.failed and last is not None:
            lines.append(f"{stage}: {counts.failed} x failed (the last one: {last.cause})")
    done = tally.rows
    reasons = sum((counts.rejected for counts in tally.stages.values()), Counter[str]())
    if last is not None and not reasons:
        cure = last.cure
    elif reasons and reasons.most_common(1)[0][0] == OVERLONG:
        cure = (
            "Prompt and input are longer than what the model takes: use one with a longer "
            "context, or start the server with a longer one."
        )
    elif reasons and any(mark in reasons.most_common(1)[0][0] for mark in (CUT_THINKING, THOUGHT)):
        cure = THINKING_CURE
    elif reasons and any(mark in reasons.most_common(1)[0][0] for mark in (CALLED, CALLS)):
        cure = (
            "The model calls tools that it knows from elsewhere: take them out of its requests "
            "(--request-args), or ask for a text in the prompt."
        )
    else:
        cure = (
            "Answers that are empty point to the model or its chat template; answers that were "
            "cut, to `max_tokens` (for example --set outputs.max_tokens=2048). "
            "Look at a few with: python -m synth preview TASK --model MODEL -n 3"
        )
    return SynthError(
        f"{done} of {done + out} rows came through; the others were rejected or failed:\n  "
        + "\n  ".join(lines),
        cure,
    )
