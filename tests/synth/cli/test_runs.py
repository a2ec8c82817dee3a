"""A run that is repeated, stopped, or given other settings."""

import json
import signal
import time

import pyarrow.parquet as pq

from synth.store.folder import locked
from synth.store.store import Store
from tests.synth.cli.commands_run import (
    TEST,
    answers,
    bytes_of,
    bytes_of_train,
    process,
    rows_of,
    run_command,
    stage_of_body,
    synth,
)
from tests.synth.scripted import PROMPT, write_task
from tests.synth.server import serve


def test_a_second_run_asks_nothing_and_writes_the_same(tmp_path, server):
    command = run_command(write_task(tmp_path / "t", inputs={"count": 12}), tmp_path / "o", server)
    synth(*command)
    first, asked = bytes_of(tmp_path / "o"), server.count
    card = (tmp_path / "o" / "README.md").read_bytes()
    assert synth(*command)[0] == 0
    assert server.count == asked
    assert bytes_of(tmp_path / "o") == first
    assert (tmp_path / "o" / "README.md").read_bytes() == card


def test_killed_and_run_again_nothing_stored_is_asked_and_the_bytes_are_the_same(tmp_path, server):
    task = write_task(tmp_path / "t", inputs={"count": 15})
    assert synth(*run_command(task, tmp_path / "whole", server))[0] == 0
    needed = server.count
    server.requests.clear()
    server.delay = 0.1
    out, known = tmp_path / "out", set()
    for wanted in (needed // 4, needed // 2):
        running = process(*run_command(task, out, server))
        while server.count < wanted:
            assert running.poll() is None
            time.sleep(0.02)
        running.kill()
        running.wait()
        time.sleep(0.2)  # what is under way reaches the server's end
        store = Store(out / "store.sqlite", read_only=True)
        kept = sum(store.answers().values())
        store.close()
        assert len(known) <= kept < needed
        known = set(range(kept))
    server.delay = 0.0
    before = server.count
    assert synth(*run_command(task, out, server))[0] == 0
    assert server.count - before == needed - len(known)
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


def test_ctrl_c_keeps_what_is_there_and_says_how_to_go_on(tmp_path, server):
    server.delay = 0.2
    task, out = write_task(tmp_path / "t", inputs={"count": 50}), tmp_path / "out"
    running = process(*run_command(task, out, server))
    while server.count < 40:
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    printed, _ = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "To go on, run the same command again" in printed
    assert f"python -m synth run {task}" in printed
    assert "Traceback" not in printed
    store = Store(out / "store.sqlite", read_only=True)
    assert store.answers()
    store.close()
    code, printed = synth("status", out)
    assert code == 0
    assert "No run is at work here. To go on:" in printed
    assert f"python -m synth run {task}" in printed


def test_a_changed_setting_is_refused_with_both_ways_out(tmp_path, server):
    task, out = write_task(tmp_path / "t"), tmp_path / "out"
    synth(*run_command(task, out, server))
    before = bytes_of_train(out)
    code, printed = synth(*run_command(task, out, server, "--set", "reasons.temperature=0.2"))
    assert code == 1
    assert "task.reasons.temperature: 0.7 -> 0.2" in printed
    assert "-o" in printed
    assert "--resume changed" in printed
    assert bytes_of_train(out) == before
    server.requests.clear()
    changed = "--set", "reasons.temperature=0.2", "--resume", "changed"
    assert synth(*run_command(task, out, server, *changed))[0] == 0
    assert {stage_of_body(body) for body in server.requests} == {"reasons"}


def test_more_rows_ask_for_the_new_ones_only(tmp_path, server):
    task, out = write_task(tmp_path / "t"), tmp_path / "out"
    synth(*run_command(task, out, server, "-n", 4, "--test-share", 0))
    first, asked = rows_of(out), server.count
    synth(*run_command(task, out, server, "-n", 6, "--test-share", 0, "--resume", "changed"))
    assert rows_of(out)[:4] == first
    assert len(rows_of(out)) == 6
    assert server.count < 2 * asked


def test_a_run_that_came_to_no_answer_binds_nobody(tmp_path, server):
    task, out = write_task(tmp_path / "t"), tmp_path / "out"
    server.models = ["right"]
    code, printed = synth(*run_command(task, out, server))
    assert code == 1
    assert "right" in printed
    command = [word if word != "m" else "right" for word in run_command(task, out, server)]
    assert synth(*command)[0] == 0


def test_an_edited_prompt_is_a_change(tmp_path, server):
    task, out = write_task(tmp_path / "t"), tmp_path / "out"
    synth(*run_command(task, out, server))
    (task / "prompt.md").write_text(PROMPT + " Be brief.")
    code, printed = synth(*run_command(task, out, server))
    assert code == 1
    assert "prompt.sha256" in printed
    assert synth(*run_command(task, out, server, "--resume", "changed"))[0] == 0
    assert rows_of(out)[0]["prompt"][0]["content"].endswith("Be brief.")


def test_moving_the_server_is_no_change(tmp_path, server):
    task, out = write_task(tmp_path / "t"), tmp_path / "out"
    synth(*run_command(task, out, server))
    with serve(answers, models=None) as other:
        assert synth(*run_command(task, out, other, "--concurrency", 3))[0] == 0
        assert not other.requests


def test_scores_and_description_are_no_change(tmp_path, server):
    out = tmp_path / "out"
    synth(*run_command(write_task(tmp_path / "t"), out, server))
    asked = server.count
    task = write_task(tmp_path / "t", scores={"a": {"pattern": "x"}}, description="A shop.")
    code, printed = synth(*run_command(task, out, server))
    assert code == 0, printed
    assert server.count == asked
    assert "pattern: x" in (out / "synth.yaml").read_text()


def test_own_inputs_take_the_first_stage_s_place(tmp_path, server):
    path = tmp_path / "mine.jsonl"
    texts = [f"Obs:\n item {number}" for number in range(11)]
    lines = [*texts, texts[0]]
    path.write_text("".join(json.dumps({"input": text}) + "\n" for text in lines))
    task, out = write_task(tmp_path / "t"), tmp_path / "out"
    code, printed = synth(*run_command(task, out, server, "--inputs", path))
    assert code == 0, printed
    made = rows_of(out) + pq.read_table(out / TEST).to_pylist()
    assert sorted(row["input"] for row in made) == sorted(texts)
    assert "inputs" not in {stage_of_body(body) for body in server.requests}
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert rejected == [
        {
            "stage": "inputs",
            "position": 12,
            "reason": "duplicate",
            "detail": "the same as line 1",
            "made": {"text": texts[0]},
        }
    ]


def test_two_runs_on_one_folder(tmp_path, server):
    task, out = write_task(tmp_path / "t"), tmp_path / "out"
    with locked(out):
        code, printed = synth(*run_command(task, out, server))
        assert code == 1
        assert "Another run is at work" in printed
        assert not server.requests
    assert synth(*run_command(task, out, server))[0] == 0
