"""The card shows texts as they are: nothing in it is markup but its own."""

import re

from synth.dataset.card import _block, _code, _line, _text
from tests.synth.cli.commands_run import run_command, synth
from tests.synth.scripted import answers, write_task
from tests.synth.server import serve

EVIL = "A <script>alert(1)</script> [link](http://x) | `code` **bold** _em_ ![i](y) & \x1b[2J"


def test_markup_and_html_are_escaped():
    shown = _text(EVIL)
    assert "<" not in shown
    assert "&lt;script&gt;" in shown
    for markup in ("[link]", "`code`", "**bold**", " _em_", "| "):
        assert not re.search(r"(?<!\\)" + re.escape(markup), shown), markup
    assert "\x1b" not in shown
    assert _text("snake_case stays, 3.5 too") == "snake_case stays, 3.5 too"


def test_a_line_s_start_makes_no_heading_list_or_rule():
    assert _text("# a\n- b\n1. c\n---\n=") == "\\# a\n\\- b\n1\\. c\n\\---\n\\="
    assert _line("a\n\n# b") == "a \\# b"


def test_code_ends_where_it_should():
    assert _code("a`b") == "``a`b``"
    assert _code("`a") == "`` `a ``"
    assert _code("a|b\nc") == "`a\\|b c`"
    assert _block("echo ```\nx") == "````\necho ```\nx\n````"


def test_a_task_s_description_and_a_command_stay_in_their_places(tmp_path):
    task = write_task(tmp_path / "t", description=EVIL.replace("\x1b", ""))
    with serve(answers, models=None) as server:
        code, printed = synth(
            *run_command(task, tmp_path / "out", server, "--set", "inputs.request=Write\n```\n# Hi")
        )
    assert code == 0, printed
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    body = card.partition("\n---\n")[2]
    assert "<script>" not in body
    assert body.rstrip().endswith("````")
