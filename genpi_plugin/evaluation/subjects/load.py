"""Model, tokenizer and config through axolotl, so that the base model is the one trained on."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.subjects.adapters import check_fits
from genpi_plugin.teacher.mark import Mark, check_off_is_base


def load_config(path: Path, overrides: dict[str, Any]) -> Any:
    """axolotl's own reading of the YAML, with its messages suppressed."""
    with _quiet(logging.WARNING):  # they are about what training would need
        from axolotl.cli.config import load_cfg

        cfg = load_cfg(str(path), inference=True, **overrides)
    if cfg.get("genpi") is None:
        raise GenPIError(
            f"{path} has no `genpi:` block.", "give the config of a GenPI training run."
        )
    return cfg


def load_model(cfg: Any, adapter: Path) -> tuple[Any, Any]:
    """(model with the adapter in `adapter`, tokenizer).

    Raises:
        GenPIError: the adapter's weights do not fit the model, or with it off the model is not
            the base model.
    """
    from axolotl.cli.utils import load_model_and_tokenizer

    cfg.lora_model_dir = str(adapter)
    cfg.sample_packing = False
    with _quiet(logging.INFO), _explain_misfit(adapter):
        model, tokenizer, _ = load_model_and_tokenizer(cfg=cfg, inference=True)
    model.eval()
    _check(model, model.active_adapters[0], adapter)
    base = _base_mark()
    if base is not None:
        with model.disable_adapter():
            check_off_is_base(model, base)
    return model, tokenizer


def _base_mark() -> Mark | None:
    """What the base model computed before it got its adapter, from the plugin's hook."""
    from axolotl.integrations.base import PluginManager

    for plugin in PluginManager.get_instance().plugins.values():
        if isinstance(mark := getattr(plugin, "base", None), Mark):
            plugin.base = None
            return mark
    return None


def load_tokenizer(cfg: Any) -> Any:
    """The tokenizer with the chat template that the config trains with."""
    with _quiet(logging.INFO):
        from axolotl.loaders import load_tokenizer as load

        return load(cfg)


def load_base(cfg: Any) -> Any:
    """The base model as `load_model` loads it, without the adapter."""
    from axolotl.loaders import ModelLoader, load_tokenizer
    from axolotl.utils.dict import DictDefault

    without = DictDefault({**cfg, "lora_model_dir": None})
    with _quiet(logging.INFO):
        loader = ModelLoader(without, load_tokenizer(without), inference=True, reference_model=True)
        model, _ = loader.load()
    return model.eval()


def load_whole(cfg: Any, folder: Path, base: Any) -> Any:
    """A student that is a whole model, in the config's type; not quantized, also where the base
    model is.

    Args:
        base: the base model.

    Raises:
        GenPIError: it has another vocabulary than the base model.
    """
    own = {"base_model": str(folder), "base_model_config": str(folder), "adapter": None}
    model = load_base({**cfg, **own, "load_in_4bit": False, "load_in_8bit": False})
    sizes = [one.config.get_text_config().vocab_size for one in (model, base)]
    if sizes[0] != sizes[1]:
        raise GenPIError(
            f"the model in {folder} tells {sizes[0]} tokens apart, and the base model {sizes[1]}.",
            "it comes from another model: give the config that it was trained with.",
        )
    return model


def add_adapter(model: Any, name: str, adapter: Path) -> None:
    """Load a further adapter into the model, to be switched to by its name.

    Raises:
        GenPIError: its weights do not fit the model.
    """
    with _quiet(logging.INFO), _explain_misfit(adapter):
        model.load_adapter(str(adapter), adapter_name=name)
    model.eval()
    _check(model, name, adapter)


def _check(model: Any, name: str, adapter: Path) -> None:
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    check_fits(adapter, {key: tuple(tensor.shape) for key, tensor in state.items()})


@contextlib.contextmanager
def _explain_misfit(adapter: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if "size mismatch" not in str(error) and "arget module" not in str(error):
            raise
        raise GenPIError(
            f"the adapter in {adapter} does not fit the base model: {str(error)[:300]}",
            "it is an adapter of another model: give the config it was trained with.",
        ) from error


@contextlib.contextmanager
def _quiet(level: int) -> Iterator[None]:
    """Suppress log messages about loading up to a level: they concern training."""
    logging.disable(level)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    finally:
        logging.disable(logging.NOTSET)
