"""From Python what `python -m synth run` does; the example in docs/synth.md is run here."""

import asyncio
import re
import subprocess
import sys
import threading
import time

import pytest
import yaml

import synth
from synth.engines.models import model_specs
from synth.task.taskfile import load_task
from tests import ROOT
from tests.synth.cli.commands_run import rows_of, run_command
from tests.synth.cli.commands_run import synth as command_line
from tests.synth.scripted import answers, make_task, write_task
from tests.synth.server import serve
from tests.tiny import save_tiny


def test_the_example_on_the_page_works(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "synth.md").read_text()
    example = page.partition("## From Python")[2].partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path / "my-task")
    with serve(answers, models=None) as server:
        example = example.replace("http://localhost:8000/v1", server.url)
        assert server.url in example
        exec(compile(example, "docs/synth.md", "exec"), {})
    assert len(rows_of(tmp_path / "data" / "my-task")) > 0


def test_the_folder_is_the_command_s_and_either_goes_on_with_the_other_s(tmp_path):
    task = write_task(tmp_path / "t", inputs={"count": 8})
    with serve(answers, models=None) as server:
        assert command_line(*run_command(task, tmp_path / "cli", server))[0] == 0
        summary = synth.make(task, synth.Model("m", base_url=server.url), folder=tmp_path / "api")
        assert summary.rows == 8
        assert rows_of(tmp_path / "cli") == rows_of(tmp_path / "api")
        server.requests.clear()
        code, printed = command_line(*run_command(task, tmp_path / "api", server))
        assert code == 0, printed
        again = synth.make(str(task), synth.Model("m", base_url=server.url),
                           folder=tmp_path / "cli")  # fmt: skip
        assert again.rows == 8
        assert not server.requests
    # Both files, and what was logged with or without a handler of the program's.
    assert "done in" in (tmp_path / "api" / "run.log").read_text()
    card = (tmp_path / "cli" / "README.md").read_text()
    assert "synth.make(" in card


def test_count_inputs_seed_and_overrides_are_the_command_s(tmp_path):
    task = write_task(tmp_path / "t")
    (tmp_path / "mine.txt").write_text("one lamp\ntwo lamps\n")
    with serve(answers, models=None) as server:
        model = synth.Model("m", base_url=server.url)
        synth.make(task, model, folder=tmp_path / "a", inputs=tmp_path / "mine.txt", seed=3,
                   overrides={"conversations.max_turns": 1}, concurrency=4)  # fmt: skip
        config = yaml.safe_load((tmp_path / "a" / "synth.yaml").read_text())
        assert config["seed"] == 3
        assert config["task"]["inputs"]["count"] == 2
        assert config["task"]["conversations"]["max_turns"] == 1
        assert config["run"]["concurrency"] == 4
        loaded = synth.make(load_task(str(task)), model, folder=tmp_path / "b", count=3)
        assert loaded.wanted == 3
        with pytest.raises(synth.SynthError, match="made with another configuration"):
            synth.make(task, model, folder=tmp_path / "b", count=3, seed=9)
        assert synth.make(task, model, folder=tmp_path / "b", count=3, seed=9,
                          resume_changed=True).wanted == 3  # fmt: skip


@pytest.mark.parametrize("engine", ["server", "process"])
def test_it_works_where_an_event_loop_runs(tmp_path, engine):
    """As in a notebook."""
    task = write_task(tmp_path / "t", conversations={"max_turns": 1}, reasons={"max_tokens": 32},
                      inputs={"count": 2, "max_tokens": 32, "min_chars": 1},
                      outputs={"max_tokens": 32}, filters=[])  # fmt: skip
    (tmp_path / "mine.txt").write_text("one lamp\ntwo lamps\n")

    async def notebook(model):
        return synth.make(task, model, folder=tmp_path / "out", inputs=tmp_path / "mine.txt")

    if engine == "server":
        with serve(answers, models=None) as server:
            assert asyncio.run(notebook(synth.Model("m", base_url=server.url))).rows == 2
    else:
        # A random model's answers are cut: the error comes through the thread, too.
        with pytest.raises(synth.SynthError, match="0 of 2 rows came through"):
            asyncio.run(notebook(str(save_tiny(tmp_path / "model"))))


def test_an_interrupt_in_a_notebook_stops_the_run_and_keeps_what_was_answered(tmp_path):
    import _thread

    task = write_task(tmp_path / "t", inputs={"count": 200})

    async def notebook(model):
        return synth.make(task, model, folder=tmp_path / "out", concurrency=2)

    def interrupt(server):
        while len(server.requests) < 20:
            time.sleep(0.01)
        _thread.interrupt_main()

    with serve(answers, models=None, delay=0.02) as server:
        threading.Thread(target=interrupt, args=(server,), daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(notebook(synth.Model("m", base_url=server.url)))
        assert len(server.requests) < 1000
    assert "interrupted" in (tmp_path / "out" / "run.log").read_text()
    assert not [one for one in threading.enumerate() if one.name == "synth-run"]
    assert "Rows finished" in command_line("status", tmp_path / "out")[1]


def test_a_model_is_what_the_command_line_makes_of_it():
    words = ("m", None, ("http://a/v1",), "OPENAI_API_KEY", None, None, (), None, "auto", "{}", 600)
    assert synth.Model("m", base_url="http://a/v1") == model_specs(*words)[0]
    assert synth.Model("m").engine == "transformers"
    with pytest.raises(synth.SynthError, match="There is no engine 'gpt'"):
        synth.Model("m", engine="gpt")
    with pytest.raises(synth.SynthError, match="goes with engine openai, not vllm"):
        synth.Model("m", engine="vllm", base_url="http://a/v1")
    with pytest.raises(synth.SynthError):
        synth.Model("m", base_url="localhost")
    with pytest.raises(TypeError, match="tempo"):
        synth.Model("m", tempo=3)


def test_what_is_no_model_or_no_task_is_told(tmp_path):
    with pytest.raises(synth.SynthError, match="int is not a model"):
        synth.make("demo", 3)
    with pytest.raises(synth.SynthError, match="There is no task nowhere"):
        synth.make("nowhere", "m")
    with pytest.raises(synth.SynthError, match="goes with a task's name"):
        synth.make(make_task(tmp_path), "m", overrides={"split.test": 0.5})


def test_importing_synth_is_light():
    heavy = "{'pydantic', 'openai', 'torch', 'pyarrow', 'synth.api'} & set(sys.modules)"
    code = f"import sys, synth; assert not ({heavy}), {heavy}; synth.make; synth.stage; dir(synth)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="no attribute 'mke'"):
        synth.mke  # noqa: B018
    assert re.fullmatch(r"\w+", synth.Row.__name__)
