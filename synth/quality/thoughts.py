"""A model's thoughts beside its answer, whoever wrote them where; and what `thinking: off` asks.

The forms are the plugin's (`genpi_plugin.data.thoughts`): what is no thought here is none in the
evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from genpi_plugin.data import thoughts
from synth.engines.base import Answer, Request
from synth.errors import RowError
from synth.quality.filters import instruction_and_examples
from synth.store.store import Generate
from synth.task.taskfile import Task

THINKS = "thinks though `thinking: off`"
OFF_CURE = (
    "Name what switches this model's thinking off: --chat-template-kwargs "
    "'{\"enable_thinking\": false}' (its template's own name for it), or --request-args "
    '\'{"reasoning_effort": "none"}\'; or set `thinking: keep`, and the thoughts are trained.'
)
ASKED_CURE = (
    "The prompt itself asks for %s: take that out of it, or set `thinking: keep`, and what is "
    "thought is trained."
)


def thoughts_apart(answer: Answer, own: Sequence[str] = ()) -> Answer:
    """The answer with the thoughts at its beginning in `reasoning` and not in `text`.

    Thoughts that never end, because the token limit cut them for one, leave no text. An empty
    block, which models write that do not think this time, is no thought.

    Args:
        answer: as the engine gave it.
        own: texts of the application's; a mark that stands in one of them marks no thought.
    """
    text, thought = thoughts.thoughts_apart(answer.text, own)
    if thought is None:
        return answer
    known = [one for one in (answer.reasoning, thought) if one]
    reasoning = "\n".join(known) if known else answer.reasoning
    return replace(answer, text=text, reasoning=reasoning, written=answer.text)


def unthinking(generate: Generate) -> Generate:
    """The same answers, their thoughts apart; no mark is the application's own."""

    async def asked(request: Request) -> Answer:
        return thoughts_apart(await generate(request))

    return asked


def own_texts(task: Task, role: str) -> tuple[str, ...]:
    """The texts whose marks are the application's own, in answers of the target or the generator.

    The prompt's instruction is the target's alone: what it says of thoughts is no licence for the
    generator, which writes inputs, reasons and the environment's turns.
    """
    inputs = task.config.inputs
    instruction, examples = instruction_and_examples(task.prompt)
    own = (*examples, *inputs.seeds, inputs.wrap or "")
    if role == "generator":
        return own
    agent = [turn.content for turn in task.prompt if turn.role == "assistant"]
    return (*own, *instruction, *agent)


def check_off(answer: Answer, task: Task, what: str) -> None:
    """Check that the target does not think where it is not to, in the application's form or any.

    Args:
        answer: the target's, its thoughts apart.
        task: says whether it may.
        what: what the answer is, for the reason ("teacher output").

    Raises:
        RowError: it thinks.
    """
    if fault := off_fault(answer, task):
        raise RowError(f"{what} {fault[0]}", fault[1])


def off_fault(answer: Answer, task: Task) -> tuple[str, str] | None:
    """As `check_off`: the fault and its detail, None where there is none."""
    if task.config.thinking == "keep":
        return None
    _, own = thoughts.thoughts_apart(answer.text)
    thought = own if answer.reasoning is None else answer.reasoning
    if thought is None or (not thought and answer.reasoning is None):
        return None
    shown = f"It thinks: {thought.strip()[:200]!r}." if thought else "It thought, unseen."
    asked = thoughts.marks_in(own_texts(task, "target")) if answer.reasoning is None else []
    return THINKS, f"{shown} {ASKED_CURE % asked[0] if asked else OFF_CURE}"


def thought_notes(task: Task) -> list[str]:
    """What to say of marks of thoughts in the prompt, a sentence each."""
    marks = thoughts.marks_in(own_texts(task, "target"))
    if task.config.thinking == "off":
        return [
            f"The prompt or a seed holds {mark}, and the task says `thinking: off`: an answer of "
            "the target that begins with it is rejected."
            for mark in marks
        ]
    return [
        f"The prompt or a seed holds {mark}: an answer of the target that begins with it is kept "
        "as it is, as the application's own form."
        for mark in marks
    ]
