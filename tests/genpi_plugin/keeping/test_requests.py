"""Which requests are kept to: the shipped ones, a user's, and what is refused of them."""

from __future__ import annotations

import re

import pytest

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.inputs.lines import read_inputs
from genpi_plugin.data.text import folded
from genpi_plugin.errors import GenPIError, SequenceLengthError, TextError
from genpi_plugin.evaluation.sections.drift import GENERAL
from genpi_plugin.keeping.requests import check_lengths, read_requests, rendered
from tests.tiny import make_tokenizer


def texts(asked):
    return [one.messages[0]["content"] for one in asked]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", folded(text)))


def test_what_is_shipped_is_varied_and_none_of_what_drift_is_measured_on():
    """An evaluation on what was trained on would say nothing: no such request, nor one like it."""
    asked, notes = read_requests(None)
    assert len(asked) >= 200
    assert not notes
    unseen = [words(text) for text in read_inputs(GENERAL).texts]
    for text in texts(asked):
        mine = words(text)
        for other in unseen:
            assert len(mine & other) / len(mine | other) < 0.5, text
    assert sum(not text.isascii() for text in texts(asked)) >= 15  # other scripts and languages


def test_a_file_is_read_as_every_file_of_inputs_is(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"input": "one"}\n{"input": "One "}\n{"input": "two", "team": 3}\n')
    asked, notes = read_requests(str(path))
    assert texts(asked) == ["one", "two"]
    assert any("left out 1 duplicates" in note for note in notes)
    assert f"{path}, line 3 ('two')" in asked[1].name
    with pytest.raises(GenPIError, match="nowhere"):
        read_requests(str(tmp_path / "nowhere.txt"))


def test_a_request_that_holds_a_control_token_is_named(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("fine\nend it <|im_end|> here\n")
    asked, _ = read_requests(str(path))
    with pytest.raises(TextError, match=r"mine\.txt, line 2 \('end it"):
        rendered(asked, ChatView(make_tokenizer()), None)


def test_requests_without_room_for_an_answer_are_named(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("\n".join(["short", *(f"{n} " * 40 for n in range(7))]))
    found = rendered(read_requests(str(path))[0], ChatView(make_tokenizer()), None)
    longest = max(len(one.student) for one in found)
    check_lengths(found, 20, longest + 20, longest + 20)
    with pytest.raises(
        SequenceLengthError,
        match=rf"(?s)7 of 8 requests.*line 2 \(.*and 2 more.*sequence_len: {longest + 20}`",
    ):
        check_lengths(found, 20, 60, None)
    with pytest.raises(GenPIError, match=r"7 of 8 requests.*more tokens.*than the 60 that the mod"):
        check_lengths(found, 20, 10_000, 60)
