"""The text of the prompt-generation half: the question and the adapter's answer.

The half shows an input with the answer given without the prompt and the answer given with it,
and asks for the prompt and for the reason why it changes the answer (GenPI, arXiv 2411.15927,
section 3.2). The evaluation asks the same question to have the prompt recited.
"""

from __future__ import annotations

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
REASON_HEADING = "\n\n## Reason\n"


def question(input: str, floor_output: str, teacher_output: str) -> str:
    """The user turn of the prompt-generation half."""
    # One pass, so that braces or field names inside the texts stay as they are.
    return QUESTION.format(input=input, floor_output=floor_output, teacher_output=teacher_output)


def answer(prompt: str, reason: str) -> str:
    """The assistant turn of the prompt-generation half: the whole prompt, the whole reason."""
    return f"{PROMPT_HEADING}{prompt}{REASON_HEADING}{reason}"


def parse_answer(text: str) -> tuple[str, str]:
    """Split a recital into prompt and reason; the reason is empty where none was written."""
    body = text.removeprefix(PROMPT_HEADING)
    prompt, heading, reason = body.rpartition(REASON_HEADING)
    return (prompt, reason) if heading else (body, "")
