"""The values of a prompt's slots: where they come from, and which a row gets.

A row's values depend on the run's seed and its id alone, so that a run that goes on, and one that
makes its rows in another order, gives each row the same.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from genpi_plugin.data import slots
from synth.engines.base import Message
from synth.engines.messages import as_dicts
from synth.errors import SynthError, TaskError
from synth.store.fingerprint import digest
from synth.task.modules import load_reference, raised
from synth.task.slot_config import Kept, Number, Source
from synth.task.slot_files import file_values

Make = Callable[[random.Random, str], Any]


@dataclass(frozen=True)
class Slots:
    """The slots of a task's prompt, with what their values are drawn from.

    `lines` has the values of lists and files. `made` has the functions of the user's own.
    `wanted` says what the generator is asked for, and how many values; they come to `lines` once
    they are there. `kept` is the message that tells the student, with marks. `sources` has the
    hashes of files and code, `files` one name for each file.
    """

    sources_of: Mapping[str, Source] = field(default_factory=dict)
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    made: Mapping[str, Make] = field(default_factory=dict)
    kept: Message | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sources_of)

    @property
    def names(self) -> list[str]:
        return list(self.sources_of)

    @property
    def wanted(self) -> dict[str, Source]:
        """The slots whose values the generator has yet to write."""
        return {
            name: source
            for name, source in self.sources_of.items()
            if source.generator is not None and name not in self.lines
        }

    def with_lines(self, more: Mapping[str, tuple[str, ...]]) -> Slots:
        """The same with values that the generator wrote."""
        return replace(self, lines={**self.lines, **more})

    def draw(self, seed: int, row_id: str, text: str = "") -> dict[str, str]:
        """A row's values.

        Args:
            seed: the run's.
            row_id: the row's; another row's values do not depend on it.
            text: the row's input, for functions of the user's own.

        Raises:
            SynthError: such a function raised an error, or gave no text.
        """
        return {
            name: self._value(name, source, seed, row_id, text)
            for name, source in self.sources_of.items()
        }

    def sample(self, seed: int) -> dict[str, str]:
        """Values for no row; without those that the generator has yet to write."""
        there = {name: s for name, s in self.sources_of.items() if name not in self.wanted}
        return replace(self, sources_of=there).draw(seed, "sample")

    def _value(self, name: str, source: Source, seed: int, row_id: str, text: str) -> str:
        # Slots of one file draw alike, and so take the same line.
        draw = random.Random(f"{seed}-slot-{self.files.get(name, name)}-{row_id}")
        if name in self.made:
            return _made(name, source.python or "", self.made[name], draw, text)
        if source.now is not None:
            begin, end = source.now.span
            seconds = draw.randint(0, int((end - begin).total_seconds()))
            return (begin + datetime.timedelta(seconds=seconds)).strftime(source.now.format)
        if source.number is not None:
            return source.number.format.format(_number(draw, source.number))
        return draw.choice(self.lines[name])


def read_slots(
    sources: Mapping[str, Source],
    kept: Kept,
    prompt: Sequence[Message],
    prompt_role: str,
    folder: Path,
    path: Path,
) -> Slots:
    """Check the slots of a task against its prompt, and read their files; in the prompt's order.

    Args:
        sources: by the slots' names.
        prompt_role: the role of what is kept, unless `kept` says another.
        folder: where files and modules lie.
        path: of task.yml, for messages.

    Raises:
        TaskError: a slot without a source or a source without a slot; a file or function that
            can't be used; `kept` does not say each value.
    """
    if not sources:
        if kept.text or kept.role:
            raise TaskError(
                f"{path}: `kept` says how the values of slots are told, and there are no `slots`.",
                "Add `slots:`, or take `kept` out.",
            )
        return Slots()
    found = slots.names_of(as_dicts(prompt))
    _check_names(list(sources), found, path)
    sources = {name: sources[name] for name in found}
    text = kept.text.strip() or "\n".join(f"{name}: {slots.slot(name)}" for name in sources)
    _check_kept(text, list(sources), path)
    lines: dict[str, tuple[str, ...]] = {}
    made: dict[str, Make] = {}
    hashes: dict[str, str] = {}
    files: dict[str, str] = {}
    spelled: dict[Path, str] = {}  # each file as the first slot that has it names it
    for name, source in sources.items():
        key = f"slots.{name}"
        if source.values is not None:
            lines[name] = source.values
        elif source.file is not None:
            file = folder / source.file
            lines[name] = file_values(file, source.column, f"{path}: `{key}`")
            files[name] = spelled.setdefault(file.resolve(), source.file)
            hashes[name] = digest(lines[name])
        elif source.python is not None:
            loaded = load_reference(source.python, key, folder)
            if not callable(loaded.value):
                raise TaskError(f"{path}: `{key}`: {source.python} is no function.", "Name one.")
            made[name], hashes[name] = loaded.value, loaded.sha256
    role = kept.role or prompt_role
    return Slots(sources, lines, made, Message(role, text), hashes, files)


def texts_of(prompt: Sequence[Message]) -> list[str]:
    """The texts in which a prompt's slots are filled, as a template writes them: each turn's
    thoughts, its content and the arguments of its calls."""
    return [
        text
        for turn in prompt
        for text in (
            turn.reasoning_content, turn.content, *(call.arguments for call in turn.tool_calls)
        )
    ]  # fmt: skip


def before_first_slot(texts: Sequence[str]) -> int:
    """The characters of a prompt's texts before its first slot; all, where there is none."""
    before = 0
    for text in texts:
        if match := slots.SLOT.search(text):
            return before + match.start()
        before += len(text)
    return before


def _check_names(names: Sequence[str], found: Sequence[str], path: Path) -> None:
    missing = [name for name in found if name not in names]
    if missing:
        raise TaskError(
            f"{path}: the prompt has {_marks(missing)}, and `slots` has no such "
            f"name{'s' if len(missing) > 1 else ''} (it has {', '.join(names)}).",
            f"Say where the values come from, for example `slots: {{{missing[0]}: [...]}}`. A mark "
            f'that is meant as it stands: `{missing[0]}: ["{slots.slot(missing[0])}"]`.',
        )
    unused = [name for name in names if name not in found]
    if unused:
        raise TaskError(
            f"{path}: `slots` has {', '.join(unused)}, and the prompt has no {_marks(unused)}.",
            "Write the mark where the application fills in the value, or take the name out.",
        )


def _check_kept(text: str, names: Sequence[str], path: Path) -> None:
    found = slots.names_in(text)
    if unknown := [name for name in found if name not in names]:
        raise TaskError(
            f"{path}: `kept.text` has {_marks(unknown)}, and `slots` has no such name.",
            "Correct the name.",
        )
    if missing := [name for name in names if name not in found]:
        raise TaskError(
            f"{path}: `kept.text` does not say {_marks(missing)}: the student could not know it.",
            "Write the mark into it; a value that the student does not need is no slot: write one "
            "into the prompt.",
        )


def _made(name: str, reference: str, function: Make, draw: random.Random, text: str) -> str:
    try:
        value = function(draw, text)
    except Exception as error:
        raise SynthError(
            f"`slots.{name}`: {reference} failed: {raised(error)}.", "Correct the function."
        ) from error
    if not isinstance(value, str) or "\0" in value:
        raise SynthError(
            f"`slots.{name}`: {reference} gave {value!r}, which is no text.",
            "Let it return a string.",
        )
    return value


def _number(draw: random.Random, number: Number) -> int | float:
    if isinstance(number.begin, int) and isinstance(number.end, int):
        return draw.randint(number.begin, number.end)
    return draw.uniform(number.begin, number.end)


def _marks(names: Sequence[str]) -> str:
    return ", ".join(map(slots.slot, names))
