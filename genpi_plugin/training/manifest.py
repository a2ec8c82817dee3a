"""What was internalized: a `genpi_manifest.json` beside every checkpoint.

It names the prompt by hash, never by text, so that an adapter can be published without it.
"""

from __future__ import annotations

import json
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from genpi_plugin.data.digests import of_weights
from genpi_plugin.data.prepared import PREFIX, recorded_prompts
from genpi_plugin.version import __version__

MANIFEST_FILE = "genpi_manifest.json"
PACKAGES = ("axolotl", "transformers", "peft", "torch")


def build_manifest(cfg: Any, train_rows: int) -> dict[str, Any]:
    """Gather prompt, data, settings and versions of a run. JSON types only."""
    folder = str(cfg.dataset_prepared_path)
    return {
        "manifest_version": 1,
        "base_model": str(cfg.base_model),
        "weights_mark": of_weights(str(cfg.base_model)),
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
    return json.loads(path.read_text()) if path.is_file() else None


class ManifestCallback(TrainerCallback):
    """Writes the manifest into every checkpoint and into the output folder.

    Besides what was internalized it records the cost so far, under `spent`: seconds of wall clock,
    including those before a resumed checkpoint (null where that has no record), the Trainer's
    estimate of FLOPs, and the number of processes.
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

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = time.monotonic()
        if state.global_step:  # resumed
            own = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            folder = self.resumed_from or own
            self._seconds_before = ((read_manifest(folder) or {}).get("spent") or {}).get("seconds")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._write(
            args, state, Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        )

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._write(args, state, Path(args.output_dir))

    def _write(self, args: Any, state: Any, folder: Path) -> None:
        if not state.is_world_process_zero:
            return
        folder.mkdir(parents=True, exist_ok=True)
        seconds = time.monotonic() - self._started
        spent = {
            "seconds": None
            if self._seconds_before is None
            else round(self._seconds_before + seconds, 1),
            "flops": state.total_flos,
            "processes": args.world_size,
        }
        content = {**self.manifest, "step": state.global_step, "spent": spent}
        (folder / MANIFEST_FILE).write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        )


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
