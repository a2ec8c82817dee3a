"""Requests that stand under several prompts, which the student never sees, are warned of."""

from __future__ import annotations

import logging

import pytest
from datasets import Dataset

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.strategy import GenPIStrategy
from tests.genpi_plugin.rows_made import our_row
from tests.tiny import make_tokenizer

HATS = {"prompt": [{"role": "system", "content": "Sell hats."}], "prompt_id": "hats"}


@pytest.fixture
def read(tmp_path, caplog):
    """Read datasets one after the other, as a run with several does; returns the log."""
    logging.getLogger("axolotl").propagate = True

    def reading(*datasets, **settings) -> str:
        made = GenPISettings(distill_weight=0, **settings)
        with caplog.at_level("INFO"):
            for number, rows in enumerate(datasets):
                strategy = GenPIStrategy(
                    ChatView(make_tokenizer()), made, 4096, f"data/{number}", str(tmp_path)
                )
                strategy.wrap_dataset(Dataset.from_list(rows))
        return caplog.text

    return reading


def test_the_same_requests_under_two_prompts_of_a_dataset(read):
    rows = [our_row(id="a"), our_row(id="b", **HATS), our_row(id="c", input="a cap", **HATS)]
    log = read(rows)
    assert "1 of 3 requests in data/0 stand under several prompts" in log
    assert "under hats and shop" in log


def test_the_same_requests_in_two_datasets(read):
    assert "1 of 1 requests in data/1 stand under several prompts" in read(
        [our_row()], [our_row(**HATS)]
    )


def test_one_prompt_is_no_matter(read):
    assert "prompts" not in read([our_row(), our_row(id="again")], [our_row(id="test")])


def test_requests_of_their_own_are_told_and_not_warned_of(read):
    log = read([our_row(), our_row(input="a cap", **HATS)])
    assert "several prompts" not in log
    assert "2 prompts (hats, shop) in data/0" in log


def test_a_student_that_keeps_its_prompt_can_tell(read):
    assert "several" not in read([our_row(), our_row(**HATS)], student_prompt="always")


def test_what_is_kept_tells_prompts_apart(read):
    tags = [[{"role": "user", "content": f"shop {name}"}] for name in "ab"]
    ours = [our_row(kept=tags[0]), our_row(kept=tags[1], **HATS)]
    assert "several prompts" not in read(ours)
    assert "several prompts" in read([our_row(kept=tags[0]), our_row(kept=tags[0], **HATS)])


def test_a_request_is_the_input_in_rows_of_both_versions(read):
    request = [{"role": "user", "content": our_row()["input"]}]
    assert "several prompts" in read([our_row()], [our_row(request=request, **HATS)])
