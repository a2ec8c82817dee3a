"""`thinking` in task.yml and on the command line, where YAML reads `off` as no."""

from __future__ import annotations

import pytest

from synth.errors import TaskError
from synth.task.taskfile import load_task, parse_override
from tests.synth.scripted import write_task


@pytest.mark.parametrize(("line", "read"), [("thinking: off", "off"), ("thinking: keep", "keep"),
                                            ("thinking: 'off'", "off"), ("", "keep")])  # fmt: skip
def test_the_words_are_read_as_they_are_written(tmp_path, line, read):
    folder = write_task(tmp_path / "t")
    path = folder / "task.yml"
    path.write_text(f"{path.read_text()}{line}\n")
    config = load_task(str(folder)).config
    assert config.thinking == read
    assert config.target_sampling.thinking is (read == "keep")
    assert type(config).of_run(config.model_dump(mode="json")).thinking == read


def test_so_is_the_command_lines(tmp_path):
    folder = write_task(tmp_path / "t")
    task = load_task(str(folder), dict([parse_override("thinking=off")]))
    assert task.config.thinking == "off"
    with pytest.raises(TaskError, match="'keep' or 'off'"):
        load_task(str(folder), dict([parse_override("thinking=on")]))
