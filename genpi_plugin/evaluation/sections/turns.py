"""Whole conversations, replayed turn by turn after the dataset's own answers.

Every system sees the same history: the request, and the conversation as the dataset holds it up to
the turn. The divergence from the teacher is read along the dataset's answers, all turns in one
pass; for the task scores each system writes its own answer at each turn, compared with the
teacher's, and the divergence is read along these answers, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genpi_plugin.data.chat import TokenSequence
from genpi_plugin.data.messages import Message
from genpi_plugin.data.requests import Input, continued, under
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures import intervals
from genpi_plugin.evaluation.figures.measured import Generated, OwnPath
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.measuring.measure import own_path
from genpi_plugin.evaluation.sections.cost.requests import assistant_turns
from genpi_plugin.evaluation.subjects.reading import divergences, supervised
from genpi_plugin.evaluation.subjects.subject import Subject

FLOOR = "floor"


@dataclass(frozen=True)
class Replay:
    """A conversation of the dataset: a request, what follows it, and the tokens of its turns by
    their places, where they are known."""

    input: int
    request: Input
    conversation: list[Message]
    sampled: dict[int, list[int]]

    @property
    def places(self) -> list[int]:
        """Of the assistant's turns."""
        return assistant_turns(self.conversation)

    def history(self, place: int) -> Input:
        return continued(self.request, self.conversation[:place])


@dataclass(frozen=True)
class ReplayedTurn:
    """One assistant turn of one conversation, as every system answered it.

    `kl` is KL(teacher||system) summed over the `tokens` of the dataset's answer, in nats;
    `own_path` and `own_floor` are KL(teacher||system) and KL(teacher||floor) summed over the
    `own_tokens` of the system's own.
    """

    conversation: int
    turn: int
    tokens: int
    kl: dict[str, float]
    own_tokens: dict[str, int]
    own_path: dict[str, float]
    own_floor: dict[str, float]
    answers: dict[str, str]
    cut: dict[str, bool]
    scores: dict[str, dict[str, float]]


def measure_turns(context: Context) -> list[ReplayedTurn] | None:
    """Replay the conversations of the inputs; None when no input has one.

    Raises:
        GenPIError: the chat template tokenizes an answer differently with the prompt and without.
    """
    data, view = context.data, context.teacher.view
    sampled = data.sampled or [{} for _ in data.inputs]
    found = zip(data.asked, data.conversations or [], sampled, strict=False)
    replays = [Replay(i, *one) for i, one in enumerate(found) if one[1]]
    if not replays:
        return None
    for mark in data.tokenizers:
        view.check_tokenizer(mark)
    others = [context.floor, *context.students]
    per_turn = _divergences(context, others, replays)
    turns = [
        (replay, turn, place) for replay in replays for turn, place in enumerate(replay.places)
    ]
    answers, own = _answered(context, others, turns)
    replayed = []
    for number, (replay, turn, _) in enumerate(turns):
        given = {name: found[number] for name, found in answers.items()}
        reference = given[context.teacher.name].text
        tokens, sums = per_turn[replay.input][turn]
        replayed.append(
            ReplayedTurn(
                conversation=replay.input,
                turn=turn + 1,
                tokens=tokens,
                kl=sums,
                own_tokens={name: len(given[name].ids) for name in own},
                own_path={name: along.kl[number] for name, along in own.items()},
                own_floor={name: along.floor[number] for name, along in own.items()},
                answers={name: answer.text for name, answer in given.items()},
                cut={name: answer.cut for name, answer in given.items()},
                scores={
                    name: {
                        metric: score(answer.text, reference)
                        for metric, score in context.scores.items()
                    }
                    for name, answer in given.items()
                },
            )
        )
    return replayed


def summarize_turns(replayed: list[ReplayedTurn], seed: int) -> list[dict[str, Any]]:
    """Figures by turn number, intervals over conversations.

    `internalization` and `own_path` are the first student's; `students` and `students_own_path`
    have those of all.
    """
    result = []
    for turn in sorted({one.turn for one in replayed}):
        here = [one for one in replayed if one.turn == turn]
        tokens = [one.tokens for one in here]
        sums = {name: [one.kl[name] for one in here] for name in here[0].kl}
        students = {
            name: intervals.internalization(sums[name], sums[FLOOR], seed).as_dict()
            for name in sums
            if name != FLOOR
        }
        own = {
            name: intervals.internalization(
                [one.own_path[name] for one in here], [one.own_floor[name] for one in here], seed
            ).as_dict()
            for name in students
        }
        result.append(
            {
                "turn": turn,
                "n": len(here),
                "internalization": next(iter(students.values())),
                "own_path": next(iter(own.values())),
                "students": students,
                "students_own_path": own,
                "kl": {
                    name: intervals.ratio_of_sums(values, tokens, seed).as_dict()
                    for name, values in sums.items()
                },
                "kl_own_path": {
                    name: intervals.ratio_of_sums(
                        [one.own_path[name] for one in here],
                        [one.own_tokens[name] for one in here],
                        seed,
                    ).as_dict()
                    for name in sums
                },
                "scores": {
                    name: {
                        metric: intervals.mean(
                            [one.scores[name][metric] for one in here], seed
                        ).as_dict()
                        for metric in metrics
                    }
                    for name, metrics in here[0].scores.items()
                },
            }
        )
    return result


def _divergences(
    context: Context, others: Sequence[Subject], replays: Sequence[Replay]
) -> dict[int, list[tuple[int, dict[str, float]]]]:
    """By conversation, for each turn: tokens of the answer, and each system's divergence."""
    systems = [context.teacher, *others]
    # One sequence a conversation; more where the template rewrites history.
    sequences_by_system = {
        system.name: [sequences_of(system, replay) for replay in replays] for system in systems
    }
    flat = {
        name: [one for found in each for one in found] for name, each in sequences_by_system.items()
    }
    expected = [_answer_tokens(one) for one in flat[context.teacher.name]]
    for system in others:
        if [_answer_tokens(one) for one in flat[system.name]] != expected:
            raise GenPIError(
                "the chat template tokenizes an answer of a conversation differently with the "
                f"prompt than for {system.name}, so the two can't be compared.",
                "set `chat_template_kwargs:` or another `chat_template:`, or skip the "
                "conversations with `--skip turns`.",
            )
    with context.progress("divergence, turn by turn", len(expected)) as advance:
        found = divergences(context.teacher, others, flat, advance)
    result, start = {}, 0
    for replay, sequences in zip(replays, sequences_by_system[context.teacher.name], strict=True):
        stop = start + len(sequences)
        lengths = turn_lengths(context.teacher, replay)
        by_system = {
            name: [value for tokens in found[name][start:stop] for value in tokens.tolist()]
            for name in found
        }
        turns, place = [], 0
        for length in lengths:
            sums = {name: sum(by_system[name][place : place + length]) for name in by_system}
            turns.append((length, sums))
            place += length
        result[replay.input] = turns
        start = stop
    return result


def _answered(
    context: Context, others: Sequence[Subject], turns: Sequence[tuple[Replay, int, int]]
) -> tuple[dict[str, list[Generated]], dict[str, OwnPath]]:
    """By system, its answers to the turns, and the divergences along them.

    A first turn's request is the input itself, and what is measured for that is taken from there.
    """
    later = [replay.history(place) for replay, _, place in turns if place]
    first = context.measured

    def every(known: Sequence[Any], rest: Sequence[Any]) -> list[Any]:
        further = iter(rest)
        return [next(further) if place else known[replay.input] for replay, _, place in turns]

    answers, own = {}, {}
    for system in (context.teacher, *others):
        rest: list[Generated] = []
        if later:
            with context.progress(f"{system.name} answers in turn", len(later)) as advance:
                requests = system.requests(later)
                rest = system.generate(requests, context.max_new_tokens, advance)
        answers[system.name] = every(first.answers[system.name], rest)
        if system is context.teacher:
            continue
        along = OwnPath([], [], [])
        if later:
            along = own_path(later, context.teacher, context.floor, system, rest, context.progress)
        known = first.own_path[system.name]
        own[system.name] = OwnPath(
            every(known.kl, along.kl),
            every(known.reverse, along.reverse),
            every(known.floor, along.floor),
        )
    return answers, own


def sequences_of(system: Subject, replay: Replay) -> list[TokenSequence]:
    """A conversation as a system reads it; its assistant turns are the supervised tokens."""
    before = under(system.prompt, replay.request)
    return system.view.sequences(
        [*before, *replay.conversation], len(before), system.tools, replay.sampled
    )


def turn_lengths(system: Subject, replay: Replay) -> list[int]:
    """How many tokens each assistant turn of a conversation has."""
    return [
        len(
            system.view.request_and_answer(
                under(system.prompt, replay.history(place)),
                replay.conversation[place],
                system.tools,
                replay.sampled.get(place),
            )[1]
        )
        for place in replay.places
    ]


def _answer_tokens(sequence: TokenSequence) -> list[int]:
    count = supervised(sequence)
    found = [
        token for token, label in zip(sequence.ids, sequence.labels, strict=True) if label >= 0
    ]
    assert len(found) == count
    return found
