"""What can't be seen in a text, and how it is shown."""

import json

from synth.text import json_line, visible


def test_what_steers_a_terminal_is_shown_and_the_rest_stays():
    assert visible("\x1b[2J\0a\x9b1m\u202eb\rc\x7f") == "\\x1b[2J\\x00a\\x9b1m\\u202eb\\x0dc\\x7f"
    plain = "Zeile 1\r\n\tZeile 2: äöü 漢字 🙂 שלום\n"
    assert visible(plain) == plain
    assert visible(visible("\x1b")) == "\\x1b"


def test_a_json_line_is_one_line_for_every_reader_and_reads_back():
    value = {"text": "a\x85b\u2028c\u2029d\u202ee\0f\x1bg\nhäß\x7f"}
    line = json_line(value)
    assert len(line.splitlines()) == 1
    assert line.endswith("\n")
    assert json.loads(line) == value
    assert "äß" in line
