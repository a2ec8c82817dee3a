"""run.json: what a folder's dataset took to make, for whoever works out what it is worth."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from synth.errors import LimitReached, SynthError
from synth.progress.progress import ROLES, Tally
from synth.store.folder import replace_text

COST = "run.json"
log = logging.getLogger("synth")
WRITE_EVERY = 10.0


def read_cost(folder: Path) -> dict[str, Any]:
    """The folder's run.json; {} if there is none.

    Raises:
        SynthError: it can't be read.
    """
    path = folder / COST
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SynthError(f"{path} can't be read: {error}", "Delete it.") from None
    if not isinstance(found, dict) or not found.keys() >= {"runs", "seconds", "tokens_in", "money"}:
        raise SynthError(f"{path} was not written by a run of synth.", "Delete it.")
    return found


def spent(cost: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """By model, the tokens that all runs in a folder asked for: (read, written).

    Args:
        cost: its run.json. Earlier versions noted only what the dataset is made from.
    """
    recorded_tokens = cost.get("asked")
    if recorded_tokens is not None:
        return {
            role: (tokens["tokens_in"], tokens["tokens_out"])
            for role, tokens in recorded_tokens.items()
        }
    stages = cost.get("stages", {}).values()
    return {
        role: (
            sum(stage.get(role, {}).get("tokens_in", 0) for stage in stages),
            sum(stage.get(role, {}).get("tokens_out", 0) for stage in stages),
        )
        for role in ROLES
    }


def thoughts_in(cost: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """What a run.json says of answers that came with thoughts; see `Tally.thoughts`."""
    stages = cost.get("stages", {}).values()
    used = {role: [stage[role] for stage in stages if role in stage] for role in ROLES}
    return {
        role: (thought, sum(one["answers"] for one in counts))
        for role, counts in used.items()
        if (thought := sum(one.get("thoughts", 0) for one in counts))
    }


def cost_record(tally: Tally, earlier: dict[str, Any]) -> dict[str, Any]:
    """The content of run.json.

    `stages` counts every answer that the dataset is made from, whichever run asked for it, so it
    is the same after one run and after ten; `thoughts`, where there are any, are those of them that
    came with thoughts. `failed` counts the rows that this run left pending, by the stage in which
    they were. `asked` counts what was asked for by all runs in the folder, also what the dataset is
    not made from: it is what was paid. `uncounted_answers`, where there are any, are those whose
    tokens no server reported: they are in no sum. `seconds` is the time of all runs in the folder.
    What a killed run did after its last note (10 seconds at most) is missing.

    Args:
        tally: this run's counts.
        earlier: run.json as it was before this run.
    """
    stages = {
        stage: {
            role: {name: getattr(tokens, name) for name in ("answers", "tokens_in", "tokens_out")}
            | ({"thoughts": tokens.thoughts} if tokens.thoughts else {})
            for role, tokens in counts.by_role.items()
            if tokens.answers
        }
        for stage, counts in tally.stages.items()
    }
    totals = {
        role: [
            sum(counts.by_role[role].tokens_in for counts in tally.stages.values()),
            sum(counts.by_role[role].tokens_out for counts in tally.stages.values()),
        ]
        for role in ROLES
    }
    money = tally.prices.of({role: (read, written) for role, (read, written) in totals.items()})
    before = spent(earlier)
    asked = {
        role: {
            f"tokens_{way}": before.get(role, (0, 0))[place]
            + sum(getattr(counts.by_role[role], f"asked_{way}") for counts in tally.stages.values())
            for place, way in enumerate(("in", "out"))
        }
        for role in ROLES
    }
    return {
        "finished": False,
        "runs": earlier.get("runs", 0) + 1,
        "seconds": round(earlier.get("seconds", 0.0) + tally.seconds, 1),
        "rows": tally.rows,
        "failed": tally.failed,
        "models": tally.models,
        "tokens_in": sum(read for read, _ in totals.values()),
        "tokens_out": sum(written for _, written in totals.values()),
        **({"uncounted_answers": tally.uncounted} if tally.uncounted else {}),
        "stages": stages,
        "asked": asked,
        "prices_per_million": None if money is None else asdict(tally.prices),
        "money": None if money is None else round(money, 6),
    }


@contextlib.asynccontextmanager
async def recorded(tally: Tally, folder: Path) -> AsyncIterator[None]:
    """Keep run.json up to date while the body runs, and `finished` when it came to its end."""
    earlier = read_cost(folder)

    def write(finished: bool, **more: Any) -> None:
        record = cost_record(tally, earlier) | {"finished": finished} | more
        replace_text(folder / COST, json.dumps(record, indent=2) + "\n")

    async def keep() -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY)
            try:
                write(False)
            except SynthError as error:
                log.warning("%s", error.cause)

    keeping = asyncio.ensure_future(keep())
    try:
        yield
    except BaseException as error:
        more = {"stopped_by": error.cause} if isinstance(error, LimitReached) else {}
        # What stopped the run is what is told, not that this can't be noted either.
        with contextlib.suppress(SynthError):
            write(False, **more)
        raise
    else:
        write(True)
    finally:
        keeping.cancel()
