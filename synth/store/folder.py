"""The output folder: whose it is, what it was made with, and that one run at a time uses it."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import yaml

from synth.errors import SynthError
from synth.secrets import RedactingFilter, redactor

CONFIG = "synth.yaml"
LOG = "run.log"
LOCK = "run.lock"
STORE = "store.sqlite"
HEADER = """\
# What this folder's dataset is made from and with, written by `python -m synth run`.
# Everything but `run:` determines the rows; a run that differs there is refused.
"""
# What a run leaves here before synth.yaml is written.
EARLY = (
    LOG,
    LOCK,
    f"{CONFIG}.tmp",
    STORE,
    *(f"{STORE}-{part}" for part in ("journal", "wal", "shm")),
)
# What follows from the store and synth.yaml.
EXPORTED = ("README.md", "report.html", "rejected.jsonl", "data/*.parquet")
SYNCS_FOLDERS = os.name != "nt"  # Windows opens no folder, and keeps its names by itself
WAIT = 0.5  # seconds, in which a `synth status` that looks at the lock lets go of it


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder and hold it; its run.lock, which stays there, is what is locked.

    Raises:
        SynthError: another run holds it, or it can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder)
        sync_folder(folder.absolute().parent)
        lock = filelock.FileLock(folder / LOCK)
        lock.acquire(timeout=WAIT)
    except filelock.Timeout:
        raise SynthError(
            f"Another run is at work in {folder}.",
            f"Wait for it (python -m synth status {folder}), stop it, or give another folder "
            "with -o.",
        ) from None
    except OSError as error:
        raise SynthError(
            f"{folder} can't be written: {error}.", "Give another folder with -o."
        ) from None
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a run is at work in the folder."""
    if not (folder / LOCK).exists():
        return False
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except OSError:  # nobody can write here, no run either
        return False
    lock.release()
    return False


def check_ours(folder: Path) -> None:
    """Check that the folder is new, empty, or an earlier run's.

    Raises:
        SynthError: it is a file, or holds something else: writing README.md and data/ there
            could destroy it.
    """
    if folder.exists() and not folder.is_dir():
        raise SynthError(f"{folder} is a file.", "Give a folder with -o.")
    if folder.exists() and not (folder / CONFIG).exists():
        others = sorted(path.name for path in folder.iterdir() if path.name not in EARLY)
        if others:
            raise SynthError(
                f"{folder} holds files that no run of synth made ({', '.join(others[:3])}"
                f"{', ...' if len(others) > 3 else ''}).",
                "Give a new or empty folder with -o.",
            )


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write synth.yaml, all of it or nothing."""
    text = HEADER + yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
    replace_text(folder / CONFIG, text)


def read_config(folder: Path) -> dict[str, Any] | None:
    """The folder's synth.yaml; None if there is none.

    Those of earlier versions may hold secrets, which are left out.

    Raises:
        SynthError: it can't be read.
    """
    path = folder / CONFIG
    if not path.exists():
        return None
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SynthError(f"{path} can't be read: {error}", "Give another folder with -o.") from None
    if not isinstance(config, dict) or not config.keys() >= {"task", "target", "generator", "run"}:
        raise SynthError(
            f"{path} was not written by a run of synth.", "Give another folder with -o."
        )
    for part in {"target", "generator", "models"} & config.keys():
        config[part] = redactor.arguments(config[part])
    config["run"] = redactor.texts(config["run"])
    return config


def read_run(folder: Path) -> dict[str, Any]:
    """The synth.yaml of a run's folder.

    Raises:
        SynthError: no run made this folder.
    """
    config = read_config(folder) if folder.is_dir() else None
    if config is None or not (folder / STORE).exists():
        raise SynthError(
            f"{folder} is not the folder of a run.", "Give what you gave to `run` with -o."
        )
    return config


def delete_exports(folder: Path) -> None:
    """Delete what was exported under another configuration; the store can make it again."""
    for pattern in EXPORTED:
        for path in folder.glob(pattern):
            path.unlink()


def replace_text(path: Path, text: str) -> None:
    """Write a text file so that a reader finds the old or the new one, never a part.

    Secrets that are known are left out of it.

    Raises:
        SynthError: it can't be written.
    """
    beside = path.with_name(path.name + ".tmp")
    try:
        beside.write_text(redactor.hide(text), encoding="utf-8", newline="\n")
        replace_file(beside, path)
    except OSError as error:
        raise SynthError(
            f"{path} can't be written: {error.strerror}.",
            "Check the disk's space and the folder's permissions, then run the same command again.",
        ) from None


def replace_file(beside: Path, path: Path) -> None:
    """Put a written file in another's place; a power cut leaves the old or the new one, whole."""
    with beside.open("r+b") as written:  # Windows syncs no file that is open for reading
        os.fsync(written.fileno())
    os.replace(beside, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk, where that is the program's to do."""
    if not SYNCS_FOLDERS:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Write what is logged to the folder's run.log, too."""
    handler = logging.FileHandler(folder / LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(RedactingFilter())
    logger = logging.getLogger("synth")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
