"""The command line, run in this process and in one of its own, and what it wrote."""

import signal
import subprocess
import sys

import pyarrow.parquet as pq
from click.testing import CliRunner

from synth.cli.commands import main
from synth.engines.messages import as_messages
from tests import ROOT
from tests.synth.scripted import shop, stage_of

TRAIN = "data/train-00000-of-00001.parquet"
TEST = "data/test-00000-of-00001.parquet"


def answers(messages):
    return shop(as_messages(messages))


def synth(*arguments):
    """Run the command line in this process; (exit code, what was printed)."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def run_command(task, folder, server, *more):
    return "run", task, "-o", folder, "--model", "m", "--base-url", server.url, *more


def process(*arguments):
    """Start the command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "synth", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Where the tests themselves run in the background, Ctrl-C is off, and children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def rows_of(folder):
    return pq.read_table(folder / TRAIN).to_pylist()


def bytes_of(folder):
    return [(folder / name).read_bytes() for name in (TRAIN, TEST, "rejected.jsonl")]


def bytes_of_train(folder):
    return (folder / TRAIN).read_bytes()


def stage_of_body(body):
    return stage_of(as_messages(body["messages"]))
