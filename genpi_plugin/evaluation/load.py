"""Model, tokenizer and config through axolotl, so that the base model is the one trained on."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import GenPIError


def load_config(path: Path, overrides: dict[str, Any]) -> Any:
    """axolotl's own reading of the YAML, with its messages held back."""
    with _quiet(logging.WARNING):  # what libraries lack on this machine, and training would need
        from axolotl.cli.config import load_cfg

        cfg = load_cfg(str(path), inference=True, **overrides)
    if cfg.get("genpi") is None:
        raise GenPIError(
            f"{path} has no `genpi:` block.", "give the config of a GenPI training run."
        )
    if not cfg.adapter:
        raise GenPIError(
            f"{path} has no `adapter:`.",
            "teacher and floor are the model with the adapter off, so there must be one to switch.",
        )
    return cfg


def load_model(cfg: Any, adapter: Path) -> tuple[Any, Any]:
    """(model with the adapter in `adapter`, tokenizer).

    Raises:
        GenPIError: the folder holds no adapter.
    """
    if not (adapter / "adapter_config.json").is_file():
        raise GenPIError(
            f"{adapter} holds no adapter (no adapter_config.json).",
            "train one with `axolotl train`, or name a checkpoint with `--adapter DIR`.",
        )
    from axolotl.cli.utils import load_model_and_tokenizer

    cfg.lora_model_dir = str(adapter)
    cfg.sample_packing = False
    with _quiet(logging.INFO):
        model, tokenizer, _ = load_model_and_tokenizer(cfg=cfg, inference=True)
    model.eval()
    return model, tokenizer


@contextlib.contextmanager
def _quiet(level: int) -> Iterator[None]:
    """Hold back what is told about loading up to a level: it is about training."""
    logging.disable(level)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    finally:
        logging.disable(logging.NOTSET)
