"""`task.yml`: every field with its default and meaning. Reading it is in `taskfile.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from genpi_plugin.data.slots import NAME
from synth.engines.base import Sampling
from synth.store.rows import STAGES
from synth.task.fields import FILTERS, Refusing, Regex, Text, known, wrap_template
from synth.task.slot_config import Kept, Source

REASON_SYSTEM = """\
You compare two answers that one model gave to the same input: once without a prompt, and once \
with the prompt you are shown. Say why the prompt turned the first answer into the second. Point \
to the rules, formats or examples in the prompt that made the difference, and to the words of \
the answer in which it shows. Write about 5 sentences, and nothing else."""


# The share of rows that the plugin trains to recite, unless told: `prompt_generation_share` in
# genpi_plugin/args.py. A reason of another row is never read.
TRAINED_SHARE = 0.25
THE_USER = "the user of the application"
# How `conversations.environment` is given; the words stand in the places of pydantic's errors.
AS_TEXT, AS_CODE = "as text", "as code"
BEFORE_SHARES = 1.0  # what `reasons.share` was before there was one


def _unswitched(value: Any) -> Any:
    """The word that YAML reads as a truth: `off` is its false."""
    return "off" if value is False else value


class Section(BaseModel):
    """A part of task.yml: no key but its own, and no change once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sampled(Section):
    """A stage that asks a model."""

    temperature: float = Field(default=0.0, ge=0, le=5, description="0 takes the likeliest token")
    top_p: float = Field(default=1.0, gt=0, le=1, description="draw from the likeliest tokens only")
    max_tokens: int = Field(default=1024, ge=1, description="an answer cut here is not trained on")
    request_args: dict[str, Any] = Field(
        default={},
        description="more fields of this stage's requests to a server, or others, over "
        "`--request-args`; null leaves one out",
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default={},
        description="arguments of the chat template for this stage, over `--chat-template-kwargs`",
    )

    @property
    def sampling(self) -> Sampling:
        """These fields as a request takes them."""
        return Sampling(
            self.temperature,
            self.top_p,
            self.max_tokens,
            self.request_args,
            self.chat_template_kwargs,
        )


Varied = Annotated[tuple[Text, ...], Field(min_length=1)]


class Inputs(Sampled):
    """How new inputs are written."""

    count: int = Field(default=1000, ge=1, description="how many distinct inputs to make")
    request: Text = Field(
        default="Write a new request.",
        description="the generator's user turn; the seeds are shown as answers to it",
    )
    seeds: tuple[Text, ...] = Field(
        default=(), description="a handful of examples of what the generator writes (before `wrap`)"
    )
    shots: int = Field(default=4, ge=0, description="how many seeds are drawn for each try")
    vary: dict[Annotated[str, Field(pattern=r"^[A-Za-z][\w -]*$")], Varied] = Field(
        default={},
        description="lists of texts by name, for example `{persona: [...], topic: [...]}`: each "
        "try draws one of each and asks for an input with these",
    )
    show_prompt: bool = Field(default=True, description="let the generator read the prompt")
    wrap: Annotated[str, AfterValidator(wrap_template)] | None = Field(
        default=None, description="Jinja: {{ text }} -> the input as the application sends it"
    )
    pattern: Regex | None = Field(
        default=None, description="what the whole generated text must match to be well-formed"
    )
    min_chars: int = Field(default=8, ge=1, description="a shorter text is malformed")
    max_chars: int = Field(default=4000, ge=1, description="a longer text is malformed")
    near_duplicate: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="a text as similar as this to an earlier one or a seed (Jaccard, runs of 5 "
        "characters) is a near duplicate; 1 rejects equal ones only",
    )
    copied_words: int = Field(
        default=12,
        ge=0,
        description="a text with so many words in a row out of the prompt leaks it; 0 allows it",
    )
    max_tries: int = Field(default=10, ge=1, description="give up after count * max_tries tries")
    temperature: float = Field(default=1.0, ge=0, le=5, description="high, for variety")
    top_p: float = Field(
        default=0.95, gt=0, le=1, description="draw from the likeliest tokens only"
    )
    max_tokens: int = Field(default=512, ge=1, description="a text cut here is malformed")


class Outputs(Sampled):
    """How the floor and the teacher answer, in the first turn and in all later ones."""

    request_args: dict[str, Any] = Field(
        default={},
        description="more fields of every request to the target's server, or others, in all turns; "
        "over `--request-args`; null leaves one out",
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default={},
        description="arguments of the chat template for every request to the target, in all turns; "
        "over `--chat-template-kwargs`",
    )
    require_action: bool = Field(
        default=False,
        description="reject a row whose teacher answer holds no well-formed action, and end a "
        "conversation before such a turn (needs `action_pattern`, or `tools`: a call is an action, "
        "and behind its result none is asked for)",
    )


class Reasons(Sampled):
    """How the difference between the two answers is explained."""

    share: float = Field(
        default=TRAINED_SHARE,
        ge=0,
        le=1,
        description="share of the rows for which floor output and reason are made, which recitals "
        "alone need: at least the `genpi.prompt_generation_share` of the training, whose default "
        "is the same; 1 is the paper's, 0 makes none. The first row always has them",
    )
    temperature: float = Field(default=0.7, ge=0, le=5, description="the paper's")
    top_p: float = Field(default=0.9, gt=0, le=1, description="the paper's")
    max_tokens: int = Field(
        default=512, ge=1, description="a reason cut here is left out, and its row kept"
    )
    min_chars: int = Field(default=20, ge=1, description="a shorter reason is left out")
    system: Text = Field(default=REASON_SYSTEM, description="the instruction")


class PythonEnvironment(Section):
    """An environment of the user's own."""

    python: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] = Field(
        description="`module:factory`, beside task.yml or installed; called with each row"
    )
    user: Text = Field(
        default=THE_USER, description="who speaks to the agent, where the environment does not"
    )


class Conversations(Sampled):
    """How the conversation goes on after the first answer, and when it ends."""

    request_args: dict[str, Any] = Field(
        default={},
        description="more fields of the requests for the environment's turns, or others (the "
        "agent's are those of `outputs`), over the generator's `--request-args`",
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default={},
        description="arguments of the chat template for the environment's turns (the agent's are "
        "those of `outputs`), over the generator's `--chat-template-kwargs`",
    )
    max_turns: int = Field(
        default=6, ge=1, description="assistant turns at most; 1 ends it with the first answer"
    )
    environment: Annotated[
        Annotated[Text, Tag(AS_TEXT)] | Annotated[PythonEnvironment, Tag(AS_CODE)],
        Discriminator(lambda value: AS_CODE if isinstance(value, dict | Section) else AS_TEXT),
    ] = Field(
        default=THE_USER,
        description="who answers the agent, in your words; or `{python: module:factory}`, an "
        "environment of your own, which answers calls of tools and may be the user "
        "(docs/extend.md)",
    )
    reminder: str = Field(
        default="", description="appended to what the environment is sent each turn"
    )
    end_condition: Text = Field(
        default="the user's request is dealt with", description="when the environment ends it"
    )
    end_marker: Text = Field(
        default="[END_CONVERSATION]", description="what the environment writes to end it"
    )
    end_pattern: Regex | None = Field(
        default=None, description="an assistant turn in which this is found ends the conversation"
    )
    pattern: Regex | None = Field(
        default=None,
        description="what an environment turn must contain; one without it ends the conversation "
        "before it",
    )
    require_end: bool = Field(
        default=False,
        description="reject a row whose conversation comes to no end of its own (end marker or "
        "end pattern, or the end of an environment in Python)",
    )

    @property
    def part(self) -> str:
        """The part that the generator plays, in words."""
        return self.environment if isinstance(self.environment, str) else self.environment.user


class Split(Section):
    """How the rows are divided."""

    test: float = Field(default=0.1, ge=0, lt=1, description="share of rows held out")


class Score(Section):
    """A score of the evaluation, 0 or 1 for an answer: one of three kinds."""

    pattern: Regex | None = Field(default=None, description="found in the answer")
    json_schema: dict[str, Any] | None = Field(
        default=None, description="the answer is JSON that this schema takes"
    )
    python: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = Field(
        default=None, description="`module:function`, called with answer and teacher's answer"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Score:
        if sum(kind is not None for kind in (self.pattern, self.json_schema, self.python)) != 1:
            raise ValueError("give one of pattern, json_schema and python")
        return self


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
