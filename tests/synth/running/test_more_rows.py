"""`-n 250` after `-n 200` goes on, and every row stays on its side of the split."""

import pyarrow.parquet as pq
import pytest
import yaml

from synth.dataset.splits import split_files
from synth.store.store import Store
from tests.synth.running.test_resume import asked, bytes_of, synth
from tests.synth.scripted import PROMPT, answers, write_task
from tests.synth.server import Failure, serve
from tests.synth.store.old import make_old

ALL = ("synth.yaml", "README.md", "report.html")


def splits_of(folder):
    return {
        name: split
        for split, path in split_files(folder).items()
        for name in pq.read_table(path)["id"].to_pylist()
    }


def everything(folder):
    return [*bytes_of(folder), *((folder / name).read_bytes() for name in ALL)]


def test_more_rows_go_on_and_move_none(tmp_path):
    task = write_task(tmp_path / "t", split={"test": 0.3}, conversations={"max_turns": 3})
    with serve(answers, models=None) as server:
        assert synth(task, tmp_path / "out", server, "-n", 20)[0] == 0
        before, splits = asked(server), splits_of(tmp_path / "out")
        code, printed = synth(task, tmp_path / "out", server, "-n", 25)
        assert code == 0, printed
        anew = asked(server)
        assert synth(task, tmp_path / "new", server, "-n", 25)[0] == 0
        assert anew == asked(server) - before
    grown = splits_of(tmp_path / "out")
    assert len(splits) == 20
    assert len(grown) == 25
    assert splits.items() < grown.items()
    assert set(splits.values()) == {"train", "test"}
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "new")
    assert yaml.safe_load((tmp_path / "out" / "synth.yaml").read_text())["task"]["inputs"][
        "count"] == 25  # fmt: skip


def test_more_rows_that_are_stopped_leave_the_dataset_that_there_was(tmp_path):
    task, out = write_task(tmp_path / "t", inputs={"count": 6}), tmp_path / "out"
    with serve(answers, models=None) as server:
        assert synth(task, out, server)[0] == 0
        before = bytes_of(out)
        server.fault = lambda messages: Failure(401)
        assert synth(task, out, server, "-n", 9)[0] == 1
        assert bytes_of(out) == before
        assert "count: 9" in (out / "synth.yaml").read_text()
        server.fault = None
        assert synth(task, out, server, "-n", 9)[0] == 0
        assert synth(task, tmp_path / "new", server, "-n", 9)[0] == 0
    assert bytes_of(out) == bytes_of(tmp_path / "new")


def test_fewer_rows_are_refused_with_the_reason(tmp_path):
    task, out = write_task(tmp_path / "t", inputs={"count": 8}), tmp_path / "out"
    with serve(answers, models=None) as server:
        assert synth(task, out, server)[0] == 0
        before, splits = everything(out), splits_of(out)
        code, printed = synth(task, out, server, "-n", 6)
        assert code == 1
        assert "task.inputs.count: 8 -> 6 takes rows out of the dataset" in printed
        assert everything(out) == before
        assert synth(task, out, server, "-n", 6, "--resume", "changed")[0] == 0
        assert splits_of(out).items() < splits.items()
        server.requests.clear()
        assert synth(task, out, server)[0] == 0
        assert not server.requests
    assert splits_of(out) == splits


def test_a_folder_of_the_last_version_keeps_its_bytes_and_its_splits(tmp_path):
    task, out = write_task(tmp_path / "t", split={"test": 0.4}), tmp_path / "out"
    with serve(answers, models=None) as server:
        assert synth(task, out, server, "-n", 24)[0] == 0
        ours = splits_of(out)
        make_old(out)
        before, splits = bytes_of(out), splits_of(out)
        assert splits != ours  # else this shows nothing
        server.requests.clear()
        code, printed = synth(task, out, server, "-n", 24)
        assert code == 0, printed
        assert not server.requests
        assert bytes_of(out) == before
        code, printed = synth(task, out, server, "-n", 30)
        assert code == 0, printed
        assert splits.items() < splits_of(out).items()
        # With another share it is drawn anew; back at the first one, it is what it was.
        share = ("-n", 30, "--test-share", 0.2, "--resume", "changed")
        assert synth(task, out, server, *share)[0] == 0
        assert not splits.items() < splits_of(out).items()
        assert synth(task, out, server, "-n", 30, "--resume", "changed")[0] == 0
        assert splits.items() < splits_of(out).items()


def test_a_split_of_the_last_version_that_cannot_be_read_is_told(tmp_path):
    task, out = write_task(tmp_path / "t", split={"test": 0.4}), tmp_path / "out"
    with serve(answers, models=None) as server:
        assert synth(task, out, server, "-n", 12)[0] == 0
        make_old(out)
        path = split_files(out)["test"]
        path.write_bytes(path.read_bytes()[:100])
        code, printed = synth(task, out, server, "-n", 12)
    assert code == 0, printed
    assert "Its rows are drawn again" in (out / "run.log").read_text()
    assert len(splits_of(out)) == 12


@pytest.mark.parametrize("command", ["status", "report", "export"])
def test_a_folder_of_the_last_version_is_read_without_a_change(tmp_path, command):
    from click.testing import CliRunner

    from synth.cli.commands import main

    task, out = write_task(tmp_path / "t"), tmp_path / "out"
    with serve(answers, models=None) as server:
        assert synth(task, out, server, "-n", 12)[0] == 0
    make_old(out)
    before = (out / "store.sqlite").read_bytes()
    more = ("--format", "jsonl", "-o", str(tmp_path / "x")) if command == "export" else ()
    result = CliRunner().invoke(main, [command, str(out), *more])
    assert result.exit_code == 0, result.output
    assert (out / "store.sqlite").read_bytes() == before
    if command == "status":
        assert "Rows finished: 12 of 12" in result.output
    if command == "report":
        sizes = splits_of(out)
        shown = (out / "report.html").read_text()
        assert f"{sum(split == 'test' for split in sizes.values())} test" in shown
        assert PROMPT in shown


def test_rows_that_are_still_to_come_may_change_what_is_drawn(tmp_path):
    """A dataset with gaps is not recorded, so that filled it is that of a run without any."""
    task, out = write_task(tmp_path / "t", split={"test": 0.3}), tmp_path / "out"
    with serve(answers, models=None) as server:
        assert synth(task, tmp_path / "whole", server, "-n", 14)[0] == 0
        texts = [row["input"] for path in split_files(tmp_path / "whole").values()
                 for row in pq.read_table(path).to_pylist()]  # fmt: skip
        server.fault = lambda messages: (
            Failure(200, hang=0.5) if messages[-1]["content"] == texts[0] else None
        )
        assert synth(task, out, server, "-n", 14, "--timeout", 0.25)[0] == 1
        assert len(splits_of(out)) == 13
        store = Store(out / "store.sqlite", read_only=True)
        recorded = store.has_splits()
        store.close()
        server.fault = None
        assert synth(task, out, server, "-n", 14)[0] == 0
    assert bytes_of(out)[:2] == bytes_of(tmp_path / "whole")[:2]
    assert not recorded
