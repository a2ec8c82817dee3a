"""Tasks of lm-evaluation-harness in files of one's own."""

from __future__ import annotations

from pathlib import Path

import yaml

from genpi_plugin.errors import GenPIError

YAML = (".yaml", ".yml")
# What a task's folder may hold that decides its figures.
CODE = {*YAML, ".py"}


def task_of(path: Path) -> str:
    """The name of the task, or of the group of tasks, in a YAML file of the harness.

    Raises:
        GenPIError: the file can't be read, the harness would not find it, or it names none.
    """
    if path.suffix == ".yml":
        raise GenPIError(
            f"lm-evaluation-harness finds no task in {path}: it looks into files in .yaml.",
            f"rename it to {path.with_suffix('.yaml')}.",
        )
    try:
        # The harness's own tags (`!function`) don't matter here.
        found = yaml.load(path.read_text(encoding="utf-8"), _Untagged)
    except (OSError, yaml.YAMLError) as error:
        raise GenPIError(
            f"the benchmark's file {path} can't be read: {error}.", "correct its path or its YAML."
        ) from error
    name = found.get("task") if isinstance(found, dict) else None
    if isinstance(name, list):
        name = found.get("group")
    if not isinstance(name, str):
        raise GenPIError(
            f"{path} names no task.",
            "write `task: NAME`, as lm-evaluation-harness expects it; of a group of tasks, "
            "`group: NAME` and `task: [TASK, ...]`.",
        )
    return name


class _Untagged(yaml.SafeLoader):
    """YAML with tags of others, which count as null."""


_Untagged.add_multi_constructor("!", lambda loader, suffix, node: None)
