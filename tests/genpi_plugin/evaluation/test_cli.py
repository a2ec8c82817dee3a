"""`axolotl genpi-eval`: messages and exit codes."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from genpi_plugin.evaluation.cli import main
from tests.genpi_plugin.evaluation.run_made import OTHERS


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--skip", "turns,clause"], "'clause' is not one of"),
        (["--inputs", "empty.jsonl"], "empty.jsonl holds no inputs"),
        (["--inputs", "no.jsonl"], "no.jsonl can't be read: No such file"),
        (["--scores", "c.yml"], "can't be the name of a score|write one of"),
        (["--clause-file", "clauses.yml"], "the clause 'rule': 'Never do.' occurs 0 times"),
        (["--general", "empty.jsonl"], "empty.jsonl holds no inputs"),
        (["--attacks", "empty.jsonl"], "empty.jsonl holds no attacks"),
    ],
)
def test_the_command_line_says_what_to_do(place, no_model, arguments, says):
    no_model()
    (place / "empty.jsonl").write_text("\n")
    (place / "clauses.yml").write_text("rule: Never do.\n")
    done = CliRunner().invoke(main, ["c.yml", "--adapter", "adapters/a", *arguments])
    assert done.exit_code in (1, 2)
    assert re.search(says, done.output), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_a_requirement_passes_and_fails_by_its_exit_code(place):
    plain = ["c.yml", "--adapter", "adapters/a", "--skip", ",".join([*OTHERS, "recitation"]),
             "--max-new-tokens", "12", "-o", "report"]  # fmt: skip
    passed = CliRunner().invoke(main, [*plain, "--require", "systems.teacher.internalization>=1"])
    assert passed.exit_code == 0, passed.output
    failed = CliRunner().invoke(main, [*plain, "--require", "internalization>=0.9"])
    assert failed.exit_code == 1
    assert "not met: internalization>=0.9" in failed.output
