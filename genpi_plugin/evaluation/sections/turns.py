"""Whole conversations, replayed turn by turn after the dataset's own answers.

Every system sees the same history: the input, and the conversation as the dataset holds it up to
the turn. The divergence from the teacher is read along the dataset's answers, all turns in one
pass; for the task scores each system writes its own answer at each turn, compared with the
teacher's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genpi_plugin.data.chat import ChatView, TokenSequence
from genpi_plugin.data.messages import Message
from genpi_plugin.data.rows import teacher_messages
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures import intervals
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.subjects.reading import divergences, supervised
from genpi_plugin.evaluation.subjects.subject import Subject

FLOOR = "floor"


@dataclass(frozen=True)
class ReplayedTurn:
    """One assistant turn of one conversation, as every system answered it.

    `kl` is KL(teacher||system) summed over the `tokens` of the dataset's answer, in nats.
    """

    conversation: int
    turn: int
    tokens: int
    kl: dict[str, float]
    answers: dict[str, str]
    cut: dict[str, bool]
    scores: dict[str, dict[str, float]]


def measure_turns(context: Context) -> list[ReplayedTurn] | None:
    """Replay the conversations of the inputs; None when no input has one.

    Raises:
        GenPIError: the chat template tokenizes an answer differently with the prompt and without.
    """
    conversations = [
        (index, [{"role": "user", "content": text}, *turns])
        for index, (text, turns) in enumerate(
            zip(context.data.inputs, context.data.conversations or [], strict=False)
        )
        if turns
    ]
    if not conversations:
        return None
    others = [context.floor, *context.students]
    per_turn = _divergences(context, others, [messages for _, messages in conversations])
    places = [
        (place, turn)
        for place, (_, messages) in enumerate(conversations)
        for turn in range(1, len(messages) // 2 + 1)
    ]
    histories = [conversations[place][1][: 2 * turn - 1] for place, turn in places]
    answers = {}
    for system in (context.teacher, *others):
        with context.progress(f"{system.name} answers in turn", len(histories)) as advance:
            requests = [system.request(history) for history in histories]
            answers[system.name] = system.generate(requests, context.max_new_tokens, advance)
    replayed = []
    for number, (place, turn) in enumerate(places):
        given = {name: found[number] for name, found in answers.items()}
        reference = given[context.teacher.name].text
        tokens, sums = per_turn[place][turn - 1]
        replayed.append(
            ReplayedTurn(
                conversation=conversations[place][0],
                turn=turn,
                tokens=tokens,
                kl=sums,
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
    """Figures by turn number, intervals over conversations. `internalization`: first student."""
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
        result.append(
            {
                "turn": turn,
                "n": len(here),
                "internalization": next(iter(students.values())),
                "students": students,
                "kl": {
                    name: intervals.ratio_of_sums(values, tokens, seed).as_dict()
                    for name, values in sums.items()
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
    context: Context, others: Sequence[Subject], conversations: Sequence[list[Message]]
) -> list[list[tuple[int, dict[str, float]]]]:
    """For each conversation and turn: tokens of the answer, and each system's divergence."""
    systems = [context.teacher, *others]
    # One sequence a conversation; more where the template rewrites history.
    sequences_by_system = {
        system.name: [sequences_of(system, messages) for messages in conversations]
        for system in systems
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
    result, start = [], 0
    for messages, sequences in zip(
        conversations, sequences_by_system[context.teacher.name], strict=True
    ):
        stop = start + len(sequences)
        lengths = turn_lengths(context.teacher.view, context.teacher.prompt, messages)
        by_system = {
            name: [value for tokens in found[name][start:stop] for value in tokens.tolist()]
            for name in found
        }
        turns, place = [], 0
        for length in lengths:
            sums = {name: sum(by_system[name][place : place + length]) for name in by_system}
            turns.append((length, sums))
            place += length
        result.append(turns)
        start = stop
    return result


def sequences_of(system: Subject, messages: Sequence[Message]) -> list[TokenSequence]:
    """A conversation as a system reads it; its assistant turns are the supervised tokens."""
    before = teacher_messages(system.prompt, messages[:1])
    return system.view.sequences([*before, *messages[1:]], train_from=len(before))


def turn_lengths(
    view: ChatView, prompt: Sequence[Message], messages: Sequence[Message]
) -> list[int]:
    """How many tokens each assistant turn of a conversation has."""
    whole = teacher_messages(prompt, messages)
    offset = len(whole) - len(messages)
    return [
        len(view.request_and_answer(whole[: offset + place], message)[1])
        for place, message in enumerate(messages)
        if message["role"] == "assistant"
    ]


def _answer_tokens(sequence: TokenSequence) -> list[int]:
    count = supervised(sequence)
    found = [
        token for token, label in zip(sequence.ids, sequence.labels, strict=True) if label >= 0
    ]
    assert len(found) == count
    return found
