import pytest

from synth.task.placeholders import placeholders
from synth.task.taskfile import load_task, shipped_tasks
from tests.synth.cli.commands_run import synth
from tests.synth.scripted import write_task


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Dear {{ customer_name }}, today is {date}.", ["{{ customer_name }}", "{date}"]),
        ("{{- user.name -}}", ["{{- user.name -}}"]),
        ("Pay $AMOUNT to ${account}.", ["$AMOUNT", "${account}"]),
        ("Write to <FIRST NAME>, then to <EMAIL>.", ["<FIRST NAME>", "<EMAIL>"]),
        ("{date} and again {date}", ["{date}"]),
        ('Answer {"name": "text", "n": {}} or {1, 2}.', []),
        ("It costs $5 or US$ 10, $HOME is $H.", ["$HOME"]),
        ("<RULES>be kind</RULES> <USER>: hi <b>", []),
        ("a {longer text in braces} and {{a, b}}", []),
    ],
)
def test_what_looks_like_a_place_for_a_value(text, found):
    assert placeholders([text]) == found


@pytest.mark.parametrize("name", shipped_tasks())
def test_shipped_prompts_have_none(name):
    assert placeholders(turn.content for turn in load_task(name).prompt) == []


def test_validate_names_them(tmp_path):
    task = write_task(tmp_path / "t", prompt="You serve {{customer_name}} on {date}.")
    code, printed = synth("validate", task)
    assert code == 0
    said = " ".join(printed.split())
    assert (
        "Note: the prompt has what looks like a place for a value: {{customer_name}}, {date}."
        in said
    )
    code, printed = synth("validate", write_task(tmp_path / "u"))
    assert "place for a value" not in printed
