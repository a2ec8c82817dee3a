"""Control characters reach neither the terminal nor the dataset."""

import io
import json

import pyarrow.parquet as pq
import pytest

from genpi_plugin.data.text import control_fault
from synth.cli.group import Terminal
from tests.synth.cli.commands_run import TEST, TRAIN, run_command, synth
from tests.synth.scripted import answers, stage_of, write_task
from tests.synth.server import Failure, serve

CLEAR = "\x1b[2J"


def spoiled(stage, character, every):
    """Sensible answers, of which those of a stage hold a character now and then."""

    def script(messages):
        from synth.engines.messages import as_messages

        text = answers(messages)
        if stage_of(as_messages(messages)) == stage and sum(map(ord, repr(messages))) % every == 0:
            return f"{text} {character} and more"
        return text

    return script


@pytest.mark.parametrize("character", ["\0", CLEAR, "\x9b31m"])
@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        ("inputs", "holds control characters"),
        ("floor", "floor output holds control characters"),
        ("teacher", "teacher output holds control characters"),
        ("reasons", "reason holds control characters"),
        ("environment", None),
    ],
)
def test_what_a_model_writes_is_rejected_by_name(tmp_path, stage, reason, character):
    with serve(spoiled(stage, character, 3), models=None) as server:
        out = tmp_path / "out"
        task = write_task(tmp_path / "t", inputs={"count": 30})
        code, printed = synth(*run_command(task, out, server))
    assert code == 0, printed
    assert not control_fault(printed)
    texts = json.dumps([pq.read_table(out / path).to_pylist() for path in (TRAIN, TEST)])
    assert json.dumps(character)[1:-1] not in texts
    lines = (out / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    reasons = [json.loads(line)["reason"] for line in lines]
    if reason is not None:
        assert reason in reasons
        assert reason in (out / "README.md").read_text(encoding="utf-8")
    else:
        assert "environment turn holds control characters" in printed
    for path in ("README.md", "report.html", "rejected.jsonl", "run.log"):
        assert not control_fault((out / path).read_text(encoding="utf-8")), path


def test_preview_shows_them(tmp_path):
    with serve(spoiled("teacher", CLEAR, 1), models=None) as server:
        task = write_task(tmp_path / "t")
        code, printed = synth("preview", task, "--model", "m", "--base-url", server.url)
    assert code == 1
    assert "\x1b" not in printed
    assert "\\x1b[2J" in printed
    assert "It holds U+001B" in printed


def test_a_server_s_words_and_a_user_s_are_shown_not_sent(tmp_path):
    with serve(answers, models=None) as server:
        server.always = Failure(401, {"error": {"message": f"bad key {CLEAR}"}})
        task, out = write_task(tmp_path / "t"), tmp_path / "out"
        code, printed = synth(*run_command(task, out, server))
    assert code == 1
    assert "bad key \\x1b[2J" in printed
    assert "\x1b" not in printed + (out / "run.log").read_text(encoding="utf-8")
    assert "\x1b" not in synth("validate", f"gone{CLEAR}")[1]


def test_own_inputs_with_nul_are_refused_and_with_others_named(tmp_path):
    task, path = write_task(tmp_path / "t"), tmp_path / "inputs.jsonl"
    texts = ["item one of mine", f"item two {CLEAR}", "item three of mine", "item four"]
    path.write_text("".join(json.dumps({"input": text}) + "\n" for text in [*texts, "a\0b"]))
    with serve(answers, models=None) as server:
        command = run_command(task, tmp_path / "out", server, "--inputs", path, "--test-share", 0)
        code, printed = synth(*command)
        assert code == 1
        assert "line 5: holds the character NUL (U+0000), which no dataset can" in printed
        assert not server.requests
        path.write_text("".join(json.dumps({"input": text}) + "\n" for text in texts))
        code, printed = synth(*command)
    assert "kept the control characters in line 2 (U+001B (\\x1b))" in printed
    assert "\x1b" not in printed


def test_no_console_of_ours_sends_them():
    shown = io.StringIO()
    Terminal(file=shown, force_terminal=True).print(f"a {CLEAR}", style="bold", highlight=False)
    assert CLEAR not in shown.getvalue()
    assert "\x1b[1ma \\x1b[2J" in shown.getvalue()  # rich's own go out


def test_a_prompt_with_them_is_noted(tmp_path):
    code, printed = synth("validate", write_task(tmp_path / "t", prompt=f"Rules\n{CLEAR}"))
    assert code == 0
    assert "Note: turn 1 of the prompt holds U+001B (\\x1b) in line 2." in printed
    assert "\x1b" not in printed
