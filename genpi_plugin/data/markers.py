"""Text that a chat template or a tokenizer reads as the start or end of somebody's turn.

A text that holds one is not read as text: in a request, or in a row that is trained on, it starts
a turn of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

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


def role_markers(text: str, special_tokens: Iterable[str] = ()) -> list[str]:
    """All role markers and special tokens in a text, in its order; of several at one place, the
    longest first."""
    found = [(match.start(), match[0]) for match in ROLE_MARKER.finditer(text)]
    found += [(text.find(token), token) for token in special_tokens if token in text]
    found.sort(key=lambda one: (one[0], -len(one[1])))
    return list(dict.fromkeys(marker for _, marker in found))


def special_tokens(model: str) -> frozenset[str]:
    """What the tokenizer in a model's folder reads as control tokens wherever they stand in a text.

    Empty for a model that is not a folder here, or whose folder has no tokenizer.json.
    """
    path = Path(model).expanduser() / "tokenizer.json"
    try:
        added = json.loads(path.read_text(encoding="utf-8")).get("added_tokens") or []
        tokens = {token["content"] for token in added if token.get("special")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return frozenset()  # whoever loads the model tells what is wrong with its folder
    return frozenset(token for token in tokens if not is_ordinary(token))


def is_ordinary(token: str) -> bool:
    """Whether a special token is text as people write it, such as a padding token "!"."""
    return len(token) <= 2 or token.isalnum()
