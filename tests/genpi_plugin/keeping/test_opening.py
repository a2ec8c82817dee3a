"""From a config to rows of requests to keep: shipped, a file's, the model's own; with a prompt."""

from __future__ import annotations

import pytest
from axolotl.utils.dict import DictDefault
from peft import LoraConfig, get_peft_model

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.rows import parse
from genpi_plugin.errors import SequenceLengthError
from genpi_plugin.keeping import own
from genpi_plugin.keeping.opening import open_keeping
from genpi_plugin.keeping.prompt import record_prompt
from genpi_plugin.teacher.targets import TargetStore
from genpi_plugin.teacher.teacher import Teacher
from tests.genpi_plugin.rows_made import PROMPT, our_row
from tests.genpi_plugin.teacher.test_teacher import Alone
from tests.tiny import make_model, make_tokenizer


def opened(tmp_path, facts=None, sequence_len=400, **settings):
    tokenizer = make_tokenizer()
    model = get_peft_model(make_model(len(tokenizer)), LoraConfig(r=2, target_modules="all-linear"))
    record_prompt(str(tmp_path), [parse(our_row(), "w")])
    cfg = DictDefault(datasets=[{"path": "a"}], dataset_prepared_path=str(tmp_path), seed=3,
                      sequence_len=sequence_len)  # fmt: skip
    reference = Teacher(TargetStore(tmp_path / "targets"), 8, 400)
    chosen = GenPISettings(keep_weight=1, keep_tokens=4, **settings)
    keeping = open_keeping(
        cfg, chosen, tokenizer, model, reference, facts if facts is not None else {}
    )
    return keeping, model, tokenizer


def test_requests_of_the_models_own_are_answered_behind_the_prompt(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "WANTED", 8)
    facts: dict = {}
    keeping, model, tokenizer = opened(tmp_path, facts, keep="teacher", keep_inputs="self")
    assert facts == {}
    keeping.prepare(model, Alone())
    assert 0 < facts["requests"] <= 8
    assert len(facts["digest"]) == 16
    assert keeping.reference.called == "the teacher"
    for row in keeping.rows.values():
        view, place = keeping.reference.rows[row["genpi_teacher_key"]]
        read = view[place]
        assert PROMPT[0]["content"] in tokenizer.decode(read["genpi_teacher_ids"])
        assert PROMPT[0]["content"] not in tokenizer.decode(row["input_ids"])
        told, given = (
            [label for label in labels if label != -100]
            for labels in (row["labels"], read["genpi_teacher_labels"])
        )
        assert told == given
        assert 1 <= len(told) <= 4


def test_a_file_of_requests_is_read_and_measured_before_training(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("Hi\nWhat is the time?\n")
    keeping, model, tokenizer = opened(tmp_path, keep_inputs=str(path))
    keeping.prepare(model, Alone())
    assert keeping.reference.called == "the floor"
    starts = [tokenizer.decode(row["input_ids"]) for row in keeping.rows.values()]
    assert starts[0].startswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    with pytest.raises(SequenceLengthError, match=r"mine\.txt, line 2 \('What is the time"):
        opened(tmp_path, keep_inputs=str(path), sequence_len=18)
