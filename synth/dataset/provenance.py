"""What a folder's dataset was made with, and that it is not made with something else unasked."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from synth.dataset.differences import differences
from synth.errors import SynthError
from synth.store.folder import delete_exports, read_config, write_config
from synth.store.store import Store
from synth.task.config import TaskConfig

# How it was run, what it is called, and what the evaluation alone reads: no row depends on it.
# `models` is looked at once they are open.
NO_CHANGE = ("run.", "task.scores", "task.description", "inputs_file.name", "models")
log = logging.getLogger("synth")


class Provenance:
    """What a folder was made with, and what it is to be made with.

    Its synth.yaml says what its rows and files come from. So where a change is asked for, it is
    replaced, and what was exported is taken away, when the first thing has come of the change: a
    run that stops before that (no server, a wrong model name) leaves the folder as it was.
    """

    def __init__(
        self, path: Path, config: dict[str, Any], store: Store, resume_changed: bool
    ) -> None:
        self.path = path
        self.config = config
        # A run that came to no answer binds nobody.
        self._earlier = (_as_of_now(read_config(path)) if store.answers() else None) or {}
        self._may_change = resume_changed
        self._changes: list[str] = []

    def check(self) -> None:
        """Refuse a change that was not asked for.

        Raises:
            SynthError: says where the configurations differ, and both ways out.
        """
        if self._earlier:
            self._note(differences(self._earlier, self.config, NO_CHANGE))
        if not self._changes:
            self.config["models"] = self._earlier.get("models", {})
            write_config(self.path, self.config)

    def check_models(self, models: dict[str, dict[str, str]]) -> None:
        """The same, of what the engines know their models by: a folder may hold other weights.

        Raises:
            SynthError: as `check` does.
        """
        before = self._earlier.get("models")
        if before:
            self._note(differences({"models": before}, {"models": models}, ()))
        self.config["models"] = models
        for role in ("target", "generator"):
            was = self._earlier.get("run", {}).get(role, {}).get("base_url")
            now = self.config["run"][role].get("base_url")
            if was and now and was != now:
                log.info("The %s is at another address (%s, before %s) and is taken to be the same "
                         "model: what it answered there stands.", role, now, was)  # fmt: skip

    def begin(self) -> None:
        """The first answer is there: from here on the folder is the new configuration's."""
        if self._changes:
            log.info("The settings have changed: what was exported with the old ones is taken "
                     "away, and made again if they come back.")  # fmt: skip
            delete_exports(self.path)
        write_config(self.path, self.config)

    def _note(self, changes: list[str]) -> None:
        if changes and not self._may_change:
            raise SynthError(
                f"{self.path} was made with another configuration:\n  " + "\n  ".join(changes),
                "To keep both, give another folder with -o. To go on in this one, add "
                "`--resume changed`: every answer that the change does not touch is kept, the "
                "dataset is made anew.",
            )
        self._changes += changes


def _as_of_now(config: dict[str, Any] | None) -> dict[str, Any] | None:
    """A synth.yaml with the defaults of the keys that came to a task after it was written."""
    if config is None:
        return None
    try:
        task = TaskConfig.model_validate(config["task"]).model_dump(mode="json")
    except ValidationError:  # a key that is gone: the difference is shown as it is
        return config
    return config | {"task": task}
