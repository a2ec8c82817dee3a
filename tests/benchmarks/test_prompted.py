"""A teacher of TRL with the prompt: along the student's sequence it says what it says behind it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.peers.prompted import Prompted, tokens, turns
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.rows import parse
from tests.genpi_plugin.rows_made import our_row
from tests.tiny import make_model, make_tokenizer


def rows(**changes):
    return [
        parse(our_row(turns=1 + i, id=f"r{i}", input="a shirt, " * (1 + 2 * i), **changes), "w")
        for i in range(2)
    ]


def padded(left, told, right):
    """Rows as a trainer has them: requests end together, answers begin together."""
    ids = [[0] * n + row + [0] * m for n, row, m in zip(left, told, right, strict=True)]
    mask = [[0] * n + [1] * len(row) + [0] * m
            for n, row, m in zip(left, told, right, strict=True)]  # fmt: skip
    return torch.tensor(ids), torch.tensor(mask)


def test_the_logits_are_those_behind_the_prompt_wherever_the_rows_stand():
    tokenizer, plain, teacher = make_tokenizer(), make_model(), make_model()
    view = ChatView(tokenizer)
    requests = tokens(turns(rows()), view, tokenizer)
    Prompted(teacher, requests)
    asked = sorted(requests, key=len)  # the last is a second turn, which begins with a first one
    assert asked[2][: len(asked[1])] == asked[1]
    answers = [[40, 41, 2], [50, 2], [60, 61, 62, 63]]
    width, longest = len(asked[-1]), max(map(len, answers))
    told = [[*request, *answer] for request, answer in zip(asked, answers, strict=True)]
    ids, mask = padded([width - len(one) for one in asked], told,
                       [longest - len(one) for one in answers])  # fmt: skip
    with torch.no_grad():
        found = teacher(input_ids=ids, attention_mask=mask).logits
        assert found.shape[:2] == ids.shape
        for row, (request, answer) in enumerate(zip(asked, answers, strict=True)):
            behind = torch.tensor([[*requests[request], *answer]])
            wanted = plain(input_ids=behind).logits[0, -len(answer) - 1 : -1]
            mine = found[row, width - 1 : width - 1 + len(answer)]
            assert torch.allclose(mine, wanted, atol=1e-5)
            without = plain(input_ids=torch.tensor([told[row]])).logits[0, -len(answer) - 1 : -1]
            assert not torch.allclose(mine, without, atol=1e-2)


def test_a_request_that_was_cut_is_no_request():
    tokenizer, teacher = make_tokenizer(), make_model()
    requests = tokens(turns(rows()), ChatView(tokenizer), tokenizer)
    Prompted(teacher, requests)
    cut = torch.tensor([next(iter(requests))[3:]])
    with pytest.raises(ValueError, match="the trainer has cut it"):
        teacher(input_ids=cut, attention_mask=torch.ones_like(cut))


def test_each_answer_of_a_conversation_is_a_row_behind_its_history():
    found = turns(rows())
    assert [one.answer["content"] for one in found] == [
        "Action: click[item 0]", "Action: click[item 0]", "Action: click[item 1]",
    ]  # fmt: skip
    assert found[2].student[-1]["content"] == "Observation: page 1"
    assert found[2].teacher[: len(found[2].teacher) - 3] == rows()[0].prompt


def test_rows_with_tools_are_refused_by_name():
    tool = '[{"type": "function", "function": {"name": "f", "parameters": {}}}]'
    with pytest.raises(SystemExit, match=r"w: TRL's trainers get messages of text alone"):
        turns(rows(tools=tool))


def test_one_request_behind_two_prompts_is_refused():
    tokenizer = make_tokenizer()
    other = [{"role": "system", "content": "You sell hats."}]
    same = [parse(our_row(**changes), "w") for changes in ({}, {}, {"prompt": other})]
    assert len(tokens(turns(same[:2]), ChatView(tokenizer), tokenizer)) == 1
    with pytest.raises(SystemExit, match=r"Two rows ask the student the same.*--only"):
        tokens(turns(same), ChatView(tokenizer), tokenizer)
