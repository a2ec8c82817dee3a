"""The commands: what they write and what they print."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml

from synth.cli.commands import main
from synth.dataset.summary import next_step
from synth.engines.base import Message
from synth.engines.messages import as_messages
from synth.store.folder import locked
from synth.store.rows import COLUMNS
from synth.task.taskfile import load_task, shipped_tasks
from tests import ROOT
from tests.synth.cli.commands_run import (
    TEST,
    TRAIN,
    answers,
    run_command,
    synth,
)
from tests.synth.scripted import PROMPT, stage_of, write_task
from tests.synth.server import Reply, serve
from tests.synth.tooled import write_tooled


def test_run_makes_a_folder_that_explains_itself(tmp_path, server):
    task = write_task(tmp_path / "t", inputs={"count": 12})
    out = tmp_path / "out"
    code, printed = synth(*run_command(task, out, server))
    assert code == 0, printed
    sizes = [pq.read_metadata(out / split).num_rows for split in (TRAIN, TEST)]
    assert sum(sizes) == 12
    assert "12 rows ({} train, {} test)".format(*sizes) in printed
    assert "well-formed action: teacher 100%, floor 0%" in printed
    assert "genpi_plugin.strategy" in printed
    table = pq.read_table(out / TRAIN)
    assert table.column_names == list(COLUMNS)
    row = table.to_pylist()[0]
    assert as_messages(row["prompt"]) == (Message("system", PROMPT),)
    assert as_messages(row["conversation"])[0] == Message("assistant", row["teacher_output"])
    config = yaml.safe_load((out / "synth.yaml").read_text())
    assert config["task"]["name"] == "shop"
    assert config["task"]["action_pattern"].startswith("(?P<action>")
    assert config["prompt"]["id"] == row["prompt_id"]
    card = (out / "README.md").read_text()
    assert f"python -m synth run {task} -o {out}" in card
    assert "{} train, {} test".format(*sizes) in card
    assert not list(out.glob("**/*.tmp"))
    assert {path.name for path in out.iterdir()} == {
        "README.md", "data", "rejected.jsonl", "report.html", "run.json", "run.lock", "run.log",
        "store.sqlite", "synth.yaml",
    }  # fmt: skip


def test_datasets_loads_what_is_in_the_folder_now(tmp_path, server):
    """Not what it once read from a folder of this name, or from this folder."""
    datasets = pytest.importorskip("datasets")
    task = write_task(tmp_path / "t")

    def run_and_load(out, count, *more):
        code, printed = synth(*run_command(task, out, server, "-n", count, *more))
        assert code == 0, printed
        loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
        files = {name: pq.read_table(out / path).to_pylist()
                 for name, path in (("train", TRAIN), ("test", TEST))}  # fmt: skip
        assert {split: rows["input"] for split, rows in loaded.items()} == {
            split: [row["input"] for row in rows] for split, rows in files.items()
        }
        return loaded

    first = run_and_load(tmp_path / "a" / "demo", 12)
    assert sum(len(rows) for rows in first.values()) == 12
    run_and_load(tmp_path / "b" / "demo", 20)
    run_and_load(tmp_path / "a" / "demo", 12, "--seed", 1, "--resume", "changed")


def test_rejected_rows_are_in_the_file_and_in_the_summary(tmp_path):
    def script(messages):
        stage, text = stage_of(as_messages(messages)), answers(messages)
        if stage == "inputs":
            return f"{text[:25]} for me"  # one digit, so that some are duplicates
        return "" if stage == "reasons" and "item number 3" in messages[-1]["content"] else text

    with serve(script, models=None) as server:
        out = tmp_path / "out"
        code, printed = synth(*run_command(write_task(tmp_path / "t"), out, server))
    assert code == 0, printed
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    reasons = [(r["stage"], r["reason"]) for r in rejected]
    assert reasons.count(("reasons", "reason empty")) == 1
    assert set(reasons[:-1]) == {("inputs", "duplicate")}
    assert "reason empty" in printed
    assert "reason empty" in (out / "README.md").read_text()
    assert rejected[-1]["made"]["input"] == "please find item number 3 for me"
    assert rejected[-1]["made"]["teacher_output"]


def test_a_folder_of_other_things_is_left_alone(tmp_path, server):
    (tmp_path / "README.md").write_text("mine")
    code, printed = synth(*run_command(write_task(tmp_path / "t"), tmp_path, server))
    assert code == 1
    assert "holds files that no run of synth made" in printed
    assert (tmp_path / "README.md").read_text() == "mine"


def test_secrets_are_written_nowhere(tmp_path, server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    url = server.url.replace("http://", "http://user:hidden-word@")
    out = tmp_path / "out"
    arguments = ("run", write_task(tmp_path / "t"), "-o", out, "--model", "m",
                 "--base-url", url, "--api-key-env", "MY_KEY")  # fmt: skip
    assert synth(*arguments)[0] == 0
    for path in out.rglob("*"):
        if path.is_file():
            assert b"sk-very-secret" not in path.read_bytes()
            assert b"hidden-word" not in path.read_bytes()
    assert "MY_KEY" in (out / "synth.yaml").read_text()


def test_preview_prints_whole_rows_and_keeps_nothing(tmp_path, server, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = write_task(tmp_path / "t")
    code, printed = synth("preview", task, "-n", 2, "--model", "m", "--base-url", server.url)
    assert code == 0, printed
    for words in ("row 1", "row 2", "Sure, I can help", "search[", "The prompt asks", "Page"):
        assert words in printed
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_preview_shows_what_was_rejected_even_when_nothing_came_through(tmp_path):
    def script(messages):
        teacher = stage_of(as_messages(messages)) == "teacher"
        return Reply("and so on and", "length") if teacher else answers(messages)

    with serve(script, models=None) as server:
        task = write_task(tmp_path / "t")
        code, printed = synth("preview", task, "--model", "m", "--base-url", server.url)
    assert code == 1
    assert "rejected in outputs: teacher output cut by the token limit" in printed
    assert "and so on and" in printed
    assert "0 of 3 rows came through" in printed


def test_validate_says_how_the_task_was_read(tmp_path, server):
    task = write_task(tmp_path / "t", prompt="<USER>:\nrules", inputs={"seeds": ["tiny"]})
    code, printed = synth("validate", task, "--model", "m", "--base-url", server.url)
    assert code == 0
    assert "1 turns (system)" in printed
    assert "name the file .txt" in printed
    assert "seed 1 is itself malformed: shorter than 8 characters" in printed
    assert "3 tokens with it, 1 without" in printed
    assert server.count == 3  # the third is a longer input, which must have more tokens


def test_status_of_a_finished_run(tmp_path, server):
    out = tmp_path / "out"
    synth(*run_command(write_task(tmp_path / "t"), out, server))
    code, printed = synth("status", out)
    assert code == 0
    assert "Rows finished: 4 of 4" in printed
    assert "train-00000" in printed
    with locked(out):
        assert "A run is at work here" in synth("status", out)[1]


@pytest.mark.parametrize(
    ("arguments", "cause", "cure"),
    [
        (("run", "nowhere", "--model", "m"), "There is no task nowhere", "synth init"),
        (("run", "{task}"), "There is no --model", "hub name"),
        (("run", "{task}", "--model", "m", "--engine", "transformers", "--base-url", "http://x"),
         "goes with --engine openai", "Leave one"),
        (("run", "{task}", "--model", "m", "--chat-template-kwargs", "{"), "not JSON", "example"),
        (("run", "{task}", "--model", "m", "--set", "inputs.cuont=3"), "Did you mean", "docs"),
        (("run", "{task}", "--model", "m", "--inputs", "gone.jsonl"), "can't be read", "--inputs"),
        (("run", "{task}", "--model", "m", "--test-share", "1.5"), "split.test", "docs"),
        (("run", "{task}", "--model", "m", "--engine", "openai"), "no API key", "--base-url"),
        (("status", "{task}"), "is not the folder of a run", "-o"),
        (("init", "{task}", "--prompt", "{task}/prompt.md"), "there already", "another name"),
        (("run", "{task}", "--model", "m", "--base-url", "http://127.0.0.1:9/v1",
          "-o", "{task}/out"), "127.0.0.1:9", "--base-url"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_cure_and_without_a_traceback(
    tmp_path, monkeypatch, arguments, cause, cure
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    task = write_task(tmp_path / "t")
    code, printed = synth(*(argument.replace("{task}", str(task)) for argument in arguments))
    assert code == 1
    assert cause in printed
    error, _, what_to_do = printed.partition("What to do: ")
    assert "Error: " in error
    assert cure in what_to_do


@pytest.mark.parametrize("command", [None, *main.commands])
def test_every_help_ends_with_examples_that_parse(command):
    printed = synth(*([command] if command else []), "--help")[1]
    examples = printed.partition("Examples:")[2].strip().splitlines()
    assert examples
    for example in examples:
        words = example.split()
        assert words[:3] == ["python", "-m", "synth"]
        # Raises a usage error for an option or an argument that is not there.
        main.commands[words[3]].make_context(words[3], words[4:])


def test_the_module_runs_without_torch(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from synth.cli import main; main(['--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=os.environ, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Examples" in done.stdout


def test_validate_says_what_a_model_in_process_makes_of_the_prompt(tmp_path):
    pytest.importorskip("torch")
    from tests.tiny import save_tiny

    model = save_tiny(tmp_path / "tiny", "gemma")  # its chat template takes no system turn
    task = write_task(tmp_path / "t")
    code, printed = synth("validate", task, "--model", model)
    assert code == 1
    assert "does not take these roles: system, user" in printed
    assert "prompt_role: user" in printed
    code, printed = synth("validate", task, "--model", model, "--set", "prompt_role=user")
    assert code == 0, printed
    assert "The model takes the prompt" in printed


def test_a_task_without_seeds_is_told_what_drafts_them(tmp_path, server):
    task = write_task(tmp_path / "t", inputs={"seeds": [], "count": 2})
    command = f"python -m synth init my-draft --prompt {task}/prompt.md --model MODEL"
    code, printed = synth(*run_command(task, tmp_path / "out", server))
    assert code == 1  # one and the same request again and again has one answer
    assert command in printed
    assert command in synth("validate", task)[1]
    # Nobody asks for inputs where they are given.
    given = tmp_path / "given.txt"
    given.write_text("find a hat\nfind a lamp\n")
    code, printed = synth(*run_command(task, tmp_path / "given", server, "--inputs", given))
    assert code == 0, printed
    assert "synth init" not in printed
    hidden = write_task(tmp_path / "h", inputs={"seeds": [], "show_prompt": False})
    code, printed = synth("validate", hidden)
    assert code == 1
    assert f"init my-draft --prompt {hidden}/prompt.md --model MODEL" in printed


def test_a_draft_of_a_task_with_tools_gets_them_too(tmp_path):
    task = write_tooled(tmp_path / "t", inputs={"seeds": []})
    code, printed = synth("validate", task)
    assert code == 0, printed
    command = f"init my-draft --prompt {task}/prompt.md --tools {task}/tools.json --model MODEL"
    assert command in " ".join(printed.split())


def test_the_template_s_arguments_go_into_a_shipped_task_s_recipe_too(tmp_path):
    line = 'chat_template_kwargs: {"enable_thinking": false}'
    for name in shipped_tasks():
        said = next_step(load_task(name), tmp_path, line).splitlines()
        assert said[1].strip() == line
        recipe = f"recipes/genpi_{name}.yml"
        assert (ROOT / recipe).is_file()
        assert (recipe in said[0], said[2]) == (True, f"and then: axolotl train {recipe}")
        assert next_step(load_task(name), tmp_path) == f"Next: axolotl train {recipe}"
