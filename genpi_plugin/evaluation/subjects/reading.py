"""Reading given answers: a system's next-token distribution before each of their tokens.

With a large vocabulary the logits are the largest tensor of all, so a batch's hidden states are
kept and the output head is applied to them a chunk at a time, the same chunk for every system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from genpi_plugin.data.chat import IGNORE_INDEX, TokenSequence
from genpi_plugin.evaluation.subjects.subject import Subject
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.supervised import supervised_states


def request_and_answer(request: Sequence[int], answer: Sequence[int]) -> TokenSequence:
    """A request and its answer as one sequence; the answer's tokens are the supervised ones."""
    sequence = TokenSequence()
    sequence.extend(request, supervised=False)
    sequence.extend(answer, supervised=True)
    return sequence


class Reader:
    """A system that reads sequences with a common start; that start is read once."""

    def __init__(self, subject: Subject, sequences: Sequence[TokenSequence]) -> None:
        self.subject = subject
        self.sequences = sequences
        longest = max((len(one.ids) for one in sequences), default=0)
        with subject.switched(), torch.inference_mode():
            self.head = SupervisedHead(subject.model)
            self.prefix = subject.prefix_of([_request(one) for one in sequences], longest)

    def states(self, indices: Sequence[int]) -> torch.Tensor:
        """The inputs of the output head before each supervised token, row after row.

        Returns: [supervised tokens, any].
        """
        sequences = [(self.sequences[i].ids, self.sequences[i].labels) for i in indices]
        with self.subject.switched(), torch.inference_mode():
            return supervised_states(self.subject.model, self.head, self.prefix, sequences)

    def logprobs(self, states: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [tokens, vocabulary], float32."""
        with self.subject.switched(), torch.inference_mode():
            return self.head.logits(states).log_softmax(-1)


def batches(sequences: Sequence[TokenSequence], size: int) -> list[list[int]]:
    """Indices of sequences of like length together, longest first so that memory fails early."""
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i].ids))
    return [order[start : start + size] for start in range(0, len(order), size)]


def divergences(
    teacher: Subject,
    others: Sequence[Subject],
    sequences: Mapping[str, Sequence[TokenSequence]],
    advance: Callable[[int], None] = lambda count: None,
    divergence: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> dict[str, list[torch.Tensor]]:
    """KL(teacher||other) before each supervised token, over the whole vocabulary, in nats.

    Args:
        sequences: for the teacher and each other system, by name, the same answers behind its own
            requests: the supervised tokens of the n-th sequence are the same for all.
        advance: called with the number of sequences done, after each batch.
        divergence: what is computed instead of `kl`, with the same arguments: [positions, any].

    Returns:
        by name of the other system, a float32 tensor [supervised tokens] for each sequence
        ([supervised tokens, any] of another divergence).
    """
    divergence = divergence or kl
    truth = Reader(teacher, sequences[teacher.name])
    readers = {other.name: Reader(other, sequences[other.name]) for other in others}
    found: dict[str, dict[int, torch.Tensor]] = {name: {} for name in readers}
    for batch in batches(truth.sequences, teacher.batch_size):
        counts = [supervised(truth.sequences[i]) for i in batch]
        expected = truth.states(batch)
        states = {name: reader.states(batch) for name, reader in readers.items()}
        parts: dict[str, list[torch.Tensor]] = {name: [] for name in readers}
        for part in truth.head.parts(expected):
            target = truth.logprobs(expected[part])
            for name, reader in readers.items():
                mine = reader.logprobs(states[name][part])
                parts[name].append(divergence(target, mine).cpu())
        for name in readers:
            tokens = torch.cat(parts[name]).split(counts) if parts[name] else []
            found[name] |= dict(zip(batch, tokens, strict=True))
        advance(len(batch))
    return {
        name: [by_index[i] for i in range(len(truth.sequences))] for name, by_index in found.items()
    }


def logprobs(
    subject: Subject, requests: Sequence[list[int]], answers: Sequence[list[int]]
) -> Iterator[tuple[list[int], list[torch.Tensor]]]:
    """Log-probabilities of the whole vocabulary before each token of given answers.

    Yields:
        indices of a batch, and for each a float32 tensor [answer tokens, vocabulary].
    """
    reader = Reader(
        subject, [request_and_answer(r, a) for r, a in zip(requests, answers, strict=True)]
    )
    for batch in batches(reader.sequences, subject.batch_size):
        found = reader.logprobs(reader.states(batch))
        yield batch, list(found.split([len(answers[i]) for i in batch]))


def kl(teacher: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL(teacher||other) of each position, from log-probabilities [positions, vocabulary]."""
    return (teacher.exp() * (teacher - other)).sum(-1)


def kl_both_ways(teacher: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL(teacher||other) and KL(other||teacher) of each position, [positions, 2]."""
    return torch.stack([kl(teacher, other), kl(other, teacher)], -1)


def supervised(sequence: TokenSequence) -> int:
    """The number of a sequence's tokens that belong to an answer."""
    return sum(label != IGNORE_INDEX for label in sequence.labels)


def _request(sequence: TokenSequence) -> list[int]:
    """The tokens before the first answer."""
    first = next(
        (i for i, label in enumerate(sequence.labels) if label != IGNORE_INDEX),
        len(sequence.ids),
    )
    return sequence.ids[:first]
