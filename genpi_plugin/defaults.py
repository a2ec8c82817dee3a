"""What a `genpi:` block leaves open, decided by what the config can do; it is said in the log."""

from __future__ import annotations

from typing import Any

from axolotl.utils.logging import get_logger

from genpi_plugin.args import GenPISettings, parse_settings
from genpi_plugin.checks import no_teacher
from genpi_plugin.data.told import any_told

LOG = get_logger("axolotl.genpi")


def decide(cfg: Any) -> GenPISettings:
    """Fill in the `genpi:` block of a config: whether to distill, from what, whether to learn from
    labels beside it, and whether to keep.

    Args:
        cfg: the YAML as axolotl read it; its block is changed.

    Raises:
        ConfigError: a value that means nothing.
    """
    cfg["genpi"] |= _teaching(cfg, parse_settings(dict(cfg["genpi"])))
    settings = parse_settings(dict(cfg["genpi"]))
    if settings.sft_weight is None and not settings.label_weight:
        LOG.info("genpi: no loss on the answers' labels, as the teacher's distributions say more. "
                 "To choose another weight: `sft_weight`")  # fmt: skip
    cfg["genpi"] |= {"sft_weight": settings.label_weight, **_keeping(cfg, settings)}
    return parse_settings(dict(cfg["genpi"]))


def _teaching(cfg: Any, settings: GenPISettings) -> dict[str, Any]:
    """Distill where there is a teacher (docs/results.md), and say who it is or why none is."""
    source, weight, why = settings.distill_from, settings.distill_weight, no_teacher(cfg)
    if weight == 0:
        return {}
    if source is None:
        reads_along = settings.teacher == "start" or settings.on_policy is not None
        in_rows = why and not reads_along and any_told(cfg["datasets"])
        source = "rows" if in_rows else "model"
    if why and source == "model" and weight is None and settings.distill_from is None:
        LOG.info(f"genpi: training without distillation, which {why[0]} To choose this: "
                 "`distill_weight: 0`; where rows on a hub hold distributions: "
                 "`distill_from: rows`")  # fmt: skip
        return {"distill_weight": 0.0}
    if source == "rows":
        LOG.info(
            "genpi: the teacher's distributions are those in the rows (`top_ids`, "
            "`top_logprobs`); no model reads the prompt (genpi.distill_from: rows)"
        )
    return {"distill_weight": 1.0 if weight is None else weight, "distill_from": source}


def _keeping(cfg: Any, settings: GenPISettings) -> dict[str, Any]:
    """Keep other requests where distillation is and answers can be written (docs/results.md)."""
    if settings.keep_weight is not None:
        return {}
    if not settings.distills:
        return {"keep_weight": 0.0}
    if why := no_teacher(cfg, writes=True):
        LOG.info(f"genpi: training without requests to keep, which {why[0]} To choose this: "
                 "`keep_weight: 0`")  # fmt: skip
        return {"keep_weight": 0.0}
    return {"keep_weight": 1.0}
