"""How much one server may be asked in a minute."""

from __future__ import annotations

import bisect

from synth.engines.base import Request

BYTES_PER_TOKEN = 4
MINUTE = 60.0


class Rate:
    """Requests and tokens per minute at one server; None: as many as you like.

    Requests are spaced evenly: servers that allow 60 a minute often refuse ten in one second.
    Tokens are those of the last minute, a sliding window: a request's count from when it is sent,
    as estimated, and as used when its answer tells. Times are seconds on any clock that does not
    go back.
    """

    def __init__(self, requests: float | None = None, tokens: float | None = None) -> None:
        self._space = MINUTE / requests if requests else 0.0
        self._cap = tokens
        self._next = 0.0
        self._spent: list[tuple[float, int]] = []  # when, and tokens; in order
        self._sum = 0

    def ready(self, now: float, tokens: int) -> float:
        """From when on a request of about so many tokens may be sent.

        One that is larger than the cap is sent when nothing else was in the last minute.
        """
        if self._cap is None:
            return self._next
        while self._spent and self._spent[0][0] <= now - MINUTE:
            self._sum -= self._spent.pop(0)[1]
        room, ready = self._cap - min(tokens, self._cap), now
        spent = self._sum
        for at, each in self._spent:
            if spent <= room:
                break
            spent, ready = spent - each, at + MINUTE
        return max(self._next, ready)

    def spend(self, now: float, tokens: int) -> None:
        """Note a request of about so many tokens that is sent now."""
        self._next = max(self._next, now) + self._space
        self._note(now, tokens)

    def correct(self, sent: float, estimated: int, used: int) -> None:
        """Note what a request that was sent then really took."""
        self._note(sent, used - estimated)

    def _note(self, at: float, tokens: int) -> None:
        if self._cap is not None and tokens:
            bisect.insort(self._spent, (at, tokens))
            self._sum += tokens


def estimated_tokens(request: Request) -> int:
    """What a request will take at most, about: servers count like this before they answer."""
    texts = (*(message.content for message in request.messages), request.tools)
    read = sum(len(text.encode("utf-8", "replace")) for text in texts)
    return read // BYTES_PER_TOKEN + request.sampling.max_tokens
