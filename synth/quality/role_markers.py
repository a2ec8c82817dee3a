"""Role markers and special tokens in a row's texts, but for those that the application writes."""

from __future__ import annotations

import re

from genpi_plugin.data.inputs.given import GivenInputs
from genpi_plugin.data.inputs.lines import check_markers
from genpi_plugin.data.markers import role_markers
from genpi_plugin.data.thoughts import MARK as THOUGHT_MARK
from synth.errors import plugin_errors
from synth.task.taskfile import Task

ORDINARY = (
    "If it is ordinary text in your application, leave `role_markers` out of `filters` in task.yml."
)
# What in a text that a model wrote is no text either: an end token at its end, a thought or a tool
# call in its midst. In what a person wrote it may be meant.
MODELS_MARKER = re.compile(
    r"</s>\s*\Z|<eos>\s*\Z|</?tool_(?:call|response)>|" + THOUGHT_MARK.pattern, re.IGNORECASE
)


def role_marker(text: str, task: Task, made: bool = False) -> str:
    """The first role marker or special token in a text; "" if there is none.

    One that the prompt, a seed or `inputs.wrap` holds is the application's own text (a prompt on
    chat templates) and does not count.

    Args:
        text: any text of a row.
        task: knows the prompt, the seeds and the target's special tokens.
        made: a model wrote the text: an end token at its end counts, too, and so do thoughts and
            tool calls inside.
    """
    own = _own(task)
    found = role_markers(text, task.special_tokens)
    if made:
        found += [match[0].strip() for match in MODELS_MARKER.finditer(text)]
    for marker in sorted(found, key=lambda one: (text.find(one), -len(one))):
        # "<s>was 20</s>" is a text with a line through it.
        if marker == "</s>" and "<s>" in text:
            continue
        if not any(marker in each for each in own):
            return marker
    return ""


def holds_marker(marker: str) -> str:
    """The reason for which a text with this marker is rejected."""
    kind = "a role marker"
    if THOUGHT_MARK.fullmatch(marker):
        kind = "the mark of a thought"
    elif "tool_call" in marker.lower():
        kind = "a tool call"
    return f"holds {kind} ({marker})"


def check_given(given: GivenInputs, task: Task) -> None:
    """Check that the user's own inputs hold no role marker.

    Raises:
        SynthError: names the lines and their markers.
    """
    if "role_markers" in task.config.filters:
        with plugin_errors():
            check_markers(given, _own(task), task.special_tokens, ORDINARY)


def marker_notes(task: Task) -> list[str]:
    """What to say of role markers in the prompt and in the seeds, a sentence each."""
    texts = [(f"turn {number} of the prompt", turn.content)
             for number, turn in enumerate(task.prompt, start=1)]  # fmt: skip
    texts += [(f"seed {number}", seed)
              for number, seed in enumerate(task.config.inputs.seeds, start=1)]  # fmt: skip
    return [
        f"{where} holds {', '.join(markers)}, which a chat template or tokenizer may read as the "
        "start or end of a turn; texts with it are not rejected."
        for where, text in texts
        if (markers := role_markers(text, task.special_tokens))
    ]


def _own(task: Task) -> list[str]:
    """Texts of the application's own."""
    inputs = task.config.inputs
    return [*(turn.content for turn in task.prompt), *inputs.seeds, inputs.wrap or ""]
