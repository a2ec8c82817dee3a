"""When a run is stopped rather than paid for to its end."""

from __future__ import annotations

from synth.errors import EngineError, RequestError, SynthError
from synth.progress import StageTally, Tally
from synth.store import Store

# So many rows of a stage are seen before it is judged.
ENOUGH = 20
# A stage is alive when more than this share of its rows comes through.
ALIVE = 0.05
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
    seen = counts.done + counts.rejected.total() + counts.failed
    if seen >= ENOUGH and counts.failed > max_rate * seen:
        raise EngineError(
            f"{counts.failed} of {seen} rows failed in {stage}, more than {max_rate:.0%}. "
            f"The last one: {last.cause}",
            f"{last.cure} To go on in spite of it, raise --max-failure-rate.",
        )


def alive(counts: StageTally) -> bool:
    """Whether a stage lets rows through; those it has yet to see count neither way."""
    passed, rejected = counts.done, counts.rejected.total()
    return rejected < ENOUGH or passed > ALIVE * (passed + rejected)


def no_rows(tally: Tally, store: Store, last: RequestError | None) -> SynthError:
    """The error for a run that makes (almost) no row.

    Args:
        tally: the run's counts.
        store: holds what was rejected.
        last: the failure that was counted last, if there was one.
    """
    details = {(r.stage, r.reason): " ".join(r.detail.split())[:160] for r in store.rejections()}
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
    done = tally.stages["conversations"].done
    if last is not None and not any(counts.rejected for counts in tally.stages.values()):
        cure = last.cure
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
