"""Processes that hold a teacher together: all call it equally often, and each row is read once.

Real processes, under ZeRO-3 and FSDP2, are in `tests/genpi_plugin/test_slow.py`.
"""

from __future__ import annotations

import pytest
from axolotl.utils.dict import DictDefault
from datasets import Dataset

from genpi_plugin.errors import GenPIError
from genpi_plugin.reading.capabilities import check_one_call
from genpi_plugin.teacher.in_step import TeacherInStep
from genpi_plugin.teacher.mark import Mark
from genpi_plugin.teacher.opening import open_teacher
from genpi_plugin.teacher.targets import TargetStore
from tests.genpi_plugin.teacher.test_mark import adapted
from tests.genpi_plugin.teacher.test_teacher import (
    Alone,
    assert_true_targets,
    pairs,
    slot_pairs,
    with_random_adapter,
)
from tests.tiny import make_model


class Process(Alone):
    """One of several, as far as its place goes."""

    def __init__(self, place=0, of=1):
        self.process_index, self.num_processes = place, of
        self.is_main_process = place == 0


def in_step(tmp_path, made, process):
    store = TargetStore(tmp_path / "targets")
    teacher = TeacherInStep(store, None, 400, False, process, lambda _: store)
    teacher.take_teacher_columns(Dataset.from_list([pair.columns() for pair in made]))
    return teacher


def calls_of(model):
    """The number of the model's forward passes, as a list that grows with each."""
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize(
    "made", [pairs(), slot_pairs([*["Ada Lovelace"] * 6, "Bob", "Cy", *["Ada Byron"] * 5])]
)
def test_all_processes_call_equally_often_and_each_row_is_read_once(tmp_path, made):
    """Three processes, prompts that several rows have, batches that three does not divide."""
    counts, read, rounds = [], [], []
    for place in range(3):
        teacher = in_step(tmp_path, made, Process(place, 3))
        model = with_random_adapter()
        calls = calls_of(model)
        rows = [teacher.row(key) for key in sorted(teacher.rows)]
        told = []
        for row, head, states in teacher.read(model, rows, told.append):
            read.append(row.key)
            teacher.store.put(row.key, teacher._targets(head, states))
        counts.append(len(calls))
        rounds.append(told)
    assert len(set(counts)) == 1
    assert sorted(read) == sorted(pair.columns()["genpi_teacher_key"] for pair in made)
    assert rounds[0] == rounds[1] == rounds[2]
    assert sum(rounds[0]) == len(made)
    for pair in made:
        assert_true_targets(model, teacher, pair)


def test_the_store_is_the_one_of_a_process_that_holds_the_whole_model(tmp_path):
    """By what the model computes with its adapter off; nothing is read again in it."""
    cfg = DictDefault(base_model="tiny", dataset_prepared_path=str(tmp_path / "genpi-x"),
                      sequence_len=64, micro_batch_size=1)  # fmt: skip
    other = make_model(seed=3)
    for base in (other, make_model()):
        whole = open_teacher(cfg, 8, base=Mark.of(base))
    columns = Dataset.from_list([pair.columns() for pair in pairs()])
    whole.take_teacher_columns(columns)
    whole.prepare(with_random_adapter(), Alone())
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    parted = open_teacher(cfg, 8, accelerator=Process(), sharded=True)
    assert parted.store.folder != whole.store.folder  # not yet
    parted.take_teacher_columns(columns)
    parted.prepare(with_random_adapter(), Process())
    assert parted.store.folder == whole.store.folder
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == written


@pytest.mark.parametrize(
    ("start", "more", "says"),
    [
        ("pissa", {}, "`init_lora_weights: pissa`.*under FSDP and ZeRO-3"),
        (True, {"layer_replication": [[0, 2], [1, 2]]}, "`peft_layer_replication`"),
    ],
)
def test_an_adapter_that_may_move_the_base_is_refused_before_anything_is_read(
    tmp_path, start, more, says
):
    model = adapted(start, **more)
    calls = calls_of(model)
    with pytest.raises(GenPIError, match=says):
        in_step(tmp_path, pairs(), Process()).prepare(model, Process())
    assert not calls


def test_rows_that_can_not_be_read_in_one_call_are_refused():
    """Beyond 64 tokens such positions are read by the longest row of the call."""
    model = make_model()
    model.config.rope_parameters = {
        "rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4,
        "original_max_position_embeddings": 64,
    }  # fmt: skip
    check_one_call(model, 64)
    with pytest.raises(GenPIError, match="must make one call for all"):
        check_one_call(model, 65)


def test_the_head_is_called_within_a_forward_pass_alone(tmp_path):
    """Nowhere else are its weights gathered."""
    made = pairs()
    model = with_random_adapter()
    within: list[bool] = []

    def check(*_):
        assert within

    model.register_forward_pre_hook(lambda *_: within.append(True))
    model.register_forward_hook(lambda *_: within.clear())
    model.get_output_embeddings().register_forward_pre_hook(check)
    teacher = in_step(tmp_path, made, Process())
    teacher.prepare(model, Process())
    for pair in made:
        assert_true_targets(model, teacher, pair)
