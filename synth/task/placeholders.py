"""Values that an application fills in per request, where the prompt still has their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from genpi_plugin.data.slots import names_in
from synth.task.slots import texts_of
from synth.task.taskfile import Task

NAME = r"[A-Za-z_][A-Za-z0-9_.]*"
FORMS = (
    re.compile(rf"\{{\{{-?\s*{NAME}\s*-?\}}\}}"),  # {{ name }}
    re.compile(rf"(?<![{{$\w]){{{NAME}}}(?!}})"),  # {name}
    re.compile(r"\$\{[A-Za-z_]\w*\}|\$[A-Z_]{2,}\b"),  # ${name}, $NAME
    re.compile(r"<([A-Z][A-Z0-9_]+(?:[ _-][A-Z0-9_]+)*)>(?!:)"),  # <NAME>
)
SHOWN = 6


def placeholders(texts: Iterable[str]) -> list[str]:
    """What looks like a value's place in some texts, once each and in their order.

    Marks that are closed again (`<RULES>...</RULES>`) and markers of turns (`<USER>:`) are none.
    """
    whole = "\n".join(texts)
    found = [match for form in FORMS for match in form.finditer(whole)]
    found.sort(key=lambda match: match.start())
    names = dict.fromkeys(match[0] for match in found)
    return [name for name in names if f"</{name[1:]}" not in whole]


def placeholder_notes(task: Task) -> list[str]:
    """Sentences on the placeholders of the prompt and of the tools; none where there are none."""
    notes = []
    found = [
        place for place in placeholders(texts_of(task.prompt))
        if not (task.slots and names_in(place))
    ]  # fmt: skip
    if found:
        notes.append(
            f"the prompt has what looks like a place for a value: {_listed(found)}. "
            "It is sent and internalized as it stands. If your application fills it in, say in "
            "`slots` where its values come from, and write its place as `{{ name }}`."
        )
    if found := placeholders([task.tools]):
        notes.append(
            f"the tools have what looks like a place for a value: {_listed(found)}. It is sent and "
            "internalized as it stands: slots are filled in the prompt alone. If your application "
            "fills it in, move it there, or write a value into the schema."
        )
    return notes


def _listed(found: Sequence[str]) -> str:
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
