"""Tasks of lm-evaluation-harness (`lm_eval`) run on a system of this evaluation.

The harness is given the model that is loaded already, in the system's state; it is imported when a
benchmark is asked for and not before.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.measuring.context import NotMeasured
from genpi_plugin.evaluation.sections.harness_files import CODE, YAML, task_of
from genpi_plugin.evaluation.sections.harness_model import make_model, without_noise
from genpi_plugin.evaluation.subjects.subject import Subject


@dataclass(frozen=True)
class Result:
    """One figure of one benchmark for one system.

    Attributes:
        n: the benchmark's items; a group's are those of its tasks.
        stderr: the harness's; None where it gives none.
        by_item: its value for each item, where the figure is their mean.
        cut: the benchmark's requests that lost their beginning, as the model takes fewer tokens.
    """

    value: float
    stderr: float | None
    n: int
    higher_is_better: bool
    by_item: list[float] | None
    cut: int = 0


@dataclass(frozen=True)
class Scored:
    """Of one system.

    Attributes:
        results: by task and group, by figure.
        groups: by group, its tasks and groups.
    """

    results: dict[str, dict[str, Result]]
    groups: dict[str, list[str]]


def harness_version() -> str | None:
    """The version of the harness; None where it is not installed."""
    try:
        return version("lm_eval")
    except PackageNotFoundError:
        return None


def check_benchmarks(names: Sequence[str]) -> None:
    """Before any model loads: is the harness there, does it know the tasks, is their data there?

    Args:
        names: of its tasks and groups, or YAML files of tasks.

    Raises:
        GenPIError: one of them is not there, or runs code that a model wrote.
    """
    if names:
        for name, task in _tasks(_load(tuple(names))):
            if getattr(task.config, "unsafe_code", False):
                raise GenPIError(
                    f"the benchmark {name} runs code that the model writes.",
                    "run it with `lm_eval --confirm_run_unsafe_code` in a sandbox of your own.",
                )


def benchmark_facts(names: Sequence[str]) -> list[Any]:
    """What the figures depend on besides the model: the harness, the tasks and their data.

    A file of one's own is a `Path`, which counts by its content, and so do code and YAML beside it
    and beside the tasks that it names.
    """
    if not names:
        return []
    loaded = _tasks(_load(tuple(names)))
    return [
        harness_version(),
        list(names),
        _own_files(names, [name for name, _ in loaded]),
        [[name, _fingerprints(task)] for name, task in loaded],
    ]


def _own_files(names: Sequence[str], tasks: Sequence[str]) -> list[Path]:
    """Of benchmarks given as files: whatever code or YAML their folders hold."""
    files = [Path(name).resolve() for name in names if name.endswith(YAML)]
    if not files:
        return []
    folders = {file.parent for file in files}
    index = _manager(tuple(names))[1].task_index
    found = {str(index.get(task, {}).get("yaml_path", "")) for task in tasks}
    for folder in {Path(path).resolve().parent for path in found if path.endswith(YAML)}:
        if any(folder.is_relative_to(own) for own in tuple(folders)):
            folders.add(folder)
    return sorted(file for folder in folders for file in folder.iterdir() if file.suffix in CODE)


def _fingerprints(task: Any) -> dict[str, str]:
    """By split, the mark by which `datasets` tells data that has changed."""
    splits = dict(getattr(task, "dataset", None) or {})
    return {str(split): str(getattr(rows, "_fingerprint", "")) for split, rows in splits.items()}


def run_benchmarks(
    subject: Subject, names: Sequence[str], limit: int | None, kwargs: Mapping[str, Any], seed: int
) -> Scored:
    """What a system scores.

    Args:
        limit: items of each task; None takes all.
        kwargs: of the chat template.
        seed: of few-shot examples, and of sampling where a task samples.

    Raises:
        NotMeasured: the harness, or a task's own code, failed.
    """
    names, manager = _manager(tuple(names))
    scored = Scored({}, {})
    with subject.switched(), without_noise():
        for name in names:
            try:
                # Each on its own, so that a failure has a name.
                found = _scored(make_model(subject, kwargs), name, limit, manager, seed)
            except Exception as error:  # whatever the harness or a task's own code raise
                reason = next(iter(str(error).splitlines()), "") or "it says no more"
                raise NotMeasured(
                    f"the benchmark {name} failed on {subject.name}: "
                    f"{type(error).__name__}: {reason}.",
                    f"correct the task, or leave {name} out; what has been measured is kept.",
                ) from error
            scored.results.update(found.results)
            scored.groups.update(found.groups)
    return scored


def _scored(model: Any, name: str, limit: int | None, manager: Any, seed: int) -> Scored:
    from lm_eval import simple_evaluate

    found = simple_evaluate(
        model, tasks=[name], limit=limit, task_manager=manager, apply_chat_template=True,
        random_seed=seed, numpy_random_seed=seed, torch_random_seed=seed, fewshot_random_seed=seed,
    )  # fmt: skip
    groups = {
        str(group): [str(task) for task in tasks]
        for group, tasks in found.get("group_subtasks", {}).items()
        if tasks
    }
    results = {
        task: results
        for task, figures in found["results"].items()
        if (results := _results(task, figures, found, _parts(task, groups), model.cut))
    }
    return Scored(results, groups)


def _parts(task: str, groups: Mapping[str, Sequence[str]]) -> set[str]:
    """The tasks of a group, at any depth; of a task, itself."""
    if task not in groups:
        return {task}
    return {part for its in groups[task] for part in _parts(its, groups)}


def _results(
    task: str,
    figures: Mapping[str, Any],
    found: Mapping[str, Any],
    parts: set[str],
    cut: Mapping[str, int],
) -> dict[str, Result]:
    better = found.get("higher_is_better", {}).get(task, {})
    sizes = found["n-samples"]
    results = {}
    for key, value in figures.items():
        metric, comma, filtered = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        stderr = figures.get(f"{metric}_stderr,{filtered}")
        samples = (found.get("samples") or {}).get(task) or []
        results[metric if filtered == "none" else f"{metric}_{filtered}"] = Result(
            value=float(value),
            stderr=float(stderr) if isinstance(stderr, int | float) else None,
            n=sum(int(sizes[part]["effective"]) for part in parts),
            higher_is_better=better.get(metric) is not False,
            by_item=_by_item(samples, metric, filtered, float(value)),
            cut=sum(cut.get(part, 0) for part in parts),
        )
    return results


def _by_item(
    samples: Sequence[Mapping[str, Any]], metric: str, filtered: str, mean: float
) -> list[float] | None:
    """The figure of each item in the task's order; None where their mean is not the figure."""
    own = [one for one in samples if one.get("filter", filtered) == filtered and metric in one]
    own.sort(key=lambda one: one["doc_id"])
    values = [one[metric] for one in own]
    if not values or not all(isinstance(value, int | float) for value in values):
        return None
    numbers = [float(value) for value in values]
    return numbers if abs(sum(numbers) / len(numbers) - mean) < 1e-6 else None


@functools.cache
def _manager(names: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
    """The tasks' names, of YAML files those in them, and what the harness knows tasks by."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise GenPIError(
            f"`--benchmarks` hands the models to lm-evaluation-harness, which can't be imported: "
            f"{error}.",
            "pip install 'axolotl-genpi[benchmarks]', or leave `--benchmarks` out.",
        ) from error
    files = {name: Path(name) for name in names if name.endswith(YAML)}
    own = {name: task_of(path) for name, path in files.items()}
    folders = sorted({str(path.resolve().parent) for path in files.values()})
    manager = TaskManager(include_path=folders or None)
    called = tuple(own.get(name, name) for name in names)
    for name in called:
        if name not in manager.all_tasks:
            raise GenPIError(
                f"lm-evaluation-harness {harness_version()} has no benchmark {name!r}.",
                "`lm_eval ls tasks` lists them; a task of your own is given as its YAML file.",
            )
    return called, manager


@functools.cache
def _load(names: tuple[str, ...]) -> dict[Any, Any]:
    """The tasks with their data."""
    called, manager = _manager(names)
    from lm_eval.tasks import get_task_dict

    loaded: dict[Any, Any] = {}
    for name in called:
        try:
            loaded |= get_task_dict([name], manager)
        except ImportError as error:
            raise GenPIError(
                f"the benchmark {name} needs a package that is not there: {error}.",
                f"install it, or pip install 'lm_eval[{name}]'.",
            ) from error
        except Exception as error:  # whatever the harness, `datasets` or a task's own code raise
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise GenPIError(
                f"the data of the benchmark {name} can't be loaded: {reason}",
                "load it once where there is a network, with the same HF_HOME and without "
                f"HF_HUB_OFFLINE (`lm_eval validate --tasks {name}` names what is wrong with a "
                "task of your own), or leave it out.",
            ) from error
    return loaded


def _tasks(loaded: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    """The tasks of groups, at any depth."""
    found = []
    for name, task in loaded.items():
        found += _tasks(task) if isinstance(task, dict) else [(str(name), task)]
    return found
