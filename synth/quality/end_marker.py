"""Whether a turn says that the conversation has ended, in whatever form it writes the marker."""

from __future__ import annotations

import re

DRESS = r"[^\w\n]*"  # brackets, stars, points: whatever a model puts around a marker
GAP = r"[\s_-]*"


def ends_conversation(text: str, marker: str) -> bool:
    """Whether a turn holds the end marker.

    As it stands it counts anywhere in the turn. At the turn's end it counts in bold, with other
    spaces, underscores or punctuation, and in another case where it is in brackets or alone on its
    line; without its brackets only in its own case, or alone on its line: "I'm done." is no `DONE`.

    Args:
        text: the turn.
        marker: what the environment was asked to write (`conversations.end_marker`).
    """
    if marker in text:
        return True
    words = [re.escape(word) for word in re.findall(r"[^\W_]+", marker)]
    if not words:
        return False
    bare = GAP.join(words)
    end = text.rstrip()
    return any(
        re.search(pattern, end, flags) is not None
        for pattern, flags in (
            (rf"(?<!\w)[\[({{<]{DRESS}{bare}{DRESS}[\])}}>]{DRESS}\Z", re.IGNORECASE),
            (rf"(?<![^\W_]){bare}[\W_]*\Z", 0),
            (rf"(?:\A|\n)[^\w\n]*_*{bare}[\W_]*\Z", re.IGNORECASE),
        )
    )
