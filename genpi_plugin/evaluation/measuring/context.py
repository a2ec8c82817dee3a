"""What every section of an evaluation is measured with, and what a section consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from genpi_plugin.data.messages import Message
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures.measured import Generated, Measured
from genpi_plugin.evaluation.figures.scores import Score
from genpi_plugin.evaluation.measuring.measure import Progress
from genpi_plugin.evaluation.subjects.inputs import HeldOut
from genpi_plugin.evaluation.subjects.subject import Input, Subject

# (system, inputs, what its answers to them depend on besides, how they are made) -> the answers
Remember = Callable[[Subject, Sequence[Input], Any, Callable[[], list[Generated]]], list[Generated]]


def make_anew(
    system: Subject, inputs: Sequence[Input], facts: Any, make: Callable[[], list[Generated]]
) -> list[Generated]:
    """The answers, made; nothing is remembered."""
    return make()


@dataclass(frozen=True)
class Context:
    """What a section is measured with.

    Attributes:
        data: inputs, prompt, and the conversations that continue from the inputs.
        teacher: the prompt in the request, adapter off.
        floor: neither.
        students: adapter on, no prompt; `student` when there is one, else the adapters' names.
        measured: answers and divergences of floor, teacher and students on the inputs.
        scores: task scores by name.
        max_new_tokens: limit of an answer.
        progress: `progress(label, total)` gives a context manager, which gives `advance(n)`.
        seed: of all random draws.
        load_base_model: loads a second copy of the base model, without any adapter.
        remember: gives a system's answers, and makes those that no earlier evaluation has made:
            the teacher's and the floor's are the same for every adapter.
    """

    data: HeldOut
    teacher: Subject
    floor: Subject
    students: list[Subject]
    measured: Measured
    scores: dict[str, Score]
    max_new_tokens: int
    progress: Progress
    seed: int
    load_base_model: Callable[[], Any] | None = None
    remember: Remember = make_anew


@dataclass(frozen=True)
class Options:
    """Options of the sections, from the command line and the config.

    Attributes:
        recitals: how often to ask for the prompt.
        clauses: a file of the user's own clauses.
        general: a file of inputs that the prompt is not about.
        attacks: a file of further attacks.
        server, server_model, server_adapter: URL of a server to measure cost on, and its names for
            model and adapter.
        dataset, adapter, base_model: the training data, the first adapter, and the base model.
        adapters: of the students, by name.
        benchmarks, benchmark_limit: tasks of lm-evaluation-harness, and how many items of each.
    """

    recitals: int = 3
    clauses: Path | None = None
    general: Path | None = None
    attacks: Path | None = None
    server: str | None = None
    server_model: str | None = None
    server_adapter: str | None = None
    dataset: Path = Path()
    adapter: Path = Path()
    base_model: str = ""
    adapters: Mapping[str, Path] = field(default_factory=dict)
    benchmarks: tuple[str, ...] = ()
    benchmark_limit: int | None = None


class NotMeasured(GenPIError):
    """A section that failed through code which is not ours; the report is written without it."""


@dataclass(frozen=True)
class Section:
    """A part of the report: measured once, summarized by a pure function.

    Attributes:
        name: its key in `metrics.json` and in `details.json`; `--skip` takes it.
        measure: (context, options) -> a frozen dataclass of raw measurements, or a list of
            them; None where there is nothing to measure.
        summarize: (raw measurements, seed) -> figures with intervals, JSON types.
        depends: of the options, what the result depends on besides the context: JSON types, and
            `Path`s, of which a file counts by its content.
        check: (prompt, options) -> nothing; raises where the options can't be used, before any
            model loads.
        details: its key in `details.json` where that is another one.
        wanted: (options) -> whether it is measured at all.
    """

    name: str
    measure: Callable[[Context, Options], Any]
    summarize: Callable[[Any, int], Any]
    depends: Callable[[Options], Any] = lambda options: None
    check: Callable[[list[Message], Options], Any] = lambda prompt, options: None
    details: str = ""
    wanted: Callable[[Options], bool] = lambda options: True


def as_json(value: Any) -> Any:
    """Dataclasses as mappings, at any depth."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    return value
