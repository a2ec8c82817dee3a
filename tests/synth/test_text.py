"""What can't be seen in a text, and how it is shown."""

import json

import pytest

from synth.text import control_fault, json_line, visible


def test_what_steers_a_terminal_is_shown_and_the_rest_stays():
    assert visible("\x1b[2J\0a\x9b1m\u202eb\rc\x7f") == "\\x1b[2J\\x00a\\x9b1m\\u202eb\\x0dc\\x7f"
    plain = "Zeile 1\r\n\tZeile 2: äöü 漢字 🙂 שלום\n"
    assert visible(plain) == plain
    assert visible(visible("\x1b")) == "\\x1b"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a\nb\0", "U+0000 (\\x00) in line 2"),
        ("\x1b[0m", "U+001B (\\x1b) in line 1"),
        ("\x85", "U+0085 (\\x85) in line 1"),
        ("a\tb\r\nc\u202e", ""),
    ],
)
def test_control_characters_are_named_with_their_line(text, fault):
    assert control_fault(text) == fault


def test_a_json_line_is_one_line_for_every_reader_and_reads_back():
    value = {"text": "a\x85b\u2028c\u2029d\u202ee\0f\x1bg\nhäß\x7f"}
    line = json_line(value)
    assert len(line.splitlines()) == 1
    assert line.endswith("\n")
    assert json.loads(line) == value
    assert "äß" in line
