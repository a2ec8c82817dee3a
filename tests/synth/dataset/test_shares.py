"""A dataset in which not every row has a reason, from the command to all that tells of it."""

import html
import json

import pyarrow.parquet as pq
import pytest
import yaml

from synth.engines.messages import as_messages
from synth.stages.share import in_share
from synth.store.store import Store
from tests.synth.cli.commands_run import run_command, synth
from tests.synth.running.test_resume import asked, bytes_of
from tests.synth.scripted import shop, stage_of, write_task
from tests.synth.server import Reply, serve


def with_cut_reasons(messages):
    """`shop`, whose reasons of every third item are cut."""
    turns = as_messages(messages)
    if stage_of(turns) == "reasons":
        text = turns[-1].content.partition("## Input\n")[2].split("\n")[0]
        cut = int("".join(filter(str.isdigit, text))) % 3 == 0
        return Reply("The prompt asks for one", "length") if cut else shop(turns)
    return shop(turns)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    with serve(with_cut_reasons, models=None) as server:
        task = write_task(folder / "t", inputs={"count": 60}, reasons={"share": 0.5},
                          conversations={"max_turns": 1})  # fmt: skip
        code, printed = synth(*run_command(task, folder / "out", server))
    assert code == 0, printed
    return folder / "out", " ".join(printed.split())


def rows_in(folder):
    return [row for path in sorted((folder / "data").glob("*.parquet"))
            for row in pq.read_table(path).to_pylist()]  # fmt: skip


def test_rows_without_are_null_and_told_everywhere(made):
    folder, printed = made
    rows = rows_in(folder)
    store = Store(folder / "store.sqlite", read_only=True)
    kept = list(store.rows())
    store.close()
    chosen = {row.id for row in kept if in_share(row, 0.5)}
    lost = {row["id"] for row in rows if row["id"] in chosen and row["reason"] is None}
    assert len(rows) == 60
    assert 0 < len(lost) < len(chosen) < 60
    for row in rows:
        assert (row["floor_output"] is None) is (row["id"] not in chosen)
        assert (row["reason"] is None) is (row["id"] not in chosen - lost)
        assert "" not in (row["floor_output"], row["reason"])
    listed = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    assert {one["made"]["id"] for one in listed} == lost
    assert all(one["kept"] and one["stage"] == "reasons" for one in listed)
    left = len(chosen) - len(lost)
    words = (
        f"Rows with a reason, which recitals need: {left} of 60 (`reasons.share` 0.5).",
        f"Reasons that were lost, their rows kept without: {len(lost)} of {len(chosen)} "
        f"({len(lost)} x reason cut by the token limit).",
        f"floor 0% (of {len(chosen)} rows)",
    )
    card = html.unescape((folder / "README.md").read_text()).replace("\\", "")
    report = html.unescape((folder / "report.html").read_text())
    for told in words:
        assert told in printed
        assert told in " ".join(card.split())
        assert told in report
    assert "No reason was made" in report
    code, status = synth("status", folder)
    assert code == 0
    assert f"Reasons lost, their rows kept: {len(lost)} (" in status
    assert "No run is at work here" not in status
    before = (folder / "report.html").read_bytes()
    assert synth("report", folder)[0] == 0
    assert (folder / "report.html").read_bytes() == before


@pytest.mark.parametrize("form", ["disk", "parquet", "jsonl"])
@pytest.mark.parametrize("official", [False, True])
def test_other_forms_keep_what_is_null(made, tmp_path, form, official):
    if form == "disk":
        pytest.importorskip("datasets")
    folder, _ = made
    more = ("--official-schema",) if official else ()
    code, printed = synth("export", folder, "--format", form, *more, "-o", tmp_path / "out")
    assert code == 0, printed
    ours = pq.read_table(folder / "data" / "train-00000-of-00001.parquet").to_pylist()
    if form == "disk":
        import datasets

        found = datasets.load_from_disk(str(tmp_path / "out"))["train"].to_list()
    elif form == "parquet":
        found = pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    else:
        lines = (tmp_path / "out" / "train.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines]
    names = ("student_output_single" if official else "floor_output", "reason")
    for row, other in zip(ours, found, strict=True):
        assert [other[name] for name in names] == [row["floor_output"], row["reason"]]
    without = sum(row["reason"] is None for row in rows_in(folder))
    assert (f"Note: {without} rows have no reason" in printed) is official


def test_datasets_reads_a_split_in_which_no_row_has_a_reason(tmp_path):
    datasets = pytest.importorskip("datasets")
    with serve(shop_of, models=None) as server:
        task = write_task(tmp_path / "t", inputs={"count": 12}, reasons={"share": 0},
                          conversations={"max_turns": 1})  # fmt: skip
        code, printed = synth(*run_command(task, tmp_path / "out", server))
        assert code == 0, printed
    assert {stage_of(as_messages(body["messages"])) for body in server.requests} == {
        "inputs", "teacher",
    }  # fmt: skip
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    for split in ("train", "test"):
        assert set(loaded[split]["reason"]) == set(loaded[split]["floor_output"]) == {None}
        assert loaded[split].features["reason"].dtype == "string"
    assert "which recitals need: 0 of 12 (`reasons.share` 0)" in " ".join(printed.split())
    assert "well-formed action: teacher 100%;" in printed


def test_more_rows_and_a_larger_share_ask_only_for_what_is_new(tmp_path):
    task = write_task(tmp_path / "t", reasons={"share": 0.3}, conversations={"max_turns": 1})
    out = tmp_path / "out"
    with serve(with_cut_reasons, models=None) as server:
        assert synth(*run_command(task, out, server, "-n", 20))[0] == 0
        first, before = {row["id"]: row for row in rows_in(out)}, asked(server)
        assert synth(*run_command(task, out, server, "-n", 30))[0] == 0
        grown = {row["id"]: row for row in rows_in(out)}
        assert first.items() <= grown.items()
        before |= asked(server)
        larger = ("-n", 30, "--set", "reasons.share=0.6")
        code, printed = synth(*run_command(task, out, server, *larger))
        assert code == 1
        assert "task.reasons.share: 0.3 -> 0.6" in printed
        assert synth(*run_command(task, out, server, *larger, "--resume", "changed"))[0] == 0
        anew = asked(server)
        assert {stage_of(as_messages(json.loads(b)["messages"])) for b in anew} == {
            "floor", "reasons",
        }  # fmt: skip
        assert synth(*run_command(task, tmp_path / "new", server, *larger))[0] == 0
        assert anew == asked(server) - before
    assert bytes_of(out) == bytes_of(tmp_path / "new")
    for row in rows_in(out):
        assert row["reason"] or grown[row["id"]]["reason"] is None


def test_a_folder_that_was_begun_before_there_was_a_share_goes_on_with_all_reasons(tmp_path):
    """Its synth.yaml has no `reasons.share`; in a new folder the same task has the default."""
    task, out = write_task(tmp_path / "t", conversations={"max_turns": 1}), tmp_path / "out"

    def config(folder):
        return yaml.safe_load((folder / "synth.yaml").read_text())

    with serve(shop_of, models=None) as server:
        assert synth(*run_command(task, out, server, "-n", 12))[0] == 0
        old = config(out)
        del old["task"]["reasons"]["share"]
        (out / "synth.yaml").write_text(yaml.safe_dump(old, sort_keys=False))
        text = yaml.safe_load((task / "task.yml").read_text())
        del text["reasons"]
        (task / "task.yml").write_text(yaml.safe_dump(text))
        before = bytes_of(out)
        for count in (12, 12, 16):  # what it goes on with is noted, and stays
            code, printed = synth(*run_command(task, out, server, "-n", count))
            assert code == 0, printed
            assert bytes_of(out) == before or count == 16
            assert config(out)["task"]["reasons"]["share"] == 1
        assert all(row["reason"] for row in rows_in(out))
        assert "begun with `reasons.share: 1` and goes on with it" in (out / "run.log").read_text()
        code, printed = synth(*run_command(task, tmp_path / "new", server, "-n", 16))
        assert code == 0, printed
        assert config(tmp_path / "new")["task"]["reasons"]["share"] == 0.25
        assert not all(row["reason"] for row in rows_in(tmp_path / "new"))
        server.requests.clear()
        share = ("-n", 16, "--set", "reasons.share=0.25")
        code, printed = synth(*run_command(task, out, server, *share))
        assert code == 1
        assert "task.reasons.share: 1.0 -> 0.25" in printed
        assert synth(*run_command(task, out, server, *share, "--resume", "changed"))[0] == 0
        assert not server.requests
    assert bytes_of(out) == bytes_of(tmp_path / "new")


def shop_of(messages):
    return shop(as_messages(messages))


def test_preview_shows_rows_with_a_reason_and_without(tmp_path):
    with serve(shop_of, models=None) as server:
        task = write_task(tmp_path / "t", reasons={"share": 0.01})
        code, printed = synth("preview", task, "--model", "m", "--base-url", server.url, "-n", 3)
    assert code == 0, printed
    assert printed.count("floor: the answer without the prompt") == 1
    assert printed.count("no reason: a row for the behaviour alone") == 2
