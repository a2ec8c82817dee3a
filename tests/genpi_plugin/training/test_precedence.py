"""The training is GenPI's, or it is refused with the name of what took its place."""

from __future__ import annotations

import pytest
from axolotl.core.trainers.base import AxolotlTrainer
from axolotl.integrations.base import BasePlugin, PluginManager
from axolotl.utils.collators import DataCollatorForSeq2Seq
from axolotl.utils.dict import DictDefault

from genpi_plugin.plugin import GenPIPlugin
from tests.genpi_plugin.rows_made import paper
from tests.genpi_plugin.training.test_trainer import trainer


class OtherTrainerPlugin(BasePlugin):
    def get_trainer_cls(self, cfg):
        return AxolotlTrainer if cfg.other_trainer else None

    def get_collator_cls_and_kwargs(self, cfg, is_eval=False):
        return (DataCollatorForSeq2Seq, {}) if cfg.other_collator else None


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize(
    ("option", "says"),
    [
        (
            "other_trainer",
            r"`mine\.Plugin` brings a trainer of its own \(axolotl.*AxolotlTrainer\)",
        ),
        ("other_collator", r"`mine\.Plugin` brings a collator of its own \(.*ForSeq2Seq\)"),
    ],
)
def test_another_plugins_trainer_is_refused_before_the_model_loads(
    monkeypatch, ours_first, option, says
):
    plugins = {"genpi_plugin.GenPIPlugin": GenPIPlugin(), "mine.Plugin": OtherTrainerPlugin()}
    named = dict(sorted(plugins.items(), reverse=not ours_first))
    monkeypatch.setattr(PluginManager.get_instance(), "plugins", named)
    ours = plugins["genpi_plugin.GenPIPlugin"]
    ours.pre_model_load(DictDefault(genpi={}))
    ours.pre_model_load(DictDefault({option: True}))  # no `genpi:` block, none of our business
    with pytest.raises(SystemExit, match=says):
        ours.pre_model_load(DictDefault({"genpi": {}, option: True}))


def test_a_trainer_that_is_not_ours_is_refused_however_it_came(tmp_path):
    made = trainer(tmp_path, paper())
    cfg = DictDefault(genpi={"distill_weight": 0}, sample_packing=False)
    GenPIPlugin().post_trainer_create(cfg, made)
    made.eval_data_collator = object()
    with pytest.raises(SystemExit, match=r"the evaluation's collator is builtins\.object"):
        GenPIPlugin().post_trainer_create(cfg, made)
    made.__class__ = AxolotlTrainer
    with pytest.raises(SystemExit, match=r"the trainer is axolotl\..*AxolotlTrainer, not GenPI's"):
        GenPIPlugin().post_trainer_create(cfg, made)
