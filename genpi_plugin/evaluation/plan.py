"""What an evaluation will measure: read and checked before the model loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genpi_plugin.data.messages import Message
from genpi_plugin.data.prepared import describe_prompt
from genpi_plugin.data.requests import values_of
from genpi_plugin.data.slots import names_of, slot
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures import value_scores
from genpi_plugin.evaluation.figures.call_scores import call_scores
from genpi_plugin.evaluation.figures.names import FLOOR, TEACHER
from genpi_plugin.evaluation.figures.scores import Score, make_scores
from genpi_plugin.evaluation.figures.task_scores import read_scores, scores_digest, task_scores
from genpi_plugin.evaluation.gate import check_names, known_figures
from genpi_plugin.evaluation.measuring.context import Options, Section
from genpi_plugin.evaluation.measuring.systems import System
from genpi_plugin.evaluation.sections.catalog import SECTIONS
from genpi_plugin.evaluation.settings import Settings
from genpi_plugin.evaluation.subjects.adapters import check_adapter, checkpoints, name_adapters
from genpi_plugin.evaluation.subjects.inputs import (
    HeldOut,
    held_out,
    own_inputs,
    task_of,
    validation,
)
from genpi_plugin.evaluation.subjects.prompts import read_prompts
from genpi_plugin.evaluation.subjects.whole_models import check_whole, is_whole
from genpi_plugin.training.manifest import read_manifest


@dataclass(frozen=True)
class Curve:
    """The checkpoints of a run by step, and the inputs to choose one by."""

    data: HeldOut
    checkpoints: dict[int, Path]


@dataclass(frozen=True)
class Plan:
    """One evaluation.

    Attributes:
        systems: teacher, floor, the students, and the base model with other prompts.
        adapters: of the students, by name.
        named_scores: the scores as the task defines them.
        scores_digest: changes when a score does.
    """

    data: HeldOut
    systems: list[System]
    adapters: dict[str, Path]
    scores: dict[str, Score]
    action_pattern: str | None
    named_scores: dict[str, Any]
    scores_digest: str
    sections: list[Section]
    options: Options
    curve: Curve | None
    warnings: list[str]

    @property
    def students(self) -> list[System]:
        return [system for system in self.systems if system.adapter]


def make_plan(cfg: Any, settings: Settings) -> Plan:
    """Read data, adapters, prompts and scores, and check what the sections will read.

    Raises:
        GenPIError: one of them can't be used, or a requirement names a figure that this evaluation
            does not have.
    """
    task = task_of(cfg)
    pattern = settings.action_pattern or task.get("action_pattern")
    dataset = Path(str(cfg["datasets"][0]["path"]))
    named, schemas = task.get("scores") or {}, dataset
    if settings.scores_file:
        named, schemas = read_scores(settings.scores_file), settings.scores_file.parent
    scores = {**make_scores(pattern), **task_scores(named, schemas)}
    data = held_out(cfg, settings.inputs_file, settings.limit, settings.reading)
    scores |= call_scores(data.tools) if data.tools else {}
    adapters = name_adapters(settings.adapters or (Path(cfg.output_dir),))
    others = read_prompts(
        settings.also_prompts, task.get("prompt_role", "system"), [TEACHER, FLOOR, *adapters]
    )
    systems = list_systems(data, adapters, others)
    sections = [
        section
        for section in SECTIONS
        if section.name not in settings.skip and section.wanted(settings.options)
    ]
    for section in sections:
        section.check(data.prompt, settings.options)
    planned = [section.name for section in sections]
    planned += ["checkpoints"] if settings.with_checkpoints else []
    names = [system.name for system in systems]
    figures = [*scores, *([value_scores.NAME] if any(map(values_of, data.asked)) else [])]
    check_names(settings.requirements, known_figures(figures, list(adapters), names, planned))
    return Plan(
        data=data,
        systems=systems,
        adapters=adapters,
        scores=scores,
        action_pattern=pattern,
        named_scores=named,
        scores_digest=scores_digest(named, schemas),
        sections=sections,
        options=replace(
            settings.options,
            dataset=dataset,
            adapter=next(iter(adapters.values())),
            base_model=str(cfg.base_model),
            adapters=adapters,
        ),
        warnings=[
            *data.notes,
            *_general_notes(cfg, settings, data, planned),
            *_slot_notes(data, others),
            *_warnings(data, adapters, cfg),
        ],
        curve=_curve(cfg, settings, data) if settings.with_checkpoints else None,
    )


def list_systems(
    data: HeldOut, adapters: Mapping[str, Path], others: Mapping[str, list[Message]]
) -> list[System]:
    """Teacher, floor, the students, and the base model with other prompts and the same tools."""
    return [
        System(TEACHER, data.prompt, tools=data.tools),
        System(FLOOR),
        *(System(name, adapter=folder) for name, folder in adapters.items()),
        *(System(name, other, tools=data.tools) for name, other in others.items()),
    ]


def _general_notes(
    cfg: Any, settings: Settings, data: HeldOut, planned: list[str]
) -> tuple[str, ...]:
    """What of the user's own general inputs is not used.

    Raises:
        GenPIError: they hold what starts or ends a turn.
    """
    general = settings.options.general
    if general is None or "drift" not in planned:
        return ()
    return own_inputs(general, cfg, data.prompt).notes


def _slot_notes(data: HeldOut, others: Mapping[str, list[Message]]) -> list[str]:
    """What other prompts don't say of the values of the prompt's slots, or can't."""
    names = list(values_of(data.asked[0])) if data.asked else []
    found = []
    for prompt, messages in others.items():
        own = names_of(messages)
        missing = [name for name in names if name not in own]
        unknown = [name for name in own if name not in names]
        if missing:
            found.append(
                f"the prompt {prompt} has no place for {', '.join(map(slot, missing))}: the model "
                "is not told these values with it."
            )
        if names and unknown:
            found.append(
                f"the prompt {prompt} has {', '.join(map(slot, unknown))}, for which there are no "
                "values: it is sent as it stands."
            )
    return found


def _warnings(data: HeldOut, adapters: Mapping[str, Path], cfg: Any) -> list[str]:
    found = []
    if data.in_training:
        found.append(
            f"{data.in_training} of {len(data.inputs)} inputs are in the training split too: the "
            "figures are not of held-out inputs."
        )
    for folder in adapters.values():
        found += _check_student(folder, cfg)
        manifest = read_manifest(folder) or {}
        if (manifest.get("genpi") or {}).get("teacher") == "start":
            found.append(
                f"{folder} was taught by the adapter it started from "
                f"({(manifest.get('started_from') or {}).get('adapter')}): teacher and floor of "
                "this evaluation are the base model without any adapter."
            )
        known = {prompt["sha256"] for prompt in manifest.get("prompts") or []}
        if (
            known
            and describe_prompt(data.prompt_id, data.prompt, data.tools)["sha256"] not in known
        ):
            found.append(
                f"the prompt of this evaluation is not the one in the manifest of {folder}: you "
                "are evaluating against a different prompt."
            )
    return found


def _check_student(folder: Path, cfg: Any) -> list[str]:
    if is_whole(folder):
        return check_whole(folder, str(cfg.base_model))
    found = check_adapter(folder, str(cfg.base_model))
    if not cfg.adapter:
        raise GenPIError(
            f"{folder} holds an adapter, and the config has no `adapter:`.",
            "give the config it was trained with.",
        )
    return found


def _curve(cfg: Any, settings: Settings, data: HeldOut) -> Curve:
    if not cfg.adapter:
        raise GenPIError(
            "`--checkpoints` compares a run's adapters, and this config trains a whole model.",
            "name some of its checkpoints, all of which are held in memory: `--adapter DIR "
            "--adapter DIR`.",
        )
    folders = checkpoints(Path(cfg.output_dir))
    for folder in folders.values():
        check_adapter(folder, str(cfg.base_model))
    own_inputs = settings.inputs_file is not None
    return Curve(validation(cfg, data, own_inputs, settings.limit), folders)
