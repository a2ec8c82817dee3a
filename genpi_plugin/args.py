"""The `genpi:` block of an axolotl YAML."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from genpi_plugin.errors import ConfigError

# Weight of the answers' labels where they are what behaviour is learned from.
LABEL_WEIGHT = 0.7
# What has an effect with a `keep_weight` alone.
KEEP_SETTINGS = ("keep", "keep_inputs", "keep_rows", "keep_tokens")


class OnPolicySettings(BaseModel):
    """The last epochs, in which the student learns from its own answers."""

    model_config = ConfigDict(extra="forbid")

    epochs: float = Field(
        default=1.0,
        gt=0.0,
        description="How many of `num_epochs`, the last ones, are on policy.",
    )
    divergence: Literal["forward", "reverse", "jsd"] = Field(
        default="forward",
        description="From the teacher at each of the student's tokens, over the whole vocabulary: "
        "`forward` KL(teacher‖student), `reverse` KL(student‖teacher), `jsd` the generalized "
        "Jensen-Shannon divergence.",
    )
    beta: float = Field(
        default=0.5,
        gt=0.0,
        lt=1.0,
        description="Weight of the teacher in `jsd`.",
    )
    refresh: int = Field(
        default=16,
        ge=1,
        description="Optimizer steps after which the student answers anew.",
    )
    temperature: float = Field(
        default=0.0,
        ge=0.0,
        description="At which the student's answers are sampled. 0 takes the likeliest tokens, as "
        "recorded answers are given by default.",
    )
    max_new_tokens: int = Field(
        default=256,
        ge=1,
        description="Tokens of an answer, at most. A longer one is learned from up to there, and "
        "`own_cut` in the log says how often.",
    )
    share: float = Field(
        default=1.0,
        gt=0.0,
        le=1.0,
        description="Share of the rows with the student's own answers; the others keep the "
        "recorded ones. Drawn anew at each refresh.",
    )
    batch_size: int = Field(
        default=32,
        ge=1,
        description="Requests answered at once, at most; with `server`, under way there, by each "
        "process.",
    )
    server: str | None = Field(
        default=None,
        min_length=1,
        description="Address of a vLLM server of the base model that writes the student's answers "
        "with the adapter of the moment. null: the process in training writes them.",
    )


class GenPISettings(BaseModel):
    """How the pairs are made and weighted. Every field has a default: `genpi: {}` is enough."""

    # Only this nested model is strict: on `GenPIArgs` it would make axolotl's whole config strict.
    model_config = ConfigDict(extra="forbid")

    sft_weight: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Weight of the loss on the answers' labels; prompt generation gets the rest. "
        "1 trains without recitals, 0 without labels. Left out: 0 with distillation where the "
        "student does not see the prompt, as distributions say more than labels do, else 0.7. "
        "`stage2_ratio` of the official scripts, most of which have 0.7.",
    )
    prompt_generation_share: float = Field(
        default=0.25,
        ge=0.0,
        le=1.0,
        description="Share of the rows that carry a prompt-generation half. The half holds the "
        "prompt, or a piece of it (`prompt_generation_piece`). 1 is the paper's.",
    )
    prompt_generation_piece: int | None = Field(
        default=256,
        ge=16,
        description="Tokens of a longer prompt that a row recites: one piece, and the rows take "
        "turns. null has the whole prompt in every recital, which is the paper's, and as long.",
    )
    distill_weight: float | None = Field(
        default=None,
        ge=0.0,
        description="Weight of the divergence KL(teacher‖student) over the behaviour tokens, added "
        "to the joint loss. Who teaches is said by `distill_from` and `teacher`. Left "
        "out: 1 where there is a teacher, else 0. 0 is the paper's.",
    )
    distill_from: Literal["model", "rows"] | None = Field(
        default=None,
        description="Where the teacher's distributions come from: `model`, the model in training, "
        "which reads each row with the prompt in front, or `rows`, the fields `top_ids` and "
        "`top_logprobs` of the dataset. Left out: `model` where the model in training can teach; "
        "where it can't, `rows` if training rows in local files have them.",
    )
    distill_top_k: int | None = Field(
        default=128,
        ge=1,
        description="The teacher's most likely tokens that are kept at each position; all others "
        "form one bucket. null keeps the whole vocabulary, or all that a row holds.",
    )
    teacher: Literal["base", "start"] = Field(
        default="base",
        description="Who teaches, with the prompt in front: `base`, the model with its adapter "
        "off, or `start`, the model with the adapter of `lora_model_dir` that training starts "
        "from, as it is before the first step.",
    )
    keep_weight: float | None = Field(
        default=None,
        ge=0.0,
        description="Weight of the divergence from the model as it was, on requests that the "
        "prompt is not about, added to the loss. Left out: 1 with distillation where the model in "
        "training can write answers, else 0. 0: there are no such requests; the paper's.",
    )
    keep: Literal["floor", "teacher"] = Field(
        default="floor",
        description="What the student keeps to on those requests: `floor`, what the model does "
        "without the prompt, or `teacher`, what it does with the prompt. It is the model of "
        "`teacher`, and the tokens are those of its own answers.",
    )
    keep_inputs: str | None = Field(
        default=None,
        min_length=1,
        description="Those requests: a file of inputs, or `self` for some that the model writes "
        "itself from nothing. null takes the everyday ones that are shipped.",
    )
    keep_rows: int = Field(default=2, ge=1, description="Such requests in an optimizer step.")
    keep_tokens: int = Field(
        default=64,
        ge=1,
        description="Tokens of an answer to such a request; a longer one is learned up to there.",
    )
    student_prompt: Literal["never", "always", "random"] = Field(
        default="never",
        description="Whether the student keeps the prompt in the behaviour half: `never` (prompt "
        "internalization), `always` (official `conv-stage2_w_context`), `random` (about half of "
        "the rows keep it; official `..._randomize`).",
    )
    on_policy: OnPolicySettings | None = Field(
        default=None,
        description="The last epochs on the student's own answers, given without the prompt, with "
        "the divergence from the teacher along them. null: all epochs on the recorded answers.",
    )
    on_overflow: Literal["error", "drop"] = Field(
        default="error",
        description="What happens to a pair longer than `sequence_len`. Nothing is ever cut.",
    )

    @model_validator(mode="after")
    def _trains_something(self) -> GenPISettings:
        undecided = self.distill_weight is None
        if not (self.trains_behaviour or self.trains_prompt_generation or undecided):
            raise ValueError(
                "sft_weight: 0, prompt_generation_share: 0 and distill_weight: 0 leave nothing to "
                "train on"
            )
        return self

    @model_serializer(mode="wrap")
    def _with_nulls(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """axolotl writes its config without nulls, and a null of ours is not the default."""
        nulls = {name: None for name in type(self).model_fields if getattr(self, name) is None}
        return {**plain(self), **nulls}

    @property
    def distills(self) -> bool:
        return bool(self.distill_weight)

    @property
    def keeps(self) -> bool:
        return bool(self.keep_weight)

    @property
    def keep_top_k(self) -> int | None:
        """As `distill_top_k`; but null there means all that a row holds where rows teach, and here
        it would be the whole vocabulary."""
        if self.learns_from_rows and self.distill_top_k is None:
            return int(type(self).model_fields["distill_top_k"].default)
        return self.distill_top_k

    @property
    def learns_from_rows(self) -> bool:
        return self.distills and self.distill_from == "rows"

    @property
    def has_teacher(self) -> bool:
        """Whether the model in training is its own teacher."""
        return self.distills and not self.learns_from_rows

    @property
    def label_weight(self) -> float:
        """`sft_weight`, decided where it is left out. A student that sees the prompt has nothing
        to learn from the teacher's distributions."""
        if self.sft_weight is not None:
            return self.sft_weight
        taught = self.distills and self.student_prompt == "never"
        return 0.0 if taught else LABEL_WEIGHT

    @property
    def trains_behaviour(self) -> bool:
        return self.label_weight > 0.0 or self.distills

    @property
    def trains_prompt_generation(self) -> bool:
        return self.label_weight < 1.0 and self.prompt_generation_share > 0.0


class GenPIArgs(BaseModel):
    """What the plugin adds to axolotl's config: one optional block."""

    genpi: GenPISettings | None = Field(
        default=None, description="Prompt internalization. Without the block the plugin is idle."
    )


def parse_settings(block: Any) -> GenPISettings:
    """Check the `genpi:` block.

    Raises:
        ConfigError: an unknown key (with the closest known one), or a value out of range.
    """
    if not isinstance(block, dict):
        raise ConfigError(
            f"`genpi:` is {block!r}, not a block of keys.", "write `genpi: {}` for the defaults."
        )
    try:
        return GenPISettings(**block)
    except ValidationError as error:
        raise _config_error(error) from None


def _config_error(error: ValidationError) -> ConfigError:
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"]]
    if not path:
        return ConfigError(
            f"`genpi:`: {problem['msg'].removeprefix('Value error, ')}.", "raise one of the three."
        )
    fields = GenPISettings.model_fields
    if path[0] == "on_policy" and len(path) > 1:
        fields = OnPolicySettings.model_fields
    key, last = ".".join(path), path[-1]
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(last, fields, n=1)
        cure = f"did you mean `{near[0]}`? " if near else ""
        known = ", ".join(f"`{name}`" for name in fields)
        return ConfigError(f"`genpi.{key}` is not a setting.", f"{cure}The settings are {known}.")
    return ConfigError(
        f"`genpi.{key}: {problem['input']}`: {problem['msg']}.", fields[last].description or ""
    )
