import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.engines.base import Message
from synth.errors import TaskError
from synth.task.templates import (
    compile_wrap,
    load_prompt,
    parse_transcript,
    render_transcript,
    teacher_messages,
)

content = (
    st.text(st.characters(codec="utf-8"), min_size=1)
    .map(str.strip)
    .filter(lambda text: text and not re.search(r"^<(SYSTEM|USER|AGENT)>:", text, re.MULTILINE))
)


@given(system=st.none() | content, turns=st.lists(content, min_size=1, max_size=6))
def test_a_transcript_reads_back_as_written(system, turns):
    roles = ["user", "assistant"] * 3
    messages = [Message(role, text) for role, text in zip(roles, turns, strict=False)]
    if system is not None:
        messages.insert(0, Message("system", system))
    assert parse_transcript(render_transcript(messages)) == tuple(messages)


def test_a_marker_inside_a_line_is_text():
    parsed = parse_transcript("<USER>: say <AGENT>: now\n<AGENT>:\nok")
    assert parsed == (Message("user", "say <AGENT>: now"), Message("assistant", "ok"))


def test_an_empty_user_marker_at_the_end_is_dropped():
    assert parse_transcript("<USER>:\na\n\n<AGENT>:\nb\n\n<USER>:\n") == (
        Message("user", "a"),
        Message("assistant", "b"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello\n<USER>:\na", "before the first marker: 'hello'"),
        ("<USER>:\n\n<AGENT>:\nb", "turn 1 (user) is empty"),
        ("<USER>:\na\n<USER>:\nb", "turn 2 is a user turn where assistant is expected"),
        ("<AGENT>:\na", "turn 1 is a assistant turn where system or user"),
        ("<USER>:\na\n<SYSTEM>:\nb", "turn 2 is a system turn"),
        ("<USER>:\n", "the prompt is empty"),
    ],
)
def test_a_bad_transcript_is_refused_with_the_place(text, words):
    with pytest.raises(TaskError) as caught:
        parse_transcript(text, "my.txt")
    assert words in caught.value.cause
    assert "my.txt" in caught.value.cause
    assert caught.value.cure


def test_the_input_follows_a_finished_prompt_as_its_own_turn():
    prompt = (Message("user", "rules"), Message("assistant", "Ok."))
    assert teacher_messages(prompt, (Message("user", "x"),)) == (*prompt, Message("user", "x"))


def test_the_input_continues_a_prompt_that_ends_in_a_user_turn():
    prompt = (Message("system", "s"), Message("user", "My problem is:"))
    talk = (Message("user", "count"), Message("assistant", "ls"), Message("user", "3"))
    assert teacher_messages(prompt, talk) == (
        Message("system", "s"),
        Message("user", "My problem is:\n\ncount"),
        Message("assistant", "ls"),
        Message("user", "3"),
    )


def test_prompt_files_are_read_by_their_suffix(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    files = {
        "p.md": "<USER>:\na",
        "plain.txt": " just text \n",
        "talk.txt": "<USER>:\na\n<AGENT>:\nb",
        "p.json": json.dumps(turns),
        "p.yml": "- {role: user, content: a}\n- {role: assistant, content: b}",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    talk = (Message("user", "a"), Message("assistant", "b"))
    assert load_prompt(tmp_path / "p.md", "system") == (Message("system", "<USER>:\na"),)
    assert load_prompt(tmp_path / "plain.txt", "user") == (Message("user", "just text"),)
    assert load_prompt(tmp_path / "talk.txt", "system") == talk
    assert load_prompt(tmp_path / "p.json", "system") == talk
    assert load_prompt(tmp_path / "p.yml", "system") == talk


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gone.md", None, "no prompt file"),
        ("empty.md", "  \n", "the prompt is empty"),
        ("p.docx", "x", "ends in .md, .txt"),
        ("p.json", "{", "can't be parsed"),
        ("p.json", '{"role": "user"}', "not a list"),
        ("p.yml", "- {role: user, content: 3}", "turn 1 is not"),
        ("p.yml", "- {role: agent, content: x}", "the role 'agent'"),
    ],
)
def test_a_bad_prompt_file_is_refused(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(TaskError, match=re.escape(words)):
        load_prompt(tmp_path / name, "system")


def test_wrap_puts_the_text_into_the_form_the_application_sends():
    wrap = compile_wrap('Observation: {{ text | tojson }}\n\n["search"]\n')
    assert wrap("men's <b>") == 'Observation: "men\'s <b>"\n\n["search"]'


@pytest.mark.parametrize("template", ["{{ txet }}", "{{ text", "no text", "{{ text.__class__ }}"])
def test_a_wrap_that_can_not_work_is_refused(template):
    with pytest.raises(TaskError):
        compile_wrap(template)
