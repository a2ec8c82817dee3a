"""Requests that the model writes itself, from the template's opening of a user's turn."""

from __future__ import annotations

import pytest

from genpi_plugin.data.chat import ChatView
from genpi_plugin.errors import GenPIError
from genpi_plugin.keeping import own
from genpi_plugin.keeping.answers import Writer
from tests.genpi_plugin.teacher.test_teacher import Alone, with_random_adapter
from tests.tiny import make_tokenizer


def writer(tmp_path, view, ends=()):
    return Writer(tmp_path, [*ends, *view.tokens.marks], 0, 3, with_adapter=False, token_budget=400)


@pytest.mark.parametrize(
    ("template", "opening"),
    [
        ("chatml", "<|im_start|>user\n"),
        ("llama3", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"),
        ("mistral", "<s>[INST]"),
    ],
)
def test_the_opening_is_all_that_stands_before_a_users_words(template, opening):
    view = ChatView(make_tokenizer(template))
    assert view.tokens.decoded(own.opening_of(view)) == opening


def test_requests_are_distinct_ended_and_the_same_in_every_run(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "WANTED", 12)
    monkeypatch.setattr(own, "LIMIT", 8)
    view = ChatView(make_tokenizer())
    # The tiny model knows no end of a turn: some ordinary tokens are to be one.
    model, ends = with_random_adapter(), range(60, 160)
    said = []
    for folder, steps in (("a", 0), ("a", 4), ("b", 0)):
        made = writer(tmp_path / folder, view, ends)
        asked = own.own_requests(view, made, model, Alone(), steps)
        said.append([one.messages[0]["content"] for one in asked])
    assert said[0] == said[1] == said[2]
    assert 0 < len(said[0]) <= 12
    assert len({text.casefold() for text in said[0]}) == len(said[0])
    assert all(text.strip() == text != "" for text in said[0])


def test_a_model_that_ends_no_turn_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "WANTED", 2)
    monkeypatch.setattr(own, "LIMIT", 3)
    view = ChatView(make_tokenizer())
    nowhere = Writer(tmp_path, [511], 0, 3, with_adapter=False, token_budget=400)
    with pytest.raises(GenPIError, match=r"(?s)wrote 6 requests.*none.*name a file"):
        own.own_requests(view, nowhere, with_random_adapter(), Alone(), 0)
