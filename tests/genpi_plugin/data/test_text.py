"""When two texts are the same, and what can't be seen in one."""

import pytest

from genpi_plugin.data.text import control_fault, folded, is_visible


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a\nb\0", "U+0000 (\\x00) in line 2"),
        ("\x1b[0m", "U+001B (\\x1b) in line 1"),
        ("\x85", "U+0085 (\\x85) in line 1"),
        ("caf\ufffd", "U+FFFD (\\ufffd) in line 1"),
        ("a\tb\r\nc\u202e", ""),
    ],
)
def test_control_characters_are_named_with_their_line(text, fault):
    assert control_fault(text) == fault


def test_case_and_white_space_make_no_other_text():
    assert folded(" Grey\u2028SOCKS \n") == folded("grey socks") == "grey socks"
    assert folded("grey-socks") != folded("grey socks")
    assert folded("CAFE\u0301") == folded("caf\u00e9")


def test_what_can_be_seen():
    assert all(map(is_visible, [" a ", "\U0001fae9", "\ue000"]))
    assert not any(map(is_visible, ["", " \u3000\n", "\u200b\ufeff\x1b"]))
