"""What was internalized: a `genpi_manifest.json` beside every checkpoint, of the weights in it.

It names prompts by hash, never by text, so that an adapter can be published without them.
"""

from __future__ import annotations

import atexit
import json
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from axolotl.utils.logging import get_logger
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from genpi_plugin.data import digests
from genpi_plugin.data.prepared import PREFIX, recorded_prompts
from genpi_plugin.training.history import all_prompts, continued, difference, spans_of
from genpi_plugin.version import __version__

LOG = get_logger("axolotl.genpi")
MANIFEST_FILE = "genpi_manifest.json"
PACKAGES = ("axolotl", "transformers", "peft", "torch")


def build_manifest(cfg: Any, train_rows: int) -> dict[str, Any]:
    """Gather prompt, data, settings and versions of a run. JSON types only."""
    folder = str(cfg.dataset_prepared_path)
    return {
        "manifest_version": 2,
        "base_model": str(cfg.base_model),
        "weights_mark": digests.of_weights(str(cfg.base_model)),
        "prompts": recorded_prompts(folder),
        "data": {
            "fingerprint": Path(folder).name.removeprefix(PREFIX),
            "datasets": [
                {key: entry.get(key) for key in ("path", "split", "revision")}
                for entry in cfg.datasets
            ],
            "train_rows": train_rows,
        },
        "genpi": dict(cfg.genpi),
        "started_from": _start(cfg.get("lora_model_dir")),
        "training": {
            key: cfg.get(key)
            for key in (
                "adapter",
                "lora_r",
                "lora_alpha",
                "learning_rate",
                "num_epochs",
                "max_steps",
                "micro_batch_size",
                "gradient_accumulation_steps",
                "sample_packing",
                "seed",
            )
        },
        "versions": {"axolotl-genpi": __version__, **_versions()},
    }


def read_manifest(folder: str | Path) -> dict[str, Any] | None:
    """The manifest beside an adapter; None when it has none."""
    path = Path(folder) / MANIFEST_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def copy_manifest(adapter: str | Path, merged: str | Path) -> bool:
    """Put an adapter's manifest into the folder of the model it was merged into, with `merged`, the
    adapter's folder; whether it has one."""
    manifest = read_manifest(adapter)
    if manifest is None:
        return False
    write_manifest(merged, {**manifest, "merged": str(adapter)})
    return True


def write_manifest(folder: str | Path, content: dict[str, Any]) -> None:
    """Write the manifest into a folder, which is made."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / MANIFEST_FILE).write_text(
        json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


class ManifestCallback(TrainerCallback):
    """Writes the manifest into every checkpoint and into the output folder.

    Besides what was internalized it says of which `step` and `epoch` the weights beside it are,
    which data they were trained on from which step to which (`spans`, see `history`), and the cost
    so far (`spent`): seconds of wall clock, including those before a resumed checkpoint (null where
    that has no record), the Trainer's estimate of FLOPs, and the number of processes.
    """

    def __init__(self, manifest: dict[str, Any], resumed_from: str | None = None) -> None:
        """
        Args:
            resumed_from: the config's checkpoint to resume from; otherwise the run's own is used.
        """
        self.manifest = manifest
        self.resumed_from = resumed_from
        self._started = time.monotonic()
        self._seconds_before: float | None = 0.0
        # The step at which the run begins, and the manifest of the checkpoint it goes on from.
        self._begun: tuple[int, dict[str, Any] | None] = (0, None)
        self._on_exit: Callable[[], None] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = time.monotonic()
        self._on_exit = partial(self._write_if_interrupted, args, state, time.time())
        atexit.register(self._on_exit)
        if state.global_step:  # resumed
            own = _checkpoint(args, state.global_step)
            earlier = read_manifest(self.resumed_from or own)
            self._seconds_before = ((earlier or {}).get("spent") or {}).get("seconds")
            self._begun = (state.global_step, earlier)
            if why := difference(self._spans(state.global_step)):
                LOG.warning(
                    f"genpi: {why}. Its manifest names both; to train on this data alone, start "
                    "without `resume_from_checkpoint`."
                )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._write(state, _checkpoint(args, state.global_step), self._content(args, state))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._on_exit:
            atexit.unregister(self._on_exit)
        content = self._content(args, state)
        best = state.best_model_checkpoint if args.load_best_model_at_end else None
        if best and (of_best := read_manifest(best)):
            # The Trainer has put the best checkpoint's weights back; the cost is the whole run's.
            chosen = {"by": args.metric_for_best_model, "value": state.best_metric,
                      "last_step": state.global_step}  # fmt: skip
            content = {**of_best, "spent": content["spent"], "best": chosen}
        self._write(state, Path(args.output_dir), content)

    def _write_if_interrupted(self, args: Any, state: Any, started: float) -> None:
        """On Ctrl-C axolotl saves the weights as they are into the output folder, and exits."""
        folder = Path(args.output_dir)
        weights = [path for path in folder.glob("*") if path.suffix in digests.WEIGHTS]
        if any(path.stat().st_mtime >= started for path in weights):
            self._write(state, folder, self._content(args, state))

    def _content(self, args: Any, state: Any) -> dict[str, Any]:
        """The manifest of the weights as they are now."""
        spans = self._spans(state.global_step)
        before, seconds = self._seconds_before, time.monotonic() - self._started
        start = self.manifest.get("started_from")
        return {
            **self.manifest,
            "prompts": all_prompts([*([start] if start else []), *spans]),
            "step": state.global_step,
            "epoch": state.epoch,
            "spans": spans,
            "spent": {
                "seconds": None if before is None else round(before + seconds, 1),
                "flops": state.total_flos,
                "processes": args.world_size,
            },
        }

    def _spans(self, step: int) -> list[dict[str, Any]]:
        """Up to a step. The requests to keep are known from the first step on."""
        *before, own = continued(self.manifest, *self._begun)
        return [*before, {**own, "to_step": step}]

    def _write(self, state: Any, folder: Path, content: dict[str, Any]) -> None:
        if state.is_world_process_zero:
            write_manifest(folder, content)


def _checkpoint(args: Any, step: int) -> Path:
    return Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def _start(adapter: str | None) -> dict[str, Any] | None:
    """The adapter that training starts from (`lora_model_dir`), and what that was trained on."""
    if not adapter:
        return None
    manifest = read_manifest(adapter) or {}
    return {
        "adapter": str(adapter),
        "digest": digests.of_adapter(Path(adapter)),
        "prompts": manifest.get("prompts") or [],
        "spans": spans_of(manifest) if manifest else [],
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
