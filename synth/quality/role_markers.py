"""Text that a chat template or a tokenizer reads as the start or end of somebody's turn.

A text that holds one is not read as text: in a request, or in a row that is trained on, it starts
a turn of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from synth.errors import SynthError
from synth.quality.thoughts import MARK as THOUGHT_MARK
from synth.task.inputs.lines import NAMED, GivenInputs
from synth.task.taskfile import Task

ROLE_MARKER = re.compile(
    r"""<\|[A-Za-z][\w.:-]{0,40}\|>               # ChatML, Llama 3, Phi: <|im_start|>, <|eot_id|>
      | <\|(?:turn|channel|tool|tool_call|tool_response)> | <(?:turn|channel|tool|tool_call
          |tool_response)\|>                       # Gemma 4
      | <\uff5c[^\uff5c>\n]{1,40}\uff5c>          # DeepSeek
      | </?(?:start|end)_of_(?:turn|role)>        # Gemma, Granite
      | <end_of_utterance> | <seed:[be]os>        # Idefics, Seed
      | \[\|[a-z]{1,20}\|\]                       # EXAONE
      | \[/?INST\] | <</?SYS>>                    # Llama 2, Mistral
      | \[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]
      | <(?:SYSTEM|USER|AGENT|ASSISTANT)>:        # transcripts, ours and the official scripts'
    """,
    re.VERBOSE,
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
    inputs = task.config.inputs
    own = [*(turn.content for turn in task.prompt), *inputs.seeds, inputs.wrap or ""]
    found = [(match.start(), match[0]) for match in ROLE_MARKER.finditer(text)]
    if made:
        found += [(match.start(), match[0].strip()) for match in MODELS_MARKER.finditer(text)]
    found += [(text.find(token), token) for token in task.special_tokens if token in text]
    for _, marker in sorted(found, key=lambda one: (one[0], -len(one[1]))):
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
    if "role_markers" not in task.config.filters:
        return
    faults = [
        f"line {line}: {holds_marker(marker)}"
        for line, text in zip(given.line_numbers, given.texts, strict=True)
        if (marker := role_marker(text, task))
    ]
    if faults:
        more = f"\n  and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise SynthError(
            f"{given.source or 'The inputs'}: {len(faults)} inputs hold what a chat template or "
            "the model's tokenizer reads as the start or end of a turn:\n  "
            + "\n  ".join(faults[:NAMED])
            + more,
            "Write these inputs without it, or take the lines out. If it is ordinary text in your "
            "application, leave `role_markers` out of `filters` in task.yml.",
        )


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
        if (markers := list(_markers(text, task.special_tokens)))
    ]


def _markers(text: str, special_tokens: Iterable[str]) -> dict[str, None]:
    found = [match[0] for match in ROLE_MARKER.finditer(text)]
    return dict.fromkeys([*found, *sorted(token for token in special_tokens if token in text)])
