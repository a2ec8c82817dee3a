"""Values for the slots of the prompt, where the inputs are a file's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genpi_plugin.data.kept import form_of
from genpi_plugin.data.messages import Message
from genpi_plugin.data.requests import Valued, under, with_values_of
from genpi_plugin.data.rows import Row
from genpi_plugin.data.slots import fill_messages
from genpi_plugin.errors import GenPIError


def with_values(
    asked: Sequence[list[Message] | Valued],
    given: Sequence[Mapping[str, str] | None],
    rows: Sequence[Row],
    source: str,
) -> tuple[list[list[Message] | Valued], tuple[str, ...]]:
    """Requests with values: their own, else those of a dataset's rows in turn, with a note.

    Args:
        asked: the requests.
        given: their own values, where they have some.
        rows: of the prompt; without slots, the requests stay as they are.
        source: of the requests, for messages.

    Raises:
        GenPIError: a request has not all values, or the rows don't tell in which form the student
            is told them.
    """
    if not rows[0].slots:
        return list(asked), ()
    names = list(rows[0].slots)
    form = form_of([(row.kept, row.slots) for row in rows])
    found: list[list[Message] | Valued] = []
    for number, (one, own) in enumerate(zip(asked, given, strict=True)):
        messages = under([], one)
        like = rows[number % len(rows)].asked
        if own:
            _check(own, names, form, f"{source}: input {number + 1}", messages[-1]["content"])
            like = Valued(fill_messages(form or [], own), [], dict(own))
        valued = with_values_of(like, messages)
        assert not isinstance(valued, str)
        found.append(valued)
    without = sum(not own for own in given)
    if not without:
        return found, ()
    return found, (
        f"{without} of {len(given)} inputs of {source} have no values for the prompt's slots "
        f"({', '.join(names)}): those of the dataset's rows are used, in their order.",
    )


def _check(
    own: Mapping[str, str],
    names: Sequence[str],
    form: Sequence[Message] | None,
    where: str,
    text: str,
) -> None:
    if set(own) != set(names):
        raise GenPIError(
            f"{where} ({text[:40]!r}) has values for {', '.join(own)}, and the slots of the prompt "
            f"are {', '.join(names)}.",
            "Give each of them a value in `slots`.",
        )
    if form is None:
        raise GenPIError(
            f"{where} has values of its own, and the dataset's rows don't tell in which form the "
            "student is told values: what they keep differs by more than the values.",
            "Take the values out of the inputs: those of the dataset's rows are then used.",
        )
