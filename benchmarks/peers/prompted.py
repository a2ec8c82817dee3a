"""The prompt for teachers of TRL: they are given what our teacher reads, token for token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.messages import Message
from genpi_plugin.data.rows import Row

PLAIN = {"role", "content"}


@dataclass(frozen=True)
class Turn:
    """What comes before an answer of a row: without the prompt, and with it."""

    student: list[Message]
    teacher: list[Message]
    answer: Message


def turns(rows: Sequence[Row]) -> list[Turn]:
    """Every answer of the rows: TRL's trainers know one answer to a prompt, and no conversation.

    Raises:
        SystemExit: there are tools, calls or thoughts, which these trainers take no account of.
    """
    found = []
    for row in rows:
        told = [*row.teacher_request, *row.conversation]
        if row.tools or any(set(message) - PLAIN for message in told):
            raise SystemExit(
                f"{row.where}: TRL's trainers get messages of text alone, and this row has tools, "
                "calls, thoughts or names. Leave them out with --only."
            )
        for place, message in enumerate(row.conversation):
            if message["role"] == "assistant":
                before = row.conversation[:place]
                found.append(Turn([*row.student_request, *before],
                                  [*row.teacher_request, *before], message))  # fmt: skip
    return found


def tokens(found: Sequence[Turn], view: ChatView, tokenizer: Any) -> dict[tuple[int, ...], Any]:
    """The teacher's tokens of a request, by the student's.

    Raises:
        SystemExit: TRL's rendering of a request has other tokens than ours, or one request of the
            student has two of the teacher.
    """
    by_student: dict[tuple[int, ...], list[int]] = {}
    for turn in found:
        both = []
        for messages in (turn.student, turn.teacher):
            ids = view.request_ids(messages)
            text = tokenizer.apply_chat_template(messages, tokenize=False,
                                                 add_generation_prompt=True)  # fmt: skip
            if tokenizer(text, add_special_tokens=False)["input_ids"] != ids:
                raise SystemExit(f"TRL has other tokens than a server for {messages[-1]}.")
            both.append(ids)
        student, teacher = tuple(both[0]), both[1]
        if by_student.setdefault(student, teacher) != teacher:
            raise SystemExit(
                "Two rows ask the student the same and have other prompts, and TRL's trainers tell "
                f"rows apart by what the student reads: {turn.student[-1]}. Leave those trainers "
                "out with --only, or make the dataset from one prompt."
            )
    return by_student


class Prompted:
    """Lets a base model read the prompt where a trainer has it read what the student reads.

    The trainer calls it with the student's requests and answers. Of each row the request is
    replaced by the teacher's before the decoder runs, and the hidden states from the request's last
    token on are put back where the trainer looks for them. Those of the tokens before are zeros:
    no loss is on them.

    Args:
        model: the trainer's teacher.
        requests: see `tokens`.
    """

    def __init__(self, model: Any, requests: Mapping[tuple[int, ...], Sequence[int]]) -> None:
        self._requests = requests
        self._lengths = sorted({len(ids) for ids in requests}, reverse=True)
        self._shape: tuple[int, ...] = ()
        self._moved: list[tuple[int, int, int]] = []  # of each row: end here, end there, positions
        decoder = model.get_decoder()
        decoder.register_forward_pre_hook(self._before, with_kwargs=True)
        decoder.register_forward_hook(self._after)

    def _before(self, module: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        ids, mask = given["input_ids"], given["attention_mask"]
        self._shape, self._moved, rows = tuple(ids.shape), [], []
        for row, seen in zip(ids, mask.bool(), strict=True):
            told = row[seen].tolist()
            length = self._request(told)
            rows.append([*self._requests[tuple(told[:length])], *told[length:]])
            end = int(seen.nonzero()[-1]) + 1
            self._moved.append((end, len(rows[-1]), len(told) - length + 1))
        width = max(map(len, rows))
        new_ids, new_mask = ids.new_zeros(len(rows), width), mask.new_zeros(len(rows), width)
        for number, told in enumerate(rows):
            new_ids[number, : len(told)] = torch.tensor(told, device=ids.device)
            new_mask[number, : len(told)] = 1
        more = {"input_ids": new_ids, "attention_mask": new_mask, "use_cache": False}
        return args, {**given, **more, "position_ids": None}

    def _request(self, told: Sequence[int]) -> int:
        """Of how many tokens the request is that a row begins with: the longest one that is known,
        since a later turn's begins with an earlier one's."""
        for length in self._lengths:
            if tuple(told[:length]) in self._requests:
                return length
        raise ValueError("a row begins with no request of the dataset: the trainer has cut it")

    def _after(self, module: Any, args: Any, output: Any) -> Any:
        hidden = output.last_hidden_state
        back = hidden.new_zeros(*self._shape, hidden.shape[-1])
        for number, (end, there, positions) in enumerate(self._moved):
            back[number, end - positions : end] = hidden[number, there - positions : there]
        output.last_hidden_state = back
        return output
