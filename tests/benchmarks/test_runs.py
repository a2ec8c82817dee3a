"""The contestants: their files load, one clock runs in all, and TRL's learn from our teacher."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks.folders import TRAIN, first_rows, keep
from benchmarks.peers.contestants import CONTESTANTS, Recipe, config
from genpi_plugin.args import GenPISettings, parse_settings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.rows import parse
from synth.dataset.export import SCHEMA
from tests.genpi_plugin.rows_made import our_row
from tests.tiny import make_tokenizer, save_tiny

ROWS = 6
OF_TRL = [name for name, one in CONTESTANTS.items() if one.trainer not in ("genpi", "sft")]
GENPI = [name for name, one in CONTESTANTS.items() if one.trainer == "genpi"]


def rows():
    return [our_row(id=f"r{i}", input=f"shirt number {i}") for i in range(ROWS)]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A tiny model and a dataset as `synth run` leaves it."""
    folder = tmp_path_factory.mktemp("peers")
    save_tiny(folder / "tiny")
    path = folder / "shop" / TRAIN
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows(), schema=SCHEMA), path)
    (folder / "shop" / "synth.yaml").write_text(yaml.safe_dump({"task": {"name": "shop"}}))
    return folder


def recipe(place, **changes):
    given = {"model": str(place / "tiny"), "data": str(place / "shop"), "chats": "chats.jsonl",
             "answer_tokens": 8, "sequence_len": 2048, "epochs": 1.0, "moments": 2}  # fmt: skip
    return Recipe(**{**given, **changes})


@pytest.mark.parametrize("name", GENPI)
def test_the_block_of_each_of_ours_is_one_that_the_plugin_takes(name, place):
    block = config(CONTESTANTS[name], recipe(place), 0, place)["genpi"]
    if unknown := set(block) - set(GenPISettings.model_fields):
        pytest.skip(f"this version has no {', '.join(unknown)}")
    settings = parse_settings(block)
    assert (settings.distill_weight == 0.0) is (name == "official")


@pytest.mark.parametrize("name", ["ours", "ours_distill", "official", "sft"])
def test_each_yaml_is_one_that_axolotl_takes(name, place, monkeypatch):
    from axolotl.cli.config import load_cfg

    monkeypatch.chdir(place)
    (place / "chats.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    path = place / f"{name}.yml"
    made = config(CONTESTANTS[name], recipe(place, most_seconds=30.0), 3, place / name)
    path.write_text(yaml.safe_dump(made))
    cfg = load_cfg(str(path))
    assert cfg.peers_moments == 2
    assert cfg.peers_most_seconds == 30.0
    assert (cfg.lora_r, cfg.lora_alpha, cfg.seed) == (16, 32, 3)
    assert not cfg.bf16


def test_only_what_is_its_own_differs_between_contestants(place):
    made = {name: config(CONTESTANTS[name], recipe(place), 0, Path("run"))
            for name in ("ours", "official", "sft")}  # fmt: skip
    own = {"plugins", "datasets", "genpi", "excess_length_strategy"}
    shared = [{key: value for key, value in one.items() if key not in own}
              for one in made.values()]  # fmt: skip
    assert shared[0] == shared[1] == shared[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_TRL)
def test_a_trainer_of_trl_takes_a_step_and_leaves_adapters(name, place, tmp_path):
    from safetensors.torch import load_file

    from benchmarks.peers.trl import build

    made = config(CONTESTANTS[name], recipe(place, warmup_steps=0), 0, tmp_path)
    trainer = build(yaml.safe_load(yaml.safe_dump(made)))
    read = []
    if name == "sdft":
        from transformers import TrainerCallback

        class Look(TrainerCallback):
            def on_self_distillation_batch_prepared(
                self, *_, teacher_input_ids, teacher_attention_mask, **__
            ):
                each = zip(teacher_input_ids, teacher_attention_mask.bool(), strict=True)
                read.extend(ids[seen].tolist() for ids, seen in each)

        trainer.add_callback(Look())
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "moments.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == ([1] if name != "gkd" else [1, 2])
    weights = load_file(tmp_path / "moments" / "step-00001" / "adapter_model.safetensors")
    moved = [key for key, value in weights.items() if "lora_B" in key and value.abs().sum() > 0]
    assert len(moved) == 7 * 2  # all linear layers of both layers, as axolotl's lora_target_linear
    if name == "sdft":  # its teacher reads what the evaluation's teacher is asked
        view = ChatView(make_tokenizer())
        asked = [view.request_ids(parse(row, "w").teacher_request) for row in rows()]
        assert len(read) == 4
        assert all(any(told[: len(ids)] == ids for ids in asked) for told in read)


def test_the_clock_counts_no_second_of_keeping_and_stops_in_time(tmp_path):
    from benchmarks.peers.clock import Clock, moments

    assert sorted(moments(96, 4)) == [12, 24, 48, 96]
    assert moments(1, 6) == {1}

    class Slow:
        def save_pretrained(self, folder):
            time.sleep(0.6)
            folder.mkdir(parents=True)

    clock = Clock(tmp_path, 3, most_seconds=0.35)
    state = SimpleNamespace(max_steps=4, global_step=0, epoch=0.0, log_history=[])
    control = SimpleNamespace(should_training_stop=False)
    clock.on_train_begin(None, state, control)
    steps = 0
    while not control.should_training_stop and steps < 20:
        steps += 1
        time.sleep(0.1)
        clock.on_substep_end(None, state, control)
        state.global_step, state.epoch = steps, steps / 4
        clock.on_step_end(None, state, control, model=Slow())
    lines = [json.loads(line) for line in (tmp_path / "moments.jsonl").read_text().splitlines()]
    assert lines[0]["seconds"] >= 0.1
    between = lines[1]["seconds"] - lines[0]["seconds"]
    assert 0.1 <= between < 0.6  # a step, and not what keeping the first adapter took
    assert lines[-1]["seconds"] >= 0.35
    assert 0.1 <= lines[-1]["before_seconds"] < 0.2 + lines[0]["seconds"] - 0.1
    assert steps < 20
    assert all((tmp_path / "moments" / line["adapter"]).is_dir() for line in lines)


def test_a_folder_of_other_settings_is_refused(tmp_path, place):
    keep(tmp_path / "run" / "config.yml", "a: 1\n")
    keep(tmp_path / "run" / "config.yml", "a: 1\n")
    with pytest.raises(SystemExit, match="is of other settings"):
        keep(tmp_path / "run" / "config.yml", "a: 2\n")
    assert (tmp_path / "run" / "config.yml").read_text() == "a: 1\n"
    assert first_rows(place / "shop", 4, tmp_path / "four") == 4
    assert pq.read_table(tmp_path / "four" / TRAIN)["id"].to_pylist() == ["r0", "r1", "r2", "r3"]
    assert (tmp_path / "four" / "synth.yaml").is_file()
    assert first_rows(place / "shop", 4, tmp_path / "four") == 4
    with pytest.raises(SystemExit, match="holds other rows than the first 5"):
        first_rows(place / "shop", 5, tmp_path / "four")
    with pytest.raises(SystemExit, match="holds 6 rows, 7 are asked for"):
        first_rows(place / "shop", 7, tmp_path / "seven")
