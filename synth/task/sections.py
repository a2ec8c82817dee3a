"""The sections of `task.yml`, each with its fields, their defaults and meanings."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from synth.engines.base import Sampling
from synth.task.fields import Regex, Text, wrap_template

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
    logprobs: int = Field(
        default=0,
        ge=0,
        description="how many of the likeliest tokens, with their log-probabilities, are kept at "
        "each token that the target answers with the prompt: `genpi` then learns from them without "
        "a teacher beside it; 0 keeps none (`--logprobs`)",
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
