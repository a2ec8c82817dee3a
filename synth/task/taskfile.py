"""From a task's name or folder to a checked `Task`."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from genpi_plugin.data.yaml_keys import repeated_key
from synth.engines.base import Message
from synth.errors import TaskError
from synth.store.fingerprint import prompt_id
from synth.task.config import TaskConfig
from synth.task.sections import AS_CODE, AS_TEXT
from synth.task.slots import Slots, read_slots
from synth.task.templates import load_prompt
from synth.task.tools import load_tools
from synth.task.yaml_traps import misread_text, syntax_error


@dataclass(frozen=True)
class Task:
    """A checked task: its settings, its prompt's messages, and the tools that go with them.

    `tools` is the JSON text of a list of schemas, "" where there are none. `special_tokens` is
    what the target's tokenizer reads as control tokens, where that is known. `slots` are those of
    the prompt, with what their values are drawn from.
    """

    config: TaskConfig
    prompt: tuple[Message, ...]
    source: Path
    special_tokens: frozenset[str] = frozenset()
    tools: str = ""
    slots: Slots = field(default_factory=Slots)

    @property
    def prompt_id(self) -> str:
        """The prompt's name in the dataset."""
        return prompt_id(self.config.name, self.prompt, self.tools)


def shipped_tasks() -> dict[str, Path]:
    """The tasks that come with the package, by name."""
    folder = Path(__file__).parent / "tasks"
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/task.yml"))}


def load_task(name: str, overrides: Mapping[str, Any] | None = None) -> Task:
    """Read and check a task.

    Args:
        name: a shipped task's name, or the path of a task's folder or task.yml.
        overrides: values that replace the file's, by dotted key (`inputs.count`).

    Raises:
        TaskError: no such task; task.yml or the prompt is not as it must be.
    """
    path = _find(name)
    try:
        source = path.read_text(encoding="utf-8")
        data = yaml.safe_load(source)
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} can't be read: {error}", "It is a UTF-8 text file.") from None
    except yaml.YAMLError as error:
        cause, cure = syntax_error(source, error)
        raise TaskError(f"{path} can't be read: {cause}", cure) from None
    if twice := repeated_key(source):
        raise TaskError(f"{path}, {twice}.", "Keep one of them.")
    if not isinstance(data, dict):
        raise TaskError(
            f"{path} holds no keys.", "`python -m synth init` writes a task.yml to start from."
        )
    overrides = dict(overrides or {})
    for key, value in overrides.items():
        _override(data, key, value)
    try:
        config = TaskConfig.model_validate(data)
    except ValidationError as error:
        raise _explained(error, path, source, overrides) from None
    _check_inputs(config, path)
    prompt = load_prompt(path.parent / config.prompt, config.prompt_role)
    tools = load_tools(path.parent / config.tools) if config.tools else ""
    slots = read_slots(config.slots, config.kept, prompt, config.prompt_role, path.parent, path)
    return Task(config, prompt, path, tools=tools, slots=slots)


def parse_override(text: str) -> tuple[str, Any]:
    """Read `key.path=value` of the command line; the value is YAML.

    Raises:
        TaskError: no `=`, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise TaskError(
            f"--set {text}: this is not KEY=VALUE.", "For example: --set inputs.temperature=0.8"
        )
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise TaskError(f"--set {text}: the value is not YAML: {error}", "Quote it.") from None


def _find(name: str) -> Path:
    shipped = shipped_tasks()
    if name in shipped:
        return shipped[name] / "task.yml"
    path = Path(name)
    if path.is_dir():
        path = path / "task.yml"
    if path.is_file():
        return path
    names = ", ".join(shipped) or "none"
    close = difflib.get_close_matches(name, shipped, n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    raise TaskError(
        f"There is no task {name}: neither a shipped task nor a folder with a task.yml.",
        f"{hint}Shipped tasks: {names}. A task of your own: "
        "python -m synth init my-task --prompt my_prompt.md",
    )


def _override(data: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    here = data
    for section in sections:
        if here.get(section) is None:
            here[section] = {}
        inner = here[section]
        if not isinstance(inner, dict):
            raise TaskError(
                f"The command line's `{key}`: `{section}` has no keys.", "Check the key's path."
            )
        here = inner
    here[last] = value


def _explained(
    error: ValidationError, path: Path, source: str, overrides: dict[str, Any]
) -> TaskError:
    """One line for each thing that is wrong, with the nearest right key for a wrong one."""
    lines = []
    problems = error.errors()
    for problem in problems:
        if problem["type"] == "too_short" and any(_inside(one, problem) for one in problems):
            continue  # only because what is wrong with its items was not counted
        place_in_file = tuple(part for part in problem["loc"] if part not in (AS_TEXT, AS_CODE))
        key = ".".join(str(part) for part in place_in_file)
        place = f"The command line's `{key}`" if key in overrides else f"{path}: `{key}`"
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, _all_keys(TaskConfig), n=1, cutoff=0.5)
            lines.append(
                f"{place} is not a key of a task." + (f" Did you mean `{near[0]}`?" if near else "")
            )
        elif problem["type"] == "missing":
            lines.append(f"{path}: `{key}` is missing.")
        elif problem["type"] == "string_type" and key in overrides:
            lines.append(
                f"{place} is not text: YAML reads it as {problem['input']!r}. Quote it: "
                f"--set '{key}=\"...\"'"
            )
        elif problem["type"] == "string_type" and (
            words := misread_text(source, _written(place_in_file), problem["input"])
            or misread_text(source, place_in_file, problem["input"])
        ):
            lines.append(f"{path}, {words}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            shown = repr(problem["input"])
            shown = shown if len(shown) <= 80 else shown[:77] + "..."
            lines.append(f"{place}: {message} (it is {shown})")
    return TaskError("\n".join(lines), "Every key is described in docs/tasks.md.")


def _inside(one: ErrorDetails, other: ErrorDetails) -> bool:
    """Whether a problem is with a part of what another is with."""
    inner, outer = one["loc"], other["loc"]
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _written(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The place of a slot's value in a list that has no key of its own."""
    return (*path[:2], *path[3:]) if path[:1] == ("slots",) and path[2:3] == ("values",) else path


def _all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, about in model.model_fields.items():
        keys.append(prefix + name)
        kind = about.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            keys += _all_keys(kind, f"{prefix}{name}.")
    return keys


def _check_inputs(config: TaskConfig, path: Path) -> None:
    inputs = config.inputs
    if inputs.min_chars > inputs.max_chars:
        raise TaskError(
            f"{path}: `inputs.min_chars` ({inputs.min_chars}) is more than `inputs.max_chars` "
            f"({inputs.max_chars}).",
            "No text is that short and that long; correct one of them.",
        )
    if not inputs.seeds and not inputs.show_prompt:
        raise TaskError(
            f"{path}: with no `inputs.seeds` and `inputs.show_prompt: false` the generator knows "
            "nothing of what it should write.",
            "Write a few seeds, set `inputs.show_prompt: true`, or have a model draft a task: "
            f"python -m synth init my-draft --prompt {path.parent / config.prompt} --model MODEL",
        )
