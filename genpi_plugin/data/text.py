"""When two texts are the same, and what can't be seen in one. Pure."""

from __future__ import annotations

import re
import unicodedata

# C0 and C1 but tab and line feed; a carriage return before a line feed is the end of a line.
CONTROL = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
UNSEEN = ("Cc", "Cf")
SURROGATES = re.compile("[\ud800-\udfff]")
# What stands for a character that could not be read, or was cut in its midst.
BROKEN = "\ufffd"
CONTROLS = re.compile(f"[{CONTROL}{BROKEN}]")


def folded(text: str) -> str:
    """The text with case, runs of white space and composed letters folded: equal for duplicates."""
    return " ".join(unicodedata.normalize("NFC", text.casefold()).split())


def is_visible(text: str) -> bool:
    """Whether there is a character in a text that is more than white space, format or control."""
    return any(not character.isspace() and unicodedata.category(character) not in UNSEEN
               for character in text)  # fmt: skip


def surrogate_fault(text: str) -> str:
    """Half of a character that takes two (a lone surrogate), which no file holds; "" if none."""
    found = SURROGATES.search(text)
    return f"half of a character, {escape(found[0])} (a lone surrogate)" if found else ""


def control_fault(text: str) -> str:
    """Which control characters a text holds that no text should, or broken ones, and where; "" if
    none.

    Tab, line feed and carriage return are not among them.
    """
    found = CONTROLS.search(text)
    if found is None:
        return ""
    line = text.count("\n", 0, found.start()) + 1
    return f"U+{ord(found[0]):04X} ({escape(found[0])}) in line {line}"


def escape(character: str) -> str:
    """A character as Python writes it."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
