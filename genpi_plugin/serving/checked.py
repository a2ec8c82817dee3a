"""Whether a written template gives the student's requests, tried with rows of the dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genpi_plugin.data.forms import REFUSALS
from genpi_plugin.data.rendering import Renderer
from genpi_plugin.data.rows import Row
from genpi_plugin.errors import TemplateError
from genpi_plugin.serving.patterns import CURE

SHOWN = 60


@dataclass(frozen=True)
class Checked:
    """What was tried.

    `before` and `after` are the tokens of the first row's request with the prompt, by the original
    and by the new template, 0 for the first where the original refuses it; `rows` were tried, and
    in `untold` of them the values of slots can't be told, so that the prompt stays.
    """

    before: int
    after: int
    rows: int
    untold: int


def check(
    tokenizer: Any,
    source: str,
    template_kwargs: Mapping[str, Any],
    new: str,
    rows: Sequence[Row],
    any_tools: bool = False,
) -> Checked:
    """The same text for a request with the prompt as the original gives without it.

    Args:
        source: the original template, which is rendered with `template_kwargs`.
        new: the written one, which is rendered without.
        any_tools: it leaves out any tools, those of a prompt that stays, too.

    A row whose slots' values can't be told may keep the prompt, but not all rows.

    Raises:
        TemplateError: the texts differ.
    """
    original = Renderer(tokenizer, template_kwargs, source)
    told = []
    for row in rows:
        expected = original(row.student_request, True)
        sent = [original.forms.shaped(message) for message in row.teacher_request]
        got: str = tokenizer.apply_chat_template(
            sent,
            chat_template=new,
            tools=row.tools or None,
            tokenize=False,
            add_generation_prompt=True,
        )
        if row.slots and got != expected:
            tools = [] if any_tools else row.tools
            if got == original(row.teacher_request, True, tools):
                continue  # the prompt stays, and its tools
        told.append(row)
        if got != expected:
            start = next(
                (at for at, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b),
                min(len(got), len(expected)),
            )
            raise TemplateError(
                f"{row.where}: behind the written template the request with the prompt is not "
                f"the student's: from character {start} on it is {got[start:][:SHOWN]!r}, and "
                f"the student's is {expected[start:][:SHOWN]!r}.",
                "another prompt may begin the same way; or the template depends on more than "
                "messages and tools. Serve the adapter with the original template, and let the "
                "application leave the prompt out.",
            )
    if not told:
        raise TemplateError(
            f"in none of the {len(rows)} rows that were tried can the values of the slots be told "
            "from the prompt they are filled into: they hold the text that follows them there.",
            CURE,
        )
    first = told[0]
    try:
        whole = original(first.teacher_request, True, first.tools)
    except REFUSALS:  # a template without a system turn takes one that is not rendered
        whole = ""
    lengths = [
        len(tokenizer(text, add_special_tokens=False)["input_ids"])
        for text in (whole, original(first.student_request, True))
    ]
    return Checked(lengths[0], lengths[1], len(rows), len(rows) - len(told))
