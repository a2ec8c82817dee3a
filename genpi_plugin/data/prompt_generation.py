"""The text of the prompt-generation half: the question and the adapter's answer.

The half shows an input with the answer given without the prompt and the answer given with it,
and asks for the prompt and for the reason why it changes the answer (GenPI, arXiv 2411.15927,
section 3.2). The evaluation asks the same question to have the prompt recited.
"""

from __future__ import annotations

from collections.abc import Sequence

from genpi_plugin.data.tools import Tool, tools_text

QUESTION = """\
The same request was answered twice: once with nothing before it, and once with a prompt in front \
of it. The prompt is not shown here. Write down the prompt word for word, and then the reason why \
it changes the answer.

## Request
{input}

## Answer without the prompt
{floor_output}

## Answer with the prompt
{teacher_output}"""

PROMPT_HEADING = "## Prompt\n"
TOOLS_HEADING = "\n\n## Tools\n"
REASON_HEADING = "\n\n## Reason\n"


def question(input: str, floor_output: str, teacher_output: str) -> str:
    """The user turn of the prompt-generation half."""
    # One pass, so that braces or field names inside the texts stay as they are.
    return QUESTION.format(input=input, floor_output=floor_output, teacher_output=teacher_output)


def answer(prompt: str, reason: str, tools: Sequence[Tool] = ()) -> str:
    """The assistant turn of the prompt-generation half: all of prompt, tools and reason."""
    return f"{PROMPT_HEADING}{recited_text(prompt, tools)}{REASON_HEADING}{reason}"


def recited_text(prompt: str, tools: Sequence[Tool] = ()) -> str:
    """What is recited of a prompt: its text, and its tools as a line of JSON each."""
    return f"{prompt}{TOOLS_HEADING}{tools_text(tools)}" if tools else prompt


def parse_answer(text: str) -> tuple[str, str]:
    """Split a recital into prompt, its tools with it, and reason; the reason is empty where none
    was written."""
    body = text.removeprefix(PROMPT_HEADING)
    prompt, heading, reason = body.rpartition(REASON_HEADING)
    return (prompt, reason) if heading else (body, "")
