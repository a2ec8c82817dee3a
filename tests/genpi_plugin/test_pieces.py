"""Recitals in pieces from the YAML to the step: settings, the dataset type, the loss, reports."""

from __future__ import annotations

from collections import Counter

import pytest
from axolotl.utils.dict import DictDefault
from datasets import Dataset

from genpi_plugin import strategy
from genpi_plugin.args import GenPIArgs, GenPISettings, parse_settings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import LENGTHS, SUPERVISED, make_pairs
from genpi_plugin.data.rows import parse
from genpi_plugin.errors import ConfigError
from genpi_plugin.evaluation.report import headlines
from tests.genpi_plugin.evaluation.report_made import interval, made_metrics
from tests.genpi_plugin.rows_made import our_row, paper
from tests.genpi_plugin.training.test_trainer import trainer, trajectory
from tests.tiny import make_tokenizer

PROMPT = [{"role": "system", "content": "Answer in one line. Name no price. " * 20}]
SIZE = 60


def prepared(tmp_path, rows, sequence_len=4096, **settings):
    config = {
        "plugins": ["genpi_plugin.GenPIPlugin"],
        "genpi": {"prompt_generation_share": 1, "prompt_generation_piece": SIZE, **settings},
        "sequence_len": sequence_len,
        "dataset_prepared_path": str(tmp_path),
    }
    made = strategy.load(make_tokenizer(), config, {"path": "data/shop"})
    return made.wrap_dataset(Dataset.from_list(rows), process_count=2)


def rows(count):
    answer = "Action: click[item 0]"
    return [our_row(id=f"r{n}", prompt=PROMPT, teacher_output=answer) for n in range(count)]


@pytest.mark.parametrize("size", [0, 15, -1, 1.5, "all"])
def test_a_piece_has_some_tokens(size):
    with pytest.raises(ConfigError, match=r"`genpi.prompt_generation_piece: "):
        parse_settings({"prompt_generation_piece": size})


def test_a_null_is_kept_in_what_axolotl_writes_without_nulls():
    """Read anew from there, it would else be the default."""
    block = {"prompt_generation_piece": None, "distill_top_k": None}
    dumped = DictDefault(GenPIArgs(genpi=block).model_dump(exclude_none=True))
    read = parse_settings(dict(dumped.genpi))
    assert (read.prompt_generation_piece, read.distill_top_k) == (None, None)
    assert read == GenPISettings(**block)
    assert GenPIArgs().model_dump(exclude_none=True) == {}


def test_the_rows_of_a_dataset_take_the_pieces_in_turn_in_any_number_of_processes(
    tmp_path, monkeypatch
):
    said = []
    monkeypatch.setattr(strategy.LOG, "info", said.append)
    one = prepared(tmp_path, rows(11))
    assert "the prompt shop is recited in 7 pieces of at most 60 tokens, by 11 recitals" in said[0]
    assert said[0].endswith(": each piece 1.57 times an epoch")
    monkeypatch.setattr(strategy, "ROWS_PER_PROCESS", 1)
    assert prepared(tmp_path, rows(11))[:] == one[:]
    tokenizer = make_tokenizer()
    texts = [tokenizer.decode(ids) for ids in one["input_ids"]]
    often = Counter(text.partition("Write down part ")[2][:6] for text in texts)
    assert sorted(often.values()) == [1, 1, 1, 2, 2, 2, 2]
    assert sorted(often) == [f"{number} of 7" for number in range(1, 8)]


def test_a_row_that_fits_in_pieces_only_is_told_of_them(tmp_path):
    pieces, whole = (
        max(map(len, prepared(tmp_path, rows(7), prompt_generation_piece=size)["input_ids"]))
        for size in (SIZE, None)
    )
    assert pieces < whole - 100
    assert len(prepared(tmp_path, rows(7), sequence_len=pieces)) == 7
    with pytest.raises(SystemExit) as error:
        prepared(tmp_path, rows(7), sequence_len=pieces, prompt_generation_piece=None)
    assert f"`sequence_len: {whole}` or more" in str(error.value)
    assert "`genpi: {prompt_generation_piece: 256}`" in str(error.value)
    with pytest.raises(SystemExit) as error:
        prepared(tmp_path, rows(7), sequence_len=pieces - 1)
    assert "prompt_generation_piece" not in str(error.value)


def test_rows_with_several_pieces_each_make_the_same_step_however_it_is_cut_up(tmp_path):
    """Three of eight rows have a reason and the long prompt: of its seven pieces one row recites
    three and two rows two."""
    settings = paper(prompt_generation_share=0.25, prompt_generation_piece=SIZE)
    other = [our_row(id=f"o{n}", prompt_id="other", reason=None) for n in range(5)]
    mixed = [row for pair in zip(rows(3), other, strict=False) for row in pair] + other[3:]
    read = [parse(row, "w") for row in mixed]
    made = make_pairs(read, ChatView(make_tokenizer()), settings)
    counts = Counter(len(pair.prompt_generation) for pair in made)
    assert counts == {0: 5, 3: 1, 2: 2}
    columns = [pair.columns() for pair in made]
    assert {len(one[LENGTHS]) for one in columns} == {1, 3, 4}
    told = sum(one[SUPERVISED][1] for one in columns)
    whole = make_pairs(read[:1], ChatView(make_tokenizer()), paper())[0].columns()[SUPERVISED][1]
    assert whole < told < whole + 7 * 60
    steps = {
        (batch, layout): trajectory(
            trainer(tmp_path, settings, batch, 8 // batch, layout, steps=3, made=made)
        )
        for batch, layout in ((1, "padded"), (4, "bucketed"), (8, "packed"))
    }
    (losses, weights), *others = steps.values()
    for other, its_weights in others:
        assert other == pytest.approx(losses, rel=1e-5)
        assert float((its_weights - weights).abs().max()) < 1e-4


def test_the_report_tells_pieces_and_what_the_prompts_words_bring():
    recitation = {"chrf": interval(61.5, 2), "n": 3, "pieces": 5, "chrf_told": interval(90, 1)}
    metrics = {**made_metrics(), "recitation": recitation, "checkpoints": []}
    [line] = [one for one in headlines(metrics) if "Recited" in one]
    assert line == (
        "Recited prompt, chrF: 61.5 [59.5, 63.5] (3 recitals in 5 pieces; each piece after the "
        "prompt's words: 90.0 [89.0, 91.0])"
    )
