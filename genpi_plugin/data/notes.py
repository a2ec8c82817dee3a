"""What is unusual about a dataset's rows and no error, a sentence or two each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.examples import keeps_prompt
from genpi_plugin.data.kept import unseen
from genpi_plugin.data.messages import readable
from genpi_plugin.data.prepared import is_trained_on
from genpi_plugin.data.row_targets import without_targets
from genpi_plugin.data.rows import Row
from genpi_plugin.errors import ConfigError


def other_answers(rows: Sequence[Row], name: str) -> list[str]:
    """A recital shows `teacher_output`; what is trained is the conversation."""
    other = [row for row in rows if not opens_with(row, row.teacher_output.strip())]
    if not other:
        return []
    return [
        f"{len(other)} of {len(rows)} rows of {name} have a `teacher_output` "
        "that is not the first answer of their conversation, which is what is trained: "
        f"recitals show another answer than that. The first is {other[0].where}."
    ]


def unseen_values(rows: Sequence[Row], settings: GenPISettings, name: str) -> list[str]:
    """A value that the student does not see is learned by heart, if at all."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if not keeps_prompt(row, settings):
            for slot in unseen(row.student_request, row.slots):
                found.setdefault(slot, []).append(row)
    return [
        f"in {len(its)} of {len(rows)} rows of {name} the student does not see "
        f"the value of the slot `{slot}`: it can't know it, and learns to guess. The first "
        f"is {its[0].where}. Write the value into the row's `kept`."
        for slot, its in found.items()
    ]


def use_of(cfg: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """What a dataset's rows are of all that is read: `all` or `some` training rows, `test`."""
    if not is_trained_on(cfg, entry):
        return "test"
    return "some" if len(cfg.get("datasets") or []) > 1 else "all"


def untold_answers(
    rows: Sequence[Row], name: str, use: str = "all", label_weight: float = 1.0
) -> list[str]:
    """Answers without distributions, where those are learnt from.

    Args:
        label_weight: of the loss on the answers' text.
        use: "all" where the rows are all that is trained on, "some" where there are others,
            "test" where they are evaluated alone.

    Raises:
        ConfigError: no answer has any, and nothing else is trained on.
    """
    if use == "all" and not any(row.distributions for row in rows):
        raise ConfigError(
            f"no row of {name} has `top_ids` and `top_logprobs`, which `genpi: {{distill_from: "
            "rows}` learns from.",
            "make the dataset with `python -m synth run --logprobs 20`, or set "
            "`distill_from: model`.",
        )
    lacking = [row for row in rows if without_targets(row)]
    if not lacking:
        return []
    if use == "test":
        what = "they add nothing to `eval_divergence` and are counted in its tokens"
    elif label_weight:
        what = "they are learnt from their text alone (sft_weight), without a divergence"
    else:
        what = "nothing is learnt from them; `genpi: {sft_weight: 0.7}` learns from their text, too"
    return [
        f"{sum(map(without_targets, rows))} answers in {len(lacking)} of {len(rows)} rows of "
        f"{name} have no `top_ids`: {what}. The first is in {lacking[0].where}."
    ]


def unused_distributions(rows: Sequence[Row], name: str) -> list[str]:
    """Distributions in rows that are not learnt from."""
    told = [row for row in rows if row.distributions]
    if not told:
        return []
    return [
        f"{len(told)} of {len(rows)} rows of {name} hold the teacher's distributions, which are "
        "not used; `genpi: {distill_from: rows}` learns from them"
    ]


def opens_with(row: Row, text: str) -> bool:
    """Whether a text is the first answer of a row: what it says, or that with its calls."""
    first = row.conversation[0]
    return text in (first["content"].strip(), readable(first).strip())
