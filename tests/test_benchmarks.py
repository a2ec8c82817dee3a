"""What the benchmarks refuse, rather than print figures of something else."""

import sys

import pytest

from benchmarks import calls, served_tokens
from tests.synth.server import serve
from tests.tiny import save_tiny


def test_calls_has_so_many_requests_and_no_two_alike(monkeypatch, capsys):
    assert len(set(calls.requests(calls.MOST))) == calls.MOST
    argv = ["calls", "--model", "m", "--rows", str(calls.MOST + 1)]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit):
        calls.main()
    assert f"--rows is 1 to {calls.MOST}" in capsys.readouterr().err


def test_calls_takes_no_adapter_of_other_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(calls, "OUT", tmp_path)
    before = "\n".join(calls.requests(20)) + "\n"
    (tmp_path / "inputs.txt").write_text(before)
    with pytest.raises(SystemExit, match="--rows 20 to go on"):
        calls.make(tmp_path / "model", 30)
    assert (tmp_path / "inputs.txt").read_text() == before


def test_served_tokens_says_where_no_tokens_were_told(tmp_path, monkeypatch, capsys):
    model = str(save_tiny(tmp_path / "m"))
    with serve(lambda messages: "Grey ones.", models=(model,)) as server:
        argv = ["served_tokens", "--model", model, "--base-url", server.url,
                "--answer-tokens", "3"]  # fmt: skip
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit, match="the tokens of no answer"):
            served_tokens.main()
    printed = capsys.readouterr().out
    assert "15 requests" in printed
    assert "same tokens" not in printed
