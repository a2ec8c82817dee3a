"""The trainings of `make gpu-check`: axolotl takes each config, and differences are noticed."""

from __future__ import annotations

import pytest
import yaml

from benchmarks.gpu_check import trainings
from benchmarks.gpu_check.checks import Machine, TimeUp
from benchmarks.gpu_check.configs import TRAININGS, config_of

CPU = Machine("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainings")
    trainings.make_place(folder, CPU)
    return folder


def _of(found, wanted):
    """Of a block and the blocks in it, the keys that are wanted."""
    return {key: _of(found[key], one) if isinstance(one, dict) else found[key]
            for key, one in wanted.items()}  # fmt: skip


@pytest.mark.parametrize("name", TRAININGS)
def test_axolotl_takes_the_config_of_a_training_on_a_gpu(name, place, monkeypatch):
    """Validated as on a card of Ampere's kind; what a GPU alone could say stays unsaid."""
    from axolotl.cli import config as axolotl_config

    training = TRAININGS[name]
    monkeypatch.chdir(place)
    monkeypatch.setenv("AXOLOTL_DO_NOT_TRACK", "1")
    _, environment = axolotl_config.gpu_capabilities()
    card = {"bf16": True, "fp8": False, "tf32": True, "n_gpu": 1, "compute_capability": "sm_86"}
    monkeypatch.setattr(axolotl_config, "gpu_capabilities", lambda: (card, environment))
    config = config_of(training, "out")
    (place / "one.yml").write_text(yaml.safe_dump(config))
    cfg = axolotl_config.load_cfg("one.yml")
    for key, value in training.changes.items():
        if key == "genpi":  # the defaults stand beside
            assert _of(cfg.genpi, value) == value
        elif key != "datasets":
            assert cfg.get(key) == value, key
    assert [one["path"] for one in cfg.datasets] == [one["path"] for one in config["datasets"]]
    assert cfg.genpi["distill_weight"] == 1.0
    assert training.like in {"", *TRAININGS}


def test_every_training_is_compared_with_one_of_its_own_base_or_precision():
    for training in TRAININGS.values():
        if training.like:
            other = TRAININGS[training.like]
            assert bool(training.changes.get("load_in_4bit")) == bool(
                other.changes.get("load_in_4bit")
            )


STEPS = [{"loss": 3.0 - n, "behaviour_loss": 2.0, "grad_norm": 1.0 + n} for n in range(3)]


class Told:
    """What trainings logged."""

    def __init__(self, found):
        self.found = found

    def steps(self, name):
        return self.found[name]


def test_a_training_is_as_far_off_as_its_furthest_figure():
    other = [dict(step) for step in STEPS]
    other[1]["grad_norm"] *= 1.25
    found = trainings.judged("sample packing", Told({"plain": STEPS, "sample packing": other}))
    assert found.value == pytest.approx(0.25)
    assert found.detail == "loss 3 to 1; like plain"
    assert trainings.judged("plain", Told({"plain": STEPS})).value == STEPS[-1]["loss"]


def test_a_training_that_does_not_learn_or_logs_something_else_fails():
    flat = [{**step, "loss": 3.0} for step in STEPS]
    with pytest.raises(RuntimeError, match="does not fall in 3 steps: 3, 3, 3"):
        trainings.judged("plain", Told({"plain": flat}))
    without = [{"loss": step["loss"], "grad_norm": 1.0} for step in STEPS]
    with pytest.raises(RuntimeError, match="logged other figures"):
        trainings.judged("sample packing", Told({"plain": STEPS, "sample packing": without}))


def test_a_program_that_fails_is_quoted_and_one_that_goes_on_is_ended(tmp_path):
    with pytest.raises(RuntimeError, match="ValueError: no such kernel"):
        trainings.run(["python", "-c", "raise ValueError('no such kernel')"], tmp_path, 60)
    with pytest.raises(TimeUp, match="still training"):
        trainings.run(["python", "-c", "import time; time.sleep(60)"], tmp_path, 1)
    assert trainings.last_words("a\nKeyError: 'x'\n[rank0] ends\n") == "KeyError: 'x'"


@pytest.mark.slow
def test_the_trainings_that_a_cpu_can_do_agree(place):
    ran = trainings.Trainings(CPU, place, 1)
    found = trainings.judged("sample packing", ran)
    assert found.value < trainings.TOLERANCE["float32"]
