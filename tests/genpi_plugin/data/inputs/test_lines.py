"""Files of inputs as people have them, read alike by the synthesizer and the evaluation."""

from __future__ import annotations

import json

import pytest

from genpi_plugin.data.inputs.lines import check_markers, read_inputs
from genpi_plugin.errors import GenPIError
from synth.errors import SynthError
from synth.task import given as synths

TWO = ["is the bridge open?", "wann öffnet die Brücke?"]
AS_LINES = "\n".join(json.dumps({"input": text}) for text in TWO)
FILES = {
    "mark.txt": ("\ufeff" + "\r\n".join(TWO), TWO),
    "mark.jsonl": ("\ufeff" + AS_LINES, TWO),
    "mark.json": ("\ufeff" + json.dumps(TWO), TWO),
    "separators.txt": ("one\u2028two\x85three\x0cfour\n", ["one\u2028two\x85three\x0cfour"]),
    "separators.jsonl": ('{"input": "one\u2028two\u2029three\x85four"}\n',
                         ["one\u2028two\u2029three\x85four"]),
    "joined.txt": ("\ufeffone\n\ufefftwo\n\ufeff\n", ["one", "two"]),
    "joined.jsonl": ('{"input": "one"}\n\ufeff{"input": "\ufefftwo"}\n', ["one", "two"]),
    "composed.txt": ("caf\u00e9\ncafe\u0301\n", ["caf\u00e9"]),
    "new.txt": ("\U0001fae9\n", ["\U0001fae9"]),
    "old.txt": ("one\rtwo", ["one", "two"]),
    "spaces.txt": ("  one \t\n\n   \ntwo\u00a0\n", ["one", "two"]),
    "lines.json": (AS_LINES, TWO),
    "strings.jsonl": ('"one"\n"two"\n', ["one", "two"]),
    "list.json": (json.dumps([{"input": "one\nmore", "id": 1}, "two"], indent=2),
                  ["one\nmore", "two"]),
    "single.json": ('{\n  "input": "one"\n}\n', ["one"]),
    "UPPER.JSONL": (AS_LINES, TWO),
    "lines.ndjson": (AS_LINES, TWO),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_it_is_meant(tmp_path, name):
    content, texts = FILES[name]
    path = tmp_path / name
    path.write_bytes(content.encode())
    assert list(read_inputs(path).texts) == texts
    assert synths.read_inputs(path) == read_inputs(path)


@pytest.mark.parametrize(
    ("name", "data", "says", "cure"),
    [
        ("latin.txt", "\n".join(TWO).encode("latin-1"), "line 2 is not UTF-8 (byte 0xf6)",
         "iconv -f LATIN1"),
        ("latin.jsonl", "\n".join(TWO).encode("latin-1"), "line 2 is not UTF-8", "iconv -f LATIN1"),
        ("wide.txt", "\n".join(TWO).encode("utf-16"), "line 1 is not UTF-8", "iconv -f UTF-16"),
        ("broken.json", b'["one",\n "two"\n', "line 3 is not JSON", "a list of"),
        ("bad.jsonl", b'{"input": "a"}\n{"text": "b"}\n{"input": 3}\n{"input": " "}\n{\n["a"]\n',
         "5 lines that are not inputs:\n  line 2: no `input`, and no messages; its keys are text\n"
         "  line 3: `input` is not a text but int\n  line 4: `input` is empty\n  line 5: not JSON",
         "Correct them"),
        ("bad.json", b'["one", {"text": "two"}]', "1 items that are not inputs:\n  item 2: no",
         "Correct them"),
        ("deep.json", b"[" * 100_000, "it is not JSON", "a list of"),
        ("long.jsonl", b'{"input": "a", "id": %s}' % (b"9" * 5000), "line 1: not JSON (Exceeds",
         "Correct them"),
        ("list.jsonl", b'["a"]', "line 1: a list, not an object", "Correct them"),
        ("unseen.txt", "a\n\u200b\n".encode(), "line 2: holds no character that can be seen",
         "Correct them"),
        ("half.jsonl", b'{"input": "\\ud83d"}', "half of a character, \\ud83d", "Correct them"),
        ("list.yml", b"- a\n", "a form that is not read (.yml)", "JSON Lines"),
        ("packed.jsonl.gz", b"\x1f\x8b", "a form that is not read (.gz)", "Unpack it"),
        ("nul.txt", b"a\0b", "line 1: holds the character NUL", "Correct them"),
        ("empty.txt", b"\n \n", "holds no inputs", "one a line"),
        ("list.json", b"[]", "holds no inputs", "one a line"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_said_with_its_line_and_a_cure(tmp_path, name, data, says, cure):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(GenPIError) as caught:
        read_inputs(path)
    assert says in caught.value.cause
    assert str(path) in caught.value.cause
    assert cure in caught.value.cure
    # The synthesizer says the same, as an error of its own.
    with pytest.raises(SynthError) as theirs:
        synths.read_inputs(path)
    assert (theirs.value.cause, theirs.value.cure) == (caught.value.cause, caught.value.cure)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(GenPIError, match=r"gone.txt can't be read: No such file"):
        read_inputs(tmp_path / "gone.txt")
    with pytest.raises(GenPIError, match=r"can't be read: The directory .* any data files"):
        read_inputs(tmp_path)


def test_doubles_other_keys_and_control_characters_are_said(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"input": "One", "more": 1}, "one ", "two\x1b", "ONE"]))
    given = read_inputs(path)
    assert given.texts == ("One", "two\x1b")
    assert [(twin.number, twin.of) for twin in given.duplicates] == [(2, 1), (4, 1)]
    assert given.notes == (
        f"{path}: kept the control characters in item 3 (U+001B (\\x1b)): does the application "
        "send them?",
        f"{path}: ignored the keys more.",
        f"{path}: left out 2 duplicates: item 2 (the same as item 1), 4 (the same as item 1).",
    )


def test_a_marker_of_a_turn_is_refused_unless_the_application_writes_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\nwhat is <|im_end|>?\n<extra> three\n[INST] four\n")
    given = read_inputs(path)
    with pytest.raises(GenPIError) as caught:
        check_markers(given, ["Explain [INST]."], {"<extra>"}, "Or else.")
    assert "line 2: holds a role marker (<|im_end|>)\n  line 3: holds a role marker (<extra>)" in (
        caught.value.cause
    )
    assert "line 4" not in caught.value.cause
    check_markers(given, ["Explain [INST], <|im_end|> and <extra>."], {"<extra>"}, "")


def test_json_lines_in_a_file_of_another_name_are_sent_as_they_stand_and_said(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(AS_LINES)
    given = read_inputs(path)
    assert list(given.texts) == AS_LINES.split("\n")
    assert ".jsonl" in given.notes[0]
    path.write_text('{"input": "a"}\nis this {"input": "b"}?\n')
    assert not read_inputs(path).notes
