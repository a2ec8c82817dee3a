"""What every section of an evaluation is measured with, and what a section is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from genpi_plugin.data.rows import Message
from genpi_plugin.evaluation.figures.measured import Measured
from genpi_plugin.evaluation.figures.scores import Score
from genpi_plugin.evaluation.measuring.measure import Progress
from genpi_plugin.evaluation.subjects.inputs import HeldOut
from genpi_plugin.evaluation.subjects.subject import Subject


@dataclass(frozen=True)
class Context:
    """What a section is measured with.

    Attributes:
        data: inputs, prompt, and the conversations that go on from the inputs.
        teacher: the prompt in the request, adapter off.
        floor: neither.
        students: adapter on, no prompt; `student` when there is one, else the adapters' names.
        measured: what floor, teacher and students did on the inputs.
        scores: task scores by name.
        max_new_tokens: limit of an answer.
        progress: `progress(label, total)` gives a context manager, which gives `advance(n)`.
        seed: for everything drawn.
        untouched: loads the base model once more, without any adapter.
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
    untouched: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Options:
    """What the command line and the config say about the sections.

    Attributes:
        recitals: how often to ask for the prompt.
        clauses: a file of the user's own clauses.
        general: a file of inputs that the prompt is not about.
        attacks: a file of further attacks.
        server: URL of a server to measure cost on; the names it gives model and adapter.
        dataset, adapter, base_model: the training data, the first adapter, and the base model.
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


@dataclass(frozen=True)
class Section:
    """A part of the report: measured once, summarized by a pure function.

    Attributes:
        name: its key in `metrics.json` and in `details.json`; `--skip` takes it.
        measure: (context, options) -> a frozen dataclass, or a list of them, of what was seen;
            None where there is nothing to measure.
        summarize: (what was seen, seed) -> figures with intervals, JSON types.
        depends: of the options, what the result depends on beside the context: JSON types, and
            `Path`s, of which a file counts by its content.
        check: (prompt, options) -> nothing; raises where the options can't be used, before any
            model loads.
        details: its key in `details.json` where that is another one.
    """

    name: str
    measure: Callable[[Context, Options], Any]
    summarize: Callable[[Any, int], Any]
    depends: Callable[[Options], Any] = lambda options: None
    check: Callable[[list[Message], Options], Any] = lambda prompt, options: None
    details: str = ""


def as_json(seen: Any) -> Any:
    """Dataclasses as mappings, at any depth."""
    if is_dataclass(seen) and not isinstance(seen, type):
        return asdict(seen)
    if isinstance(seen, list | tuple):
        return [as_json(item) for item in seen]
    if isinstance(seen, dict):
        return {key: as_json(value) for key, value in seen.items()}
    return seen
