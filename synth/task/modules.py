"""`module:name` in task.yml: code of the user's own, beside task.yml or installed."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from synth.errors import TaskError


@dataclass(frozen=True)
class Loaded:
    """What a reference names, and the SHA-256 of its source file ("" where it has none)."""

    value: Any
    sha256: str


def load_reference(reference: str, key: str, folder: Path) -> Loaded:
    """What `module:name` names.

    The module is looked for in `folder`, then in the current folder, then among what is installed.
    A file that has changed is read anew.

    Args:
        reference: `module:name`.
        key: the key of task.yml that holds it, for messages.
        folder: where task.yml lies.

    Raises:
        TaskError: there is no such module or name, or the module can't be imported.
    """
    module_name, _, name = reference.partition(":")
    search = list(dict.fromkeys([folder.resolve(), Path.cwd()]))
    found = next((path for path in (_file(at, module_name) for at in search) if path), None)
    sys.path[:0] = map(str, search)
    try:
        if found is not None:
            module = _module(module_name, found, _sha256(found))
        else:
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _not_imported(reference, key, error) from error
        raise TaskError(
            f"`{key}`: there is no module {module_name} for {reference}.",
            f"Put {module_name.replace('.', '/')}.py beside task.yml ({folder}), or install it.",
        ) from None
    except Exception as error:
        raise _not_imported(reference, key, error) from error
    finally:
        del sys.path[: len(search)]
    if not hasattr(module, name):
        raise TaskError(
            f"`{key}`: the module {module_name} has no {name}.", f"Correct {reference} in task.yml."
        )
    source = inspect.getsourcefile(module) if hasattr(module, "__file__") else None
    return Loaded(getattr(module, name), _sha256(Path(source)) if source else "")


def raised(error: BaseException) -> str:
    """An error of the user's code in one line: its type, its words, and the line that raised it."""
    words = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"
    return f"{type(error).__name__}{f': {words}' if words else ''}{where if frames else ''}"


def _file(folder: Path, module: str) -> Path | None:
    path = folder.joinpath(*module.split("."))
    candidates = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


@functools.cache
def _module(name: str, path: Path, sha256: str) -> ModuleType:
    """The module in a file of this content, executed once."""
    # Under a name of its own: two tasks may each have their `filters.py`.
    own = f"{name}_{sha256[:12]}"
    spec = importlib.util.spec_from_file_location(own, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[own] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[own]
        raise
    return module


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _not_imported(reference: str, key: str, error: Exception) -> TaskError:
    return TaskError(
        f"`{key}`: {reference} can't be imported: {raised(error)}.", "Correct the module."
    )
