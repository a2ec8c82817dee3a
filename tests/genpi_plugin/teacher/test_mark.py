"""A base model known by what it computes: its adapter's off switch, and the key of its targets."""

from __future__ import annotations

import pytest
import torch
from axolotl.utils.dict import DictDefault
from peft import LoraConfig, get_peft_model

from genpi_plugin.errors import GenPIError
from genpi_plugin.teacher.mark import Mark, check_off_is_base
from genpi_plugin.teacher.opening import open_teacher
from tests.genpi_plugin.teacher.test_teacher import Alone, pairs, teacher_of
from tests.tiny import make_model


def adapted(start, **more):
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=start, **more)
    return get_peft_model(make_model(), config)


@pytest.mark.parametrize("start", [True, "gaussian", "orthogonal"])
def test_an_adapter_that_leaves_the_base_alone_is_a_teacher_when_off(start):
    base = Mark.of(make_model())
    model = adapted(start)
    with torch.no_grad():  # as after training: on is something else
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    with model.disable_adapter():
        check_off_is_base(model, base)
        assert base.distance(Mark.of(model)) < 1e-9
    assert base.distance(Mark.of(model)) > 0.1


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_an_adapter_that_takes_weights_from_the_base_is_refused_before_anything_is_written(
    start, tmp_path
):
    model = adapted(start)
    teacher = teacher_of(tmp_path, pairs())
    teacher.base = Mark.of(make_model())
    with pytest.raises(GenPIError, match=f"`init_lora_weights: {start}`") as caught:
        teacher.prepare(model, Alone())
    assert "distill_weight: 0" in caught.value.cure
    assert not list(tmp_path.rglob("*.safetensors"))


def test_weights_that_are_rounded_for_the_adapter_are_seen(tmp_path):
    """What LoftQ does, whose own code needs a GPU."""
    base = Mark.of(make_model())
    model = adapted(True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "base_layer" in name:
                parameter.copy_((parameter * 4).round() / 4)
    with model.disable_adapter(), pytest.raises(GenPIError, match="is not the base model"):
        check_off_is_base(model, base)


def test_repeated_layers_are_named():
    """They stay where the adapter is off, and the way the adapter was started isn't at fault."""
    base = Mark.of(make_model())
    model = adapted(True, layer_replication=[[0, 2], [1, 2]])
    with model.disable_adapter(), pytest.raises(GenPIError, match="`peft_layer_replication`"):
        check_off_is_base(model, base)


def cfg(tmp_path):
    return DictDefault(
        {
            "base_model": "some/model",
            "dataset_prepared_path": str(tmp_path / "genpi-x"),
            "sequence_len": 64,
            "micro_batch_size": 1,
        }
    )


def test_targets_lie_apart_for_models_that_compute_other_things(tmp_path):
    """The same settings, and weights that differ: one row of the embeddings, drawn anew."""
    folder = open_teacher(cfg(tmp_path), 64, base=Mark.of(make_model())).store.folder
    assert open_teacher(cfg(tmp_path), 64, base=Mark.of(make_model())).store.folder == folder
    other = make_model()
    with torch.no_grad():
        other.get_input_embeddings().weight[-1].normal_()
    third = make_model(seed=3)
    folders = [
        open_teacher(cfg(tmp_path), 64, base=Mark.of(m)).store.folder for m in (other, third)
    ]
    assert len({folder, *folders}) == 3
    assert open_teacher(cfg(tmp_path), 64, base=Mark.of(other)).store.folder == folders[0]
    assert open_teacher(cfg(tmp_path), 64, base=Mark.of(make_model())).store.folder == folder


def test_rounding_is_no_other_model(tmp_path):
    """In bfloat16, another attention gives other digits; the targets are the same model's."""
    one = make_model().bfloat16()
    folder = open_teacher(cfg(tmp_path), 64, base=Mark.of(one)).store.folder
    one.set_attn_implementation("eager")
    assert open_teacher(cfg(tmp_path), 64, base=Mark.of(one)).store.folder == folder


@pytest.mark.parametrize(
    "changes",
    [
        {"overrides_of_model_config": {"rope_theta": 1000.0}},
        {"model_quantization_config": "Mxfp4Config"},
        {"tokens": ["<new>"]},
        {"type_of_model": "LlamaForCausalLM"},
    ],
)
def test_settings_of_the_base_are_in_the_key(tmp_path, changes):
    mark = Mark.of(make_model())
    folder = open_teacher(cfg(tmp_path), 64, base=mark).store.folder
    changed = DictDefault({**cfg(tmp_path), **changes})
    assert open_teacher(changed, 64, base=mark).store.folder != folder


def test_the_first_process_decides_where_targets_lie(tmp_path):
    class Second:
        is_main_process, num_processes = False, 1

    mark = Mark.of(make_model())
    folder = open_teacher(cfg(tmp_path), 64, base=mark, accelerator=Second()).store.folder
    assert not folder.exists()
