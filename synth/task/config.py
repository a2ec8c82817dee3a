"""`task.yml` as a whole: each field, its default and meaning. Reading it is in `taskfile.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from genpi_plugin.data.slots import NAME
from synth.engines.base import Sampling
from synth.store.rows import STAGES
from synth.task.fields import FILTERS, Refusing, Regex, Text, known
from synth.task.sections import Conversations, Inputs, Outputs, Reasons, Score, Section, Split
from synth.task.slot_config import Kept, Source

BEFORE_SHARES = 1.0  # what `reasons.share` was before there was one


def _unswitched(value: Any) -> Any:
    """The word that YAML reads as a truth: `off` is its false."""
    return "off" if value is False else value


class TaskConfig(Section):
    """The whole of task.yml."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="letters, digits, _.-")
    description: str = Field(default="", description="one line")
    prompt: Text = Field(default="prompt.md", description="the prompt's file, beside task.yml")
    tools: Text | None = Field(
        default=None,
        description="a JSON file beside task.yml: the tools that go with the prompt, a list of "
        "schemas in OpenAI's form",
    )
    prompt_role: Literal["system", "user"] = Field(
        default="system",
        description="how a plain-text prompt and synth's own instructions are sent; user where "
        "the chat template takes no system turn",
    )
    slots: dict[Annotated[str, Field(pattern=rf"^{NAME}$")], Source] = Field(
        default={},
        description="where the values of the prompt's slots, `{{ name }}`, come from, by name: "
        "`[a, b]`, `{file: ..., column: ...}`, `{python: module:function}`, `{generator: ...}`, "
        "`{now: {from, to, format}}` or `{number: {from, to, format}}`",
    )
    kept: Kept = Kept()
    action_pattern: Regex | None = Field(
        default=None,
        description="what a well-formed answer contains; the group `action`, or the whole match, "
        "is the action that is compared",
    )
    thinking: Annotated[Literal["keep", "off"], BeforeValidator(_unswitched)] = Field(
        default="keep",
        description="what becomes of the target's thoughts: `keep` makes them a part of its "
        "answers, which is trained; with `off` it is asked not to think, and an answer that thinks "
        "nevertheless is rejected",
    )
    scores: dict[str, Score] = Field(
        default={},
        description="scores of your own for the evaluation, by name: `{pattern: ...}`, "
        "`{json_schema: {...}}` or `{python: module:function}`",
    )
    reject_refusals: tuple[Refusing, ...] = Field(
        default=("inputs", "reasons", "conversations"),
        description='where a text that refuses ("As an AI language model, I can\'t ...") is '
        "dropped; add `outputs` for a teacher that must never refuse",
    )
    filters: tuple[Annotated[str, known(FILTERS, "filter")], ...] = Field(
        default=FILTERS,
        description="what judges rows: shipped filters by name, your own as `module:function`, "
        "which takes a row and returns None, or the reason to reject it",
    )
    stages: tuple[Annotated[str, known(STAGES, "stage")], ...] = Field(
        default=STAGES,
        description="what a row goes through: shipped stages by name, your own as `module:name`",
    )
    inputs: Inputs = Inputs()
    outputs: Outputs = Outputs()
    reasons: Reasons = Reasons()
    conversations: Conversations = Conversations()
    split: Split = Split()

    @property
    def target_sampling(self) -> Sampling:
        """How the target answers, in all turns."""
        return replace(self.outputs.sampling, thinking=self.thinking == "keep")

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages as they are counted and shown: of `module:name`, the name."""
        return tuple(name.rpartition(":")[2] for name in self.stages)

    @model_validator(mode="after")
    def _agrees(self) -> TaskConfig:
        if self.outputs.require_action and self.action_pattern is None and self.tools is None:
            raise ValueError("outputs.require_action needs an action_pattern, or tools")
        if self.conversations.require_end and self.conversations.max_turns == 1:
            raise ValueError("conversations.require_end goes with a max_turns above 1")
        if self.outputs.require_action and "require_action" not in self.filters:
            raise ValueError("outputs.require_action needs `require_action` among the filters")
        if self.stages[:1] != STAGES[:1]:
            raise ValueError("stages begins with `inputs`, which makes the rows")
        for key, names in (("filters", self.filters), ("stages", self.stage_names)):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"{key} names {', '.join(twice)} twice")
        return self

    @classmethod
    def of_run(cls, recorded: Mapping[str, Any]) -> TaskConfig:
        """The task in the synth.yaml of a run, whose version may not have had all keys: they are
        at what was done without them.

        Raises:
            ValidationError: it had a key that is gone.
        """
        reasons = recorded.get("reasons") or {}
        data = {**recorded, "reasons": {"share": BEFORE_SHARES, **reasons}}
        if slots := recorded.get("slots"):
            data["slots"] = {name: _with_own_count(source) for name, source in slots.items()}
        return cls.model_validate(data)


def _with_own_count(source: Any) -> Any:
    """A source without the `count` that was recorded of every one, and means none but
    generators."""
    if not isinstance(source, Mapping) or source.get("generator") is not None:
        return source
    return {key: value for key, value in source.items() if key != "count"}
