"""A text that YAML reads as something else is named, with its line and how to quote it."""

import pytest

from synth.errors import TaskError
from synth.task.taskfile import load_task
from tests.synth.cli.commands_run import synth

HEAD = "name: shop\nprompt: prompt.md\ninputs:\n  seeds:\n  - a good seed of mine\n"


def task(folder, text):
    (folder / "prompt.md").write_text("Help.", encoding="utf-8")
    (folder / "task.yml").write_text(text, encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(
    ("seed", "read_as", "quoted"),
    [
        ("find: a red shirt", "a mapping", "'find: a red shirt'"),
        ("no", "true or false", "'no'"),
        ("on", "true or false", "'on'"),
        ("42", "a number", "'42'"),
        ("3.50", "a number", "'3.50'"),
        ("2024-01-31", "a date", "'2024-01-31'"),
        ("{item}", "a mapping", "'{item}'"),
        ("[a, b]", "a list", "'[a, b]'"),
        ("~", "nothing", "'~'"),
        ("it's: this", "a mapping", '"it\'s: this"'),
    ],
)
def test_a_seed_that_yaml_reads_as_something_else(tmp_path, seed, read_as, quoted):
    name = task(tmp_path, f"{HEAD}  - {seed}\n  - another good seed\n")
    with pytest.raises(TaskError) as error:
        load_task(name)
    assert "task.yml, line 6: `inputs.seeds`, seed 2, is not text" in error.value.cause
    assert f"YAML reads `- {seed}` as {read_as}" in error.value.cause
    assert f"Quote it: {quoted}" in error.value.cause
    # And the cure is one.
    config = load_task(task(tmp_path, f"{HEAD}  - {quoted}\n")).config
    assert config.inputs.seeds[1] == seed


@pytest.mark.parametrize(
    ("seed", "quoted"),
    [
        ("note: see: below", "'note: see: below'"),
        ("{{ text }}", "'{{ text }}'"),
        ("@user, hello", "'@user, hello'"),
        ("*bold* words", "'*bold* words'"),
        ("[x] done", "'[x] done'"),
        ("%d items", "'%d items'"),
    ],
)
def test_a_seed_that_is_no_yaml(tmp_path, seed, quoted):
    with pytest.raises(TaskError) as error:
        load_task(task(tmp_path, f"{HEAD}  - {seed}\n"))
    assert "line 6: " in error.value.cause
    assert f"`- {seed}`" in error.value.cause
    assert f"quote it: {quoted}" in error.value.cure.replace("Quote", "quote")
    assert load_task(task(tmp_path, f"{HEAD}  - {quoted}\n")).config.inputs.seeds[1] == seed


def test_an_empty_seed_and_one_of_several_lines(tmp_path):
    with pytest.raises(TaskError, match=r"seed 2, is empty: `-`"):
        load_task(task(tmp_path, f"{HEAD}  -\n"))
    with pytest.raises(TaskError, match=r"write `\|` and the text below it"):
        load_task(task(tmp_path, f"{HEAD}  - to: me\n    from: you\n"))


def test_any_text_key_is_named_and_so_is_the_command_line_s(tmp_path):
    name = task(tmp_path, HEAD + "description: no\n")
    with pytest.raises(TaskError, match=r"line 6: `description` is not text: YAML reads `descr"):
        load_task(name)
    with pytest.raises(TaskError, match=r"--set 'inputs.request="):
        load_task(task(tmp_path, HEAD), {"inputs.request": False})


def test_a_seed_that_a_comment_cuts_is_noted(tmp_path):
    code, printed = synth("validate", task(tmp_path, f"{HEAD}  - ticket about item#4 # or 5\n"))
    assert code == 0, printed
    assert "Note: seed 2 ends before `# or 5`, which YAML takes for a comment." in printed
    assert "'ticket about item#4 # or 5'" in printed
    assert "seed 1" not in printed


def test_nul_in_a_seed_and_in_the_prompt(tmp_path):
    with pytest.raises(TaskError, match="NUL"):
        load_task(task(tmp_path, HEAD + '  - "a \\0 seed"\n'))
    name = task(tmp_path, HEAD)
    (tmp_path / "prompt.md").write_text("one\ntwo \0 three")
    with pytest.raises(TaskError, match=r"prompt.md, line 2: there is the character NUL"):
        load_task(name)
    (tmp_path / "turns.json").write_text('[{"role": "user", "content": "a\\u0000b"}]')
    with pytest.raises(TaskError, match=r"turns.json: turn 1, line 1: there is the character NUL"):
        load_task(task(tmp_path, HEAD.replace("prompt.md", "turns.json")))
