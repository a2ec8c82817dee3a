"""Row -> pair: the two halves of contract 1's row as token ids and labels. Pure lists, no torch.

Worked example (ChatML, one turn). The behaviour half of input "red shirt" and teacher output
"search[red shirt]" is

    <|im_start|>user\\nred shirt<|im_end|>\\n<|im_start|>assistant\\nsearch[red shirt]<|im_end|>

with labels on `search[red shirt]<|im_end|>` only. The prompt-generation half is a conversation
of its own, whose assistant turn holds the prompt, or a piece of it, and the whole reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import IGNORE_INDEX, ChatView, TokenSequence
from genpi_plugin.data.prompt_generation import Recited, answer, question
from genpi_plugin.data.recitals import recited_by_row, whole
from genpi_plugin.data.row_targets import RowTargets, targets_of
from genpi_plugin.data.rows import Row
from genpi_plugin.errors import TemplateError

LENGTHS = "genpi_lengths"
# Supervised tokens of the row: [behaviour half, prompt-generation half].
SUPERVISED = "genpi_supervised"
BEHAVIOUR_SEQUENCES = "genpi_behaviour_sequences"
# Of a batch: its supervised tokens [behaviour, prompt generation], and each row's behaviour
# sequences.
TOKENS = "genpi_tokens"
ROW_SEQUENCES = "genpi_row_sequences"
# Only with `distill_weight`: the teacher's view of the behaviour half, and a name for it.
TEACHER_IDS = "genpi_teacher_ids"
TEACHER_LABELS = "genpi_teacher_labels"
TEACHER_LENGTHS = "genpi_teacher_lengths"
TEACHER_PROMPT = "genpi_teacher_prompt"
TEACHER_KEY = "genpi_teacher_key"


@dataclass
class Pair:
    """One row's two halves. A half is empty where the objective does not use it.

    `teacher` is the behaviour half as the teacher reads it, after the prompt: the same
    supervised tokens in the same order. `targets` are the row's own in its place. There is at
    most one of them, with distillation.
    """

    behaviour: list[TokenSequence]
    prompt_generation: list[TokenSequence]
    teacher: list[TokenSequence] = field(default_factory=list)
    prompt_id: str = ""
    targets: RowTargets | None = field(default=None, compare=False)

    @property
    def behaviour_length(self) -> int:
        return sum(len(sequence.ids) for sequence in self.behaviour)

    @property
    def prompt_generation_length(self) -> int:
        return sum(len(sequence.ids) for sequence in self.prompt_generation)

    def columns(self) -> dict[str, Any]:
        """One dataset row: both halves concatenated, and the length of each sequence."""
        ids, labels, lengths = _flat([*self.behaviour, *self.prompt_generation])
        columns: dict[str, Any] = {
            "input_ids": ids,
            "labels": labels,
            "attention_mask": [1] * len(ids),
            LENGTHS: lengths,
            BEHAVIOUR_SEQUENCES: [len(self.behaviour)],
            SUPERVISED: [_supervised(self.behaviour), _supervised(self.prompt_generation)],
        }
        if self.teacher:
            ids, labels, lengths = _flat(self.teacher)
            read = json.dumps([ids, labels, lengths])
            columns |= {
                TEACHER_IDS: ids,
                TEACHER_LABELS: labels,
                TEACHER_LENGTHS: lengths,
                TEACHER_PROMPT: self.prompt_id,
                TEACHER_KEY: hashlib.sha256(read.encode()).hexdigest()[:32],
            }
        if self.targets:
            columns |= self.targets.columns()
        return columns


def make_pair(
    row: Row,
    view: ChatView,
    settings: GenPISettings,
    recited: Sequence[Recited] | None = None,
    vocabulary: int | None = None,
) -> Pair:
    """Build the halves that `settings` trains on.

    Args:
        row: a checked row.
        view: the chat template that renders it.
        settings: what is trained.
        recited: what of its prompt the row recites (`recited_by_row`); None for all of it at once.
        vocabulary: the number of tokens that the model tells apart; None for the tokenizer's.

    Raises:
        RowError: the row's distributions are not of these tokens.
        TemplateError: the chat template can't render a half (see `ChatView`); names the row, and
            the field where it is about one.
    """
    try:
        pair = _pair(row, view, settings, [whole(row)] if recited is None else recited)
    except TemplateError as error:
        field = row.field_of(error.text) if error.text else ""
        place = f"{row.where}, the field `{field}`" if field else row.where
        raise type(error)(f"{place}: {error.cause}", error.cure, error.text) from error
    if settings.learns_from_rows:
        known = vocabulary or view.tokens.count
        pair.targets = targets_of(row, _turns(pair.behaviour), settings.distill_top_k, known)
    return pair


def _pair(row: Row, view: ChatView, settings: GenPISettings, recited: Sequence[Recited]) -> Pair:
    if row.tokenizer:
        view.check_tokenizer(row.tokenizer)
    return Pair(
        behaviour=behaviour_half(row, view, settings) if settings.trains_behaviour else [],
        prompt_generation=(
            prompt_generation_half(row, view, recited) if settings.trains_prompt_generation else []
        ),
        teacher=teacher_view(row, view) if settings.has_teacher else [],
        prompt_id=row.prompt_id,
    )


def make_pairs(
    rows: Sequence[Row], view: ChatView, settings: GenPISettings, vocabulary: int | None = None
) -> list[Pair]:
    """The pairs of a whole dataset, in order; see `make_pair`."""
    share, size = settings.prompt_generation_share, settings.prompt_generation_piece
    recited = recited_by_row(rows, share, view, size)
    return [
        make_pair(row, view, settings, recited.get(place, ()), vocabulary)
        for place, row in enumerate(rows)
    ]


def teacher_view(row: Row, view: ChatView) -> list[TokenSequence]:
    """The conversation after prompt and tools, with labels on the teacher's answers.

    Raises:
        TemplateError: an answer has different tokens here and in the student's view.
    """
    student, before = row.student_request, row.teacher_request
    for turn, message in enumerate(row.conversation):
        if message["role"] == "assistant":
            history, ids = row.conversation[:turn], row.sampled.get(turn)
            view.check_same_answer(
                [*student, *history], [*before, *history], message, row.tools, ids
            )
    return view.sequences([*before, *row.conversation], len(before), row.tools, row.sampled)


def behaviour_half(row: Row, view: ChatView, settings: GenPISettings) -> list[TokenSequence]:
    """The student's view of the request, then the teacher's answers; loss on those alone."""
    student, with_prompt = row.student_request, row.teacher_request
    first = row.sampled.get(0)
    view.check_same_answer(student, with_prompt, row.conversation[0], row.tools, first)
    keeps = keeps_prompt(row, settings)
    before, tools = (with_prompt, row.tools) if keeps else (student, [])
    return view.sequences([*before, *row.conversation], len(before), tools, row.sampled)


def prompt_generation_half(
    row: Row, view: ChatView, recited: Sequence[Recited]
) -> list[TokenSequence]:
    """Asks for prompt and reason; loss on the answer alone, its end-of-turn token included.

    A recital is not thought about.

    Args:
        row: has a floor output and a reason (`Row.can_recite`), if any recital tells one.
        recited: the whole prompt, or pieces of it, each asked for on its own.
    """
    found: list[TokenSequence] = []
    for each in recited:
        assert row.can_recite or not each.has_reason
        asked = question(row.input, row.floor_output or "", row.teacher_output, each.piece)
        told = view.unthinking(answer(each, row.reason or ""))
        found += view.sequences(
            [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
        )
    return found


def keeps_prompt(row: Row, settings: GenPISettings) -> bool:
    """Whether the student sees the prompt. `random` is a coin fixed by each row's id.

    The official script tosses the coin in every epoch (finetune.py, W_PROMPT_RANDOMIZE); here
    a row's side is fixed, so that prepared data and resumed runs are the same.
    """
    if settings.student_prompt == "random":
        return hashlib.sha256(row.id.encode()).digest()[0] % 2 == 0
    return settings.student_prompt == "always"


def _flat(sequences: list[TokenSequence]) -> tuple[list[int], list[int], list[int]]:
    ids = [token for sequence in sequences for token in sequence.ids]
    labels = [label for sequence in sequences for label in sequence.labels]
    return ids, labels, [len(sequence.ids) for sequence in sequences]


def _supervised(sequences: list[TokenSequence]) -> int:
    return sum(label != IGNORE_INDEX for sequence in sequences for label in sequence.labels)


def _turns(sequences: list[TokenSequence]) -> list[int]:
    """The supervised tokens of each assistant turn: a generation prompt stands between two."""
    lengths = []
    for sequence in sequences:
        before = IGNORE_INDEX
        for label in sequence.labels:
            if label != IGNORE_INDEX:
                if before == IGNORE_INDEX:
                    lengths.append(0)
                lengths[-1] += 1
            before = label
    return lengths
