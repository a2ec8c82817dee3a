import json
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.parquet as pq
import pytest

from synth.engines.messages import as_messages
from synth.report.charts import bins, histogram
from tests import ROOT
from tests.synth.cli.commands_run import TEST, TRAIN, run_command, synth
from tests.synth.scripted import shop, stage_of, write_task
from tests.synth.server import serve


def answers(messages):
    turns = as_messages(messages)
    text = shop(turns)
    if stage_of(turns) == "reasons" and text and "7 for me" in messages[-1]["content"]:
        return "Too short."
    return f"<b>{text}</b> & more" if stage_of(turns) == "floor" else text


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    with serve(answers, models=None) as server:
        task = write_task(folder / "t", inputs={"count": 30}, description="A shop.",
                          scores={"short": {"pattern": "^.{1,20}$"}})  # fmt: skip
        prices = ("--price-in", 1, "--price-out", 2)
        code, printed = synth(*run_command(task, folder / "out", server, *prices))
    assert code == 0, printed
    return folder / "out"


class Page(HTMLParser):
    """Opened tags that are not closed, and addresses that would be loaded."""

    VOID = frozenset({"meta", "br", "rect", "line", "link", "img"})

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_opens_offline(made):
    text = (made / "report.html").read_text()
    page = Page(text)
    assert not page.open
    assert not page.loads
    assert "script" not in page.tags
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_the_page_holds_the_figures_and_rows_of_the_dataset(made):
    text = (made / "report.html").read_text()
    rows = pq.read_table(made / TRAIN).to_pylist() + pq.read_table(made / TEST).to_pylist()
    rejected = [json.loads(line) for line in (made / "rejected.jsonl").read_text().splitlines()]
    assert f"<b>{len(rows)}</b> of 30 rows passed" in text
    lost = len(rejected)
    assert all(one["kept"] for one in rejected)
    assert (
        f"their rows kept without: {lost} of 30 ({lost} x reason shorter than 20 characters)."
        in text
    )
    assert f"reason, characters, of {30 - lost} rows" in text
    assert "the row is kept without; by the filter reason_length; It is: " in text
    assert "A shop." in text
    assert text.count('<article class="card row">') == 6
    shown = [row for row in rows if row["id"] in text]
    assert len(shown) == 6
    for row in shown:
        assert row["teacher_output"] in text
        assert row["reason"] is None or row["reason"] in text
        assert row["conversation"][-1]["content"] in text
    # What a model writes is text, whatever it looks like.
    assert "&lt;b&gt;Sure, I can help" in text
    assert "<b>Sure" not in text
    assert rejected[0]["made"]["input"] in text


def test_report_writes_the_page_anew(made):
    before = (made / "report.html").read_bytes()
    (made / "report.html").unlink()
    code, printed = synth("report", made)
    assert code == 0, printed
    assert (made / "report.html").read_bytes() == before


def test_run_json_holds_what_the_server_counted(made):
    record = json.loads((made / "run.json").read_text())
    assert record["finished"] is True
    assert record["models"] == {"target": {"model": "m"}, "generator": {"model": "m"}}
    assert record["runs"] == 1
    assert set(record["stages"]["conversations"]) == {"target", "generator"}
    by_stage = [role for stage in record["stages"].values() for role in stage.values()]
    assert record["tokens_in"] == sum(role["tokens_in"] for role in by_stage) > 1000
    assert record["money"] == pytest.approx(
        (record["tokens_in"] + 2 * record["tokens_out"]) / 1e6, abs=1e-6
    )


def test_the_card_tells_diversity_and_rejections(made):
    card = (made / "README.md").read_text()
    assert re.search(r"all share: distinct words \d+%, near duplicates 0%", card)
    assert "reason shorter than 20 characters" in card
    assert "python -m synth run" in card


def test_scores_of_the_task_are_in_synth_yaml(made):
    import yaml

    config = yaml.safe_load((made / "synth.yaml").read_text())
    assert config["task"]["scores"]["short"]["pattern"] == "^.{1,20}$"


def test_bins_cover_every_value_once():
    for values in ([3], [1, 2, 3, 3], list(range(0, 1000, 7)), [5, 500_000]):
        found = bins(values)
        assert sum(bar.count for bar in found) == len(values)
        assert len(found) <= 24
        assert found[0].count
    assert [(bar.label, bar.count) for bar in bins([1, 2, 2, 4])] == [
        ("1", 1), ("2", 2), ("3", 0), ("4", 1),
    ]  # fmt: skip
    assert "nothing to show" in histogram([], "turns")


def test_the_official_form_is_what_the_plugin_reads_as_official(made, tmp_path):
    pytest.importorskip("datasets")
    import datasets

    from genpi_plugin.data.rows import parse

    code, printed = synth("export", made, "--official-schema", "-o", tmp_path / "official")
    assert code == 0, printed
    loaded = datasets.load_from_disk(str(tmp_path / "official"))
    assert set(loaded["train"].column_names) == {
        "context_id", "context", "pseudo_input", "student_output_single",
        "teacher_output_single", "reason", "teacher_output_conv",
    }  # fmt: skip
    ours = pq.read_table(made / TRAIN).to_pylist()
    for row, official in zip(ours, loaded["train"], strict=True):
        read, mine = parse(official, "x"), parse(row, "x")
        for name in ("prompt", "input", "floor_output", "teacher_output", "reason", "conversation"):
            assert getattr(read, name) == getattr(mine, name)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_other_forms_hold_the_same_rows(made, tmp_path, form):
    out = tmp_path / "out"
    assert synth("export", made, "--format", form, "-o", out)[0] == 0
    path = out / f"train.{form}"
    if form == "jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        rows = pq.read_table(path).to_pylist()
    assert rows == pq.read_table(made / TRAIN).to_pylist()
    code, printed = synth("export", made, "--format", form, "-o", out)
    assert code == 1
    assert "is there already" in printed


def exported(made, out, form, *more):
    code, printed = synth("export", made, "--format", form, *more, "-o", out)
    assert code == 0, printed
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]


def bare(messages):
    """Messages without the nulls that pad their columns."""
    return [{name: value for name, value in one.items() if value is not None} for one in messages]


def test_plain_conversations_are_what_the_student_is_to_do(made, tmp_path):
    rows = pq.read_table(made / TRAIN).to_pylist()
    plain = exported(made, tmp_path / "a", "messages")
    assert [one["id"] for one in plain] == [row["id"] for row in rows]
    for one, row in zip(plain, rows, strict=True):
        assert one["messages"] == [
            {"role": "user", "content": row["input"]},
            *bare(row["conversation"]),
        ]
    assert exported(made, tmp_path / "b", "openai") == [
        {"messages": one["messages"]} for one in plain
    ]
    shared = exported(made, tmp_path / "c", "sharegpt")
    assert [turn["value"] for turn in shared[0]["conversations"]] == [
        turn["content"] for turn in plain[0]["messages"]
    ]
    assert {turn["from"] for one in shared for turn in one["conversations"]} == {"human", "gpt"}


def test_plain_conversations_with_the_prompt_are_what_the_teacher_saw(made, tmp_path):
    rows = pq.read_table(made / TRAIN).to_pylist()
    whole = exported(made, tmp_path / "a", "messages", "--with-prompt")
    plain = exported(made, tmp_path / "b", "messages")
    for one, other, row in zip(whole, plain, rows, strict=True):
        assert one["messages"] == [*bare(row["prompt"]), *other["messages"]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--format", "messages", "--official-schema"), "The official scripts read no messages"),
        (("--format", "jsonl", "--with-prompt"), "--with-prompt is for plain conversations"),
    ],
)
def test_forms_that_do_not_go_together_are_refused(made, tmp_path, arguments, says):
    code, printed = synth("export", made, *arguments, "-o", tmp_path / "x")
    assert code == 1
    assert says in printed
    assert not (tmp_path / "x").exists()


def test_a_dry_run_lists_what_would_be_pushed_and_no_more(made):
    code, printed = synth("push", made, "--repo", "me/shop", "--dry-run")
    assert code == 0, printed
    names = [line.split()[-1] for line in printed.splitlines()[:-1]]
    assert names == ["README.md", TEST, TRAIN, "rejected.jsonl", "report.html", "run.json",
                     "synth.yaml"]  # fmt: skip
    assert "7 files would go to the dataset me/shop (private)" in printed


@pytest.mark.parametrize("command", ["report", "export", "push"])
def test_a_folder_without_a_dataset_is_told(tmp_path, command):
    more = {"export": ("-o", tmp_path / "x"), "push": ("--repo", "me/x")}.get(command, ())
    code, printed = synth(command, tmp_path, *more)
    assert code == 1
    assert "What to do" in printed


class Hub(ThreadingHTTPServer):
    """As much of the hub as `push` needs."""

    def __init__(self, private):
        self.private, self.created, self.files = private, [], {}
        super().__init__(("127.0.0.1", 0), self.handler())

    def handler(hub):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.reply({"id": "me/shop", "private": hub.private, "siblings": [], "tags": []})

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.endswith("/repos/create"):
                    hub.created.append(json.loads(body))
                    url = f"http://{self.headers['Host']}/datasets/me/shop"
                    self.reply({"url": url, "id": "me/shop"})
                elif "/preupload/" in self.path:
                    files = json.loads(body)["files"]
                    self.reply({"files": [{"path": file["path"], "uploadMode": "regular",
                                           "shouldIgnore": False} for file in files]})  # fmt: skip
                elif "/commit/" in self.path:
                    for line in body.decode().splitlines():
                        entry = json.loads(line)
                        if entry["key"] == "file":
                            hub.files[entry["value"]["path"]] = entry["value"]
                    url = f"http://{self.headers['Host']}/datasets/me/shop/commit/{'a' * 40}"
                    self.reply({"commitOid": "a" * 40, "commitUrl": url,
                                "success": True})  # fmt: skip
                else:
                    self.reply({"warnings": [], "errors": []})

            def reply(self, value):
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                """Not on the terminal."""

        return Handler


@pytest.mark.parametrize("private", [True, False])
def test_push_puts_the_files_into_a_private_dataset(made, private):
    pytest.importorskip("huggingface_hub")
    hub = Hub(private)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{hub.server_port}"
    done = subprocess.run(
        [sys.executable, "-m", "synth", "push", str(made), "--repo", "me/shop"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "HF_ENDPOINT": address, "HF_TOKEN": "hf_x", "HF_HUB_OFFLINE": "0",
             "HF_HUB_DISABLE_XET": "1"},
    )  # fmt: skip
    hub.shutdown()
    hub.server_close()
    # Older and newer versions of the hub's library say it in different words.
    assert hub.created[0].get("private") or hub.created[0].get("visibility") == "private"
    assert hub.created[0]["type"] == "dataset"
    if private:
        assert done.returncode == 0, done.stderr
        assert {"README.md", TRAIN, TEST, "report.html"} < set(hub.files)
        assert not {"store.sqlite", "run.log"} & set(hub.files)
    else:
        assert done.returncode == 1
        assert "is there already, and public" in done.stderr
        assert not hub.files
