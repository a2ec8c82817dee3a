"""How much a run may take: nothing more is asked once a folder's total is reached."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from synth.engines.base import Answer, Engine, Request
from synth.errors import LimitReached, SynthError
from synth.progress.prices import Prices
from synth.progress.progress import ROLES, Tally
from synth.store.store import Generate

Spent = dict[str, tuple[int, int]]  # role -> tokens read and written


@dataclass(frozen=True)
class SpendingLimits:
    """What all runs in a folder may take together; None: any amount.

    `cost` is in the prices' currency, `tokens` counts those read and those written.
    """

    cost: float | None = None
    tokens: int | None = None

    def check(self, prices: Prices) -> None:
        """Check that the limits can be kept.

        Raises:
            SynthError: a limit of cost, and no price.
        """
        if self.cost is not None and prices.of(dict.fromkeys(ROLES, (0, 0))) is None:
            raise SynthError(
                "--max-cost needs to know what tokens cost.",
                "Give --price-in and --price-out, of a million tokens each, in your currency "
                "(for the generator --generator-price-in and --generator-price-out), or limit "
                "the tokens with --max-tokens-total.",
            )


class Budget:
    """What a folder has taken so far, and whether another request may be sent.

    Requests wait here for one of the engine's places and are judged when they have it, so that no
    more than these are under way when the limit is reached. They end, and are stored.

    Args:
        limits: what may be taken.
        prices: of the tokens.
        before: what earlier runs in the folder took.
    """

    def __init__(self, limits: SpendingLimits, prices: Prices, before: Spent) -> None:
        self._limits = limits
        self._prices = prices
        self._before = before
        self._asked: Spent = dict.fromkeys(ROLES, (0, 0))
        self._places: dict[int, asyncio.Semaphore] = {}
        self._uncounted = ""
        self.refused = 0

    def limited(self, engine: Engine, role: str) -> Generate:
        """`engine.generate` that asks nothing beyond the limits.

        Raises (when called):
            LimitReached: the limit is reached; the request was not sent.
            SynthError: the engine does not tell its tokens.
        """
        if self._limits == SpendingLimits():
            return engine.generate
        places = self._places.setdefault(id(engine), asyncio.Semaphore(engine.capacity))

        async def generate(request: Request) -> Answer:
            async with places:
                self._check()
                answer = await engine.generate(request)
                self._add(role, answer, engine)
                return answer

        return generate

    def reached(self, tally: Tally) -> LimitReached:
        """The error of a run that has stopped asking.

        Args:
            tally: its counts.
        """
        money, tokens = self._money(), self._tokens()
        took = f"{tokens:,} tokens" + (
            "" if money is None else f", {money:.2f} at the prices given"
        )
        earlier = "" if not any(map(sum, self._before.values())) else " (earlier runs included)"
        option, limit = self._exceeded()
        done = tally.stages["conversations"].done
        return LimitReached(
            f"{option} {limit} is reached: this folder took {took}{earlier}. "
            f"{done} of {tally.total} rows are finished.",
            f"Every answer is kept. To go on, run the same command with a higher {option}.",
        )

    def _check(self) -> None:
        if self._uncounted:
            raise SynthError(
                f"{self._uncounted} does not tell how many tokens it reads and writes, so no "
                "limit can be kept.",
                "Make the server send `usage`, or run without --max-cost and --max-tokens-total.",
            )
        if self._exceeded() != ("", ""):
            self.refused += 1
            raise LimitReached("The limit is reached.")

    def _add(self, role: str, answer: Answer, engine: Engine) -> None:
        read, written = self._asked[role]
        usage = answer.usage
        self._asked[role] = (
            read + (usage.prompt_tokens or 0),
            written + (usage.completion_tokens or 0),
        )
        if not usage.total:
            self._uncounted = engine.identity["model"]

    def _exceeded(self) -> tuple[str, str]:
        """The option whose limit is reached, and the limit; two empty texts if there is none."""
        cost, tokens = self._limits.cost, self._limits.tokens
        if cost is not None and (self._money() or 0.0) >= cost:
            return "--max-cost", f"{cost:g}"
        if tokens is not None and self._tokens() >= tokens:
            return "--max-tokens-total", f"{tokens:,}"
        return "", ""

    def _total(self) -> Spent:
        return {
            role: (
                self._asked[role][0] + self._before.get(role, (0, 0))[0],
                self._asked[role][1] + self._before.get(role, (0, 0))[1],
            )
            for role in ROLES
        }

    def _money(self) -> float | None:
        return self._prices.of(self._total())

    def _tokens(self) -> int:
        return sum(map(sum, self._total().values()))
