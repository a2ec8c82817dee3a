"""The systems of an evaluation, and their answers and divergences; measured once, then stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from genpi_plugin.data import digests, templates
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.messages import Message
from genpi_plugin.data.prepared import TOKEN_KEYS, tokenizer_files
from genpi_plugin.data.requests import values_of
from genpi_plugin.data.thoughts import marks_in
from genpi_plugin.data.tools import Tool
from genpi_plugin.evaluation.figures.measured import Generated, Measured, OwnPath, gather
from genpi_plugin.evaluation.figures.names import FLOOR
from genpi_plugin.evaluation.figures.scores import Score
from genpi_plugin.evaluation.measuring.cache import Cache, code_digest, core_digest
from genpi_plugin.evaluation.measuring.context import Remember, as_json
from genpi_plugin.evaluation.measuring.measure import (
    Progress,
    answer_all,
    divergence_sums,
    own_path,
)
from genpi_plugin.evaluation.subjects.adapters import adapter_digest
from genpi_plugin.evaluation.subjects.inputs import HeldOut
from genpi_plugin.evaluation.subjects.load import (
    add_adapter,
    load_base,
    load_model,
    load_tokenizer,
    load_whole,
)
from genpi_plugin.evaluation.subjects.subject import Input, Subject
from genpi_plugin.evaluation.subjects.whole_models import is_whole, whole_digest
from genpi_plugin.teacher.opening import model_digest


@dataclass(frozen=True)
class System:
    """The base model with a prompt, with an adapter, or with neither; or a whole model that was
    trained from it, in the adapter's place."""

    name: str
    prompt: list[Message] = field(default_factory=list)
    adapter: Path | None = None
    tools: list[Tool] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """What its answers depend on besides the base model. Its name does not count."""
        return {
            "prompt": self.prompt,
            **({"tools": self.tools} if self.tools else {}),
            "adapter": _digest(self.adapter) if self.adapter else None,
        }


def _digest(folder: Path) -> str:
    return whole_digest(folder) if is_whole(folder) else adapter_digest(folder)


class SubjectLoader:
    """Gives the systems ready to answer; the model is loaded when the first one is needed."""

    def __init__(
        self, cfg: Any, students: Sequence[Path], batch_size: int, own: Sequence[str] = ()
    ) -> None:
        """
        Args:
            students: folders of adapters and of whole models.
            own: see `Subject`.
        """
        self.cfg = cfg
        self.own = tuple(own)
        self.first_adapter = next((one for one in students if not is_whole(one)), None)
        self.batch_size = batch_size
        self.facts = {
            "model": model_digest(cfg, None),
            "tokens": {key: cfg.get(key) for key in TOKEN_KEYS},
            # The embeddings of new tokens are drawn from it.
            "seed": cfg.get("seed") if cfg.get("tokens") or cfg.get("special_tokens") else None,
            "tokenizer": digests.of_files(tokenizer_files(cfg)),
            "template": templates.facts(cfg),
            "code": core_digest(),
            **({"own": marks} if (marks := marks_in(own)) else {}),
        }
        self._loaded: tuple[Any, ChatView] | None = None
        self._adapters: dict[Path, str] = {}
        self._subjects: dict[str, Subject] = {}

    def subject(self, system: System) -> Subject:
        """The system, ready to answer; later calls get the same one, with its cached prompt.

        Raises:
            GenPIError: its adapter does not fit the model.
        """
        if system.name not in self._subjects:
            self._subjects[system.name] = self._make(system)
        return self._subjects[system.name]

    @property
    def load_base_model(self) -> Callable[[], Any] | None:
        """Loads a second copy of the base model, without any adapter; None where there is none on
        the first."""
        return partial(load_base, self.cfg) if self.first_adapter else None

    def _make(self, system: System) -> Subject:
        model, view = self._base()
        switched_on: str | bool = False
        if system.adapter is not None and is_whole(system.adapter):
            model = load_whole(self.cfg, system.adapter, model)
        elif system.adapter is not None:
            switched_on = self._adapter(model, system.adapter)
        return Subject(
            system.name, model, view, system.prompt, switched_on, self.batch_size, system.tools,
            self.own,
        )  # fmt: skip

    def _base(self) -> tuple[Any, ChatView]:
        """The base model, with the first adapter on it where there is one, and its view."""
        if self._loaded is None:
            if self.first_adapter is None:
                model, tokenizer = load_base(self.cfg), load_tokenizer(self.cfg)
            else:
                model, tokenizer = load_model(self.cfg, self.first_adapter)
                self._adapters[self.first_adapter] = model.active_adapters[0]
            self._loaded = model, ChatView(tokenizer, self.cfg.get("chat_template_kwargs"))
        return self._loaded

    def _adapter(self, model: Any, folder: Path) -> str:
        """The name of an adapter in the model; loaded where it is not there yet."""
        if folder not in self._adapters:
            name = f"adapter_{len(self._adapters)}"
            add_adapter(model, name, folder)
            self._adapters[folder] = name
        return self._adapters[folder]


def measure_systems(
    loader: SubjectLoader,
    cache: Cache,
    data: HeldOut,
    systems: Sequence[System],
    scores: Mapping[str, Score],
    max_new_tokens: int,
    progress: Progress,
) -> Measured:
    """As `measure`, but measures only the parts that are not in the cache.

    Args:
        data: what is asked.
        systems: the teacher first.
    """
    inputs = data.asked
    facts = {**loader.facts, "inputs": as_json(inputs), "max_new_tokens": max_new_tokens}
    answers, request_tokens = {}, {}
    for system in systems:

        def answered(system: System = system) -> dict[str, Any]:
            subject = loader.subject(system)
            given = answer_all(subject, inputs, max_new_tokens, progress)
            lengths = [len(request) for request in subject.requests(inputs)]
            return {"answers": [asdict(one) for one in given], "request_tokens": lengths}

        part = cache.part("answers", {**facts, **system.facts()}, answered)
        answers[system.name] = [Generated(**one) for one in part["answers"]]
        request_tokens[system.name] = part["request_tokens"]
    teacher, others = systems[0], systems[1:]
    divergence_facts = {s.name: {**facts, **s.facts(), "teacher": teacher.facts()} for s in others}
    missing = [s for s in others if not cache.has("divergence", divergence_facts[s.name])]
    found: dict[str, list[float]] = {}
    if missing:
        subjects = [loader.subject(system) for system in missing]
        found = divergence_sums(
            inputs, loader.subject(teacher), subjects, answers[teacher.name], progress
        )
    sums = {
        name: cache.part("divergence", its_facts, partial(found.__getitem__, name))
        for name, its_facts in divergence_facts.items()
    }
    floor = next(system for system in others if system.name == FLOOR)
    along_own = {}
    for system in others:

        def along(system: System = system) -> dict[str, Any]:
            truth, bare, mine = (loader.subject(one) for one in (teacher, floor, system))
            return asdict(own_path(inputs, truth, bare, mine, answers[system.name], progress))

        own_facts = {**divergence_facts[system.name], "floor": floor.facts()}
        along_own[system.name] = OwnPath(**cache.part("own-path", own_facts, along))
    values = [values_of(one) for one in inputs]
    return gather(
        data.inputs, answers, sums, request_tokens, scores, teacher.name,
        values=values, ids=data.ids, own_path=along_own,
    )  # fmt: skip


def remembering(loader: SubjectLoader, cache: Cache, systems: Sequence[System]) -> Remember:
    """What gives the sections the systems' answers: those that are stored, or made and stored.

    They are stored by system, so that another adapter's evaluation finds the teacher's and the
    floor's.
    """
    code, by_name = code_digest(), {system.name: system for system in systems}

    def remember(
        subject: Subject, inputs: Sequence[Input], facts: Any, make: Callable[[], list[Generated]]
    ) -> list[Generated]:
        depends = {**loader.facts, "code": code, "inputs": as_json(inputs), "facts": facts}
        depends |= by_name[subject.name].facts()
        part = cache.part("section-answers", depends, lambda: [asdict(one) for one in make()])
        return [Generated(**one) for one in part]

    return remember
