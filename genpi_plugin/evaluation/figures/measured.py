"""Answers and divergences of the systems on the inputs, as plain data for every figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from genpi_plugin.evaluation.figures import value_scores
from genpi_plugin.evaluation.figures.names import FLOOR
from genpi_plugin.evaluation.figures.scores import Score


@dataclass(frozen=True)
class Generated:
    """A greedy answer: its token ids, end-of-turn token included unless the limit cut it.

    `text` is what it says, which is scored; the `thoughts` at its beginning stand apart.
    """

    ids: list[int]
    text: str
    cut: bool
    thoughts: str = ""

    @property
    def whole(self) -> str:
        """All that is written, thoughts first."""
        return f"{self.thoughts}\n\n{self.text}".strip()


@dataclass(frozen=True)
class OwnPath:
    """Divergences along a system's own answers, summed over each answer's tokens, in nats.

    Attributes:
        kl: KL(teacher||system).
        reverse: KL(system||teacher).
        floor: KL(teacher||floor), along the same answers.
    """

    kl: list[float]
    reverse: list[float]
    floor: list[float]


@dataclass(frozen=True)
class Measured:
    """All measurements by input; `summary.py` computes figures from them.

    `kl` holds, for each system, KL(teacher||system) summed over the answer's tokens, in nats.
    `values` are those of the prompt's slots, where it has some.
    `ids` are the inputs' own names, "" for one without.
    `own_path` has the divergences along each system's own answers.
    """

    inputs: list[str]
    answers: dict[str, list[Generated]]
    kl: dict[str, list[float]]
    tokens: list[int]
    scores: dict[str, dict[str, list[float]]]
    request_tokens: dict[str, list[int]]
    values: list[dict[str, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    own_path: dict[str, OwnPath] = field(default_factory=dict)


def gather(
    inputs: Sequence[str],
    answers: Mapping[str, list[Generated]],
    kl_sums: Mapping[str, list[float]],
    request_tokens: Mapping[str, list[int]],
    scores: Mapping[str, Score],
    teacher: str,
    values: Sequence[Mapping[str, str]] = (),
    ids: Sequence[str] = (),
    own_path: Mapping[str, OwnPath] | None = None,
) -> Measured:
    """Collect the measurements and score the answers. The teacher's own divergence is 0.

    Args:
        own_path: of every system but the teacher.
        values: of the prompt's slots, for each input; where there are some, they are scored.
    """
    reference = answers[teacher]
    told = [dict(one) for one in values] if any(values) else []
    nothing = [0.0] * len(inputs)
    own = {teacher: OwnPath(nothing, nothing, list(kl_sums[FLOOR])), **own_path} if own_path else {}
    return Measured(
        inputs=list(inputs),
        answers=dict(answers),
        kl={name: list(kl_sums.get(name, nothing)) for name in answers},
        tokens=[len(given.ids) for given in reference],
        scores={
            name: {
                metric: [
                    score(mine.text, theirs.text)
                    for mine, theirs in zip(given, reference, strict=True)
                ]
                for metric, score in scores.items()
            }
            | _scored_values(given, told)
            for name, given in answers.items()
        },
        request_tokens={name: list(counts) for name, counts in request_tokens.items()},
        values=told,
        ids=list(ids),
        own_path=own,
    )


def _scored_values(
    answers: Sequence[Generated], values: Sequence[Mapping[str, str]]
) -> dict[str, list[float]]:
    if not values:
        return {}
    pairs = zip(answers, values, strict=True)
    return {value_scores.NAME: [value_scores.values_used(one.text, its) for one, its in pairs]}
