"""Whether the training's trainer and collator are ours: axolotl takes the first a plugin offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genpi_plugin.errors import ConfigError


def check_other_plugins(cfg: Any, plugins: Mapping[str, Any]) -> None:
    """Before the model loads: no other plugin may bring a trainer or a collator.

    Whichever is listed first would win, and the other would have no effect without a word.

    Args:
        cfg: axolotl's config.
        plugins: axolotl's plugins besides this one, by the name in the YAML.

    Raises:
        ConfigError: names the plugin and the class.
    """
    for name, plugin in plugins.items():
        collator = plugin.get_collator_cls_and_kwargs(cfg, is_eval=False)
        offered = {
            "trainer": plugin.get_trainer_cls(cfg),
            "collator": collator and collator[0],
        }
        for what, found in offered.items():
            if found is not None:
                raise ConfigError(
                    f"the plugin `{name}` brings a {what} of its own ({_name(found)}), and with a "
                    f"`genpi:` block training needs GenPI's.",
                    f"remove `{name}` from `plugins:` or the option that switches it on, or "
                    "train without the `genpi:` block.",
                )


def check_trainer(trainer: Any, trainer_class: type, collator_class: type) -> None:
    """Once the trainer is made: is it ours, with our collators?

    Raises:
        ConfigError: names the class that is there instead.
    """
    expected = {
        "trainer": (trainer, trainer_class),
        "collator": (getattr(trainer, "data_collator", None), collator_class),
        "evaluation's collator": (getattr(trainer, "eval_data_collator", None), collator_class),
    }
    for what, (found, wanted) in expected.items():
        if not isinstance(found, wanted):
            raise ConfigError(
                f"the {what} is {_name(type(found))}, not GenPI's {wanted.__name__}: the "
                "joint loss would not be trained.",
                "find out which plugin or option replaces it, and remove that, or train without "
                "the `genpi:` block.",
            )


def _name(found: Any) -> str:
    return f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', found)}".strip(".")
