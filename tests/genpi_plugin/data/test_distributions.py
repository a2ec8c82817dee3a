"""`top_ids` and `top_logprobs` of a row: read as they are, or refused with row and field."""

from __future__ import annotations

import math

import numpy as np
import pytest
from datasets import Dataset, load_dataset

from genpi_plugin.args import GenPISettings
from genpi_plugin.data import tokenizers
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import make_pair
from genpi_plugin.data.row_targets import NOTHING, RowTargets, targets_of, without_targets
from genpi_plugin.data.rows import parse
from genpi_plugin.data.told import any_told
from genpi_plugin.errors import RowError
from tests.genpi_plugin.rows_made import our_row
from tests.genpi_plugin.told_made import write_parquet
from tests.tiny import make_tokenizer

IDS = [[5, 6], [7, 8]]
TOP_IDS = [[[5, 9], [6, 1]], [[7, 2], [3, 8]]]
HALF = math.log(0.5)
TOP = [[[HALF, -2.0], [HALF, HALF]], [[-0.25, -3.0], [-1.0, -1.0]]]
TOLD = {"token_ids": IDS, "tokenizer": "a", "top_ids": TOP_IDS, "top_logprobs": TOP}


def told(**changes):
    return {**our_row(2), **TOLD, **changes}


def test_distributions_are_read_beside_their_tokens():
    row = parse(told(), "w")
    first, second = row.distributions
    assert first.ids.tolist() == TOP_IDS[0]
    assert second.logprobs.dtype == np.float16
    assert second.logprobs.tolist() == TOP[1]
    assert without_targets(row) == 0
    # Reading them changes nothing else of the row.
    bare = {name: value for name, value in told().items() if not name.startswith("top_")}
    assert parse(bare, "w") == row
    assert without_targets(parse(bare, "w")) == 2


def test_a_turn_without_distributions_has_none():
    for nothing in (None, []):
        row = parse(told(top_ids=[nothing, TOP_IDS[1]], top_logprobs=[nothing, TOP[1]]), "w")
        assert row.distributions[0] is None
        assert row.distributions[1].ids.tolist() == TOP_IDS[1]
        assert without_targets(row) == 1
    for absent in (None, [], [None, None]):
        assert parse(told(top_ids=absent, top_logprobs=absent), "w").distributions == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"token_ids": None, "tokenizer": None}, "has `top_ids` and no `token_ids`"),
        ({"top_logprobs": None}, "has `top_ids` and no `top_logprobs`"),
        ({"top_ids": None}, "has `top_logprobs` and no `top_ids`"),
        ({"top_ids": TOP_IDS[:1]}, "`top_ids` is not a list for each of the 2 entries of `token"),
        ({"top_ids": 7}, "`top_ids` is not a list for each .*of type int"),
        ({"top_logprobs": "all"}, "`top_logprobs` is not a list for each .*text"),
        ({"top_ids": [None, TOP_IDS[1]]}, r"`top_ids\[0\]` is not a list of token ids for each"),
        ({"token_ids": [None, IDS[1]]}, r"`top_ids\[0\]` is given, and `token_ids\[0\]` is not"),
        ({"top_ids": [TOP_IDS[0][:1], TOP_IDS[1]]}, r"`top_ids\[0\]` is of 1 tokens, .* has 2"),
        ({"top_ids": [[[5], [6]], TOP_IDS[1]]}, "has 1 entries a token, and .* has 2"),
        ({"top_ids": [[[5, 9], [6]], TOP_IDS[1]]}, "all equally long"),
        ({"top_ids": [[[5, 9], [6, 1.5]], TOP_IDS[1]]}, "not a list of token ids"),
        ({"top_ids": [[[5, 9], [6, -1]], TOP_IDS[1]]}, r"`top_ids\[0\]` holds -1, which is no"),
        ({"top_ids": [[[5, 9], [6, 6]], TOP_IDS[1]]}, r"names a token twice \(at token 1\)"),
        ({"top_logprobs": [[["a", "b"], ["c", "d"]], TOP[1]]}, "not a list of log-probabilities"),
        ({"top_logprobs": [[[0.5, -2], [-1, -1]], TOP[1]]}, "holds 0.5, and .* is 0 at most"),
        ({"top_logprobs": [[[-1, -2], [-2, -1]], TOP[1]]}, r"not sorted, .*\(at token 1\)"),
        ({"top_logprobs": [[[-1, float("nan")], [-1, -1]], TOP[1]]}, "holds a NaN"),
        (
            {"top_logprobs": [[[-0.1, -2], [-1, -1]], TOP[1]]},
            "at token 0 add up to 1.040, more than 1",
        ),
        (
            {
                "top_ids": [TOP_IDS[0], [[7], [8]]],
                "top_logprobs": [TOP[0], [[-1.0], [-1.0]]],
            },
            "`top_ids` has 1 tokens in one turn and 2 in another",
        ),
    ],
)
def test_what_is_no_distribution_is_refused_by_field(changes, says):
    with pytest.raises(RowError, match=says) as error:
        parse(told(**changes), "shop, row 3")
    assert "shop, row 3" in error.value.cause
    assert error.value.cure


def sampled(count, top_ids, top_logprobs, turns=1):
    """A row and its lengths, with `count` tokens in each turn."""
    ids = [[3] * count] * turns
    raw = our_row(turns, token_ids=ids, tokenizer="a", top_ids=top_ids, top_logprobs=top_logprobs)
    return parse(raw, "shop, row 3"), [count] * turns


def test_the_tail_is_what_is_left_of_one():
    row, lengths = sampled(1, [[[4, 2]]], [[[HALF, math.log(0.25)]]])
    found = targets_of(row, lengths, None, 512)
    assert found.token_ids.tolist() == [[4, 2]]
    np.testing.assert_allclose(np.exp(found.logprobs), [[0.5, 0.25]], rtol=1e-3)
    np.testing.assert_allclose(np.exp(found.tail), [0.25], rtol=2e-3)
    cut = targets_of(row, lengths, 1, 512)
    assert cut.token_ids.tolist() == [[4]]
    np.testing.assert_allclose(np.exp(cut.tail), [0.5], rtol=1e-3)


@pytest.mark.parametrize("over", [0.0, 1e-4, 5e-3])
def test_rounding_never_makes_more_than_one_and_nothing_infinite(over):
    """Two tokens with all the probability, and a little more."""
    values = sorted((math.log(0.75), math.log(0.25 + over)), reverse=True)
    row, lengths = sampled(1, [[[4, 2]]], [[values]])
    found = targets_of(row, lengths, None, 512)
    total = np.exp(found.logprobs.astype(np.float64)).sum() + np.exp(np.float64(found.tail[0]))
    assert total == pytest.approx(1.0, abs=1e-6)
    assert np.isfinite(found.tail).all()
    assert np.exp(found.tail[0]) < 1e-3


def test_of_the_whole_vocabulary_the_least_likely_token_is_the_tail():
    logprobs = [math.log(0.5), math.log(0.3), math.log(0.15), math.log(0.05)]
    row, lengths = sampled(1, [[[2, 0, 3, 1]]], [[logprobs]])
    found = targets_of(row, lengths, None, 4)
    assert found.token_ids.tolist() == [[2, 0, 3]]
    np.testing.assert_allclose(np.exp(found.tail), [0.05], rtol=2e-3)


def test_a_token_that_the_model_does_not_have_is_refused():
    row, lengths = sampled(1, [[[4, 600]]], [[[HALF, -2.0]]])
    targets_of(row, lengths, None, 601)
    with pytest.raises(RowError, match=r"row 3: the field `top_ids\[0\]` holds 600, .* 512 tokens"):
        targets_of(row, lengths, None, 512)


def test_an_answer_without_distributions_has_targets_of_no_probability():
    row, lengths = sampled(2, [None, TOP_IDS[0]], [None, TOP[0]], turns=2)
    found = targets_of(row, lengths, None, 512)
    assert (found.tail == NOTHING).tolist() == [True, True, False, False]
    assert (found.logprobs[:2] == NOTHING).all()
    assert not np.exp(found.logprobs[:2]).any()


def test_rows_of_several_sizes_are_padded_with_no_probability():
    small, large = (
        targets_of(*sampled(1, [[list(range(k))]], [[[-3.0] * k]]), None, 512) for k in (2, 5)
    )
    columns = [one.columns() for one in (small, large)]
    joined = RowTargets.join([RowTargets.read(one) for one in columns])
    assert joined.token_ids.tolist() == [[0, 1, 0, 1, 0], [0, 1, 2, 3, 4]]
    assert joined.logprobs[0, 2:].tolist() == [NOTHING] * 3
    np.testing.assert_array_equal(joined.logprobs[0, :2], small.logprobs[0])
    np.testing.assert_array_equal(joined.logprobs[1], large.logprobs[0])
    np.testing.assert_array_equal(joined.tail, [small.tail[0], large.tail[0]])


def test_a_pair_has_targets_at_each_behaviour_token_in_order():
    """Two turns, the first of them without distributions; the tokens are those sampled."""
    view = ChatView(make_tokenizer())
    row = our_row(2)
    answers = [
        view.request_and_answer([{"role": "user", "content": "a"}], message)[1]
        for message in row["conversation"]
        if message["role"] == "assistant"
    ]
    tops = [[[token, 0 if token else 1] for token in answer] for answer in answers]
    row |= {
        "token_ids": answers, "tokenizer": tokenizers.mark(view.tokenizer),
        "top_ids": [None, tops[1]], "top_logprobs": [None, [[-0.5, -2.0]] * len(answers[1])],
    }  # fmt: skip
    settings = GenPISettings(distill_weight=1.0, distill_from="rows")
    pair = make_pair(parse(row, "w"), view, settings)
    assert not pair.teacher
    labels = [label for s in pair.behaviour for label in s.labels if label != -100]
    assert pair.targets.token_ids[len(answers[0]) :, 0].tolist() == answers[1]
    assert labels == [*answers[0], *answers[1]]
    assert (pair.targets.tail == NOTHING).sum() == len(answers[0])


def test_answers_that_a_template_writes_into_one_are_refused_by_row():
    """Two answers of three tokens as one run of six, before and after a run of its own."""
    top_ids, top = [[[1, 2]] * 3] * 3, [[[-1, -1]] * 3] * 3
    row, lengths = sampled(3, top_ids, top, turns=3)
    assert len(targets_of(row, lengths, None, 512).tail) == 9
    for merged in ([6, 3], [3, 6]):
        with pytest.raises(RowError, match="shop, row 3: of its 3 answers two follow") as error:
            targets_of(row, merged, None, 512)
        assert "chat_template" in error.value.cure


def write(path, rows):
    """As Parquet with float16, or as JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        Dataset.from_list(rows).to_json(path)
    else:
        write_parquet(path, rows)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_float16_in_parquet_and_floats_in_json_are_read_alike(tmp_path, suffix):
    write(tmp_path / f"train.{suffix}", [told()])
    kind = {"jsonl": "json"}.get(suffix, suffix)
    [raw] = load_dataset(
        kind, data_files=str(tmp_path / f"train.{suffix}"), split="train",
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    expected, found = parse(told(), "w").distributions, parse(raw, "w").distributions
    for ours, read in zip(expected, found, strict=True):
        np.testing.assert_array_equal(ours.ids, read.ids)
        np.testing.assert_array_equal(ours.logprobs, read.logprobs)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_data_are_told_where_any_answer_is(tmp_path, suffix):
    bare = {name: value for name, value in told().items() if not name.startswith("top_")}
    half = told(top_ids=[None, TOP_IDS[1]], top_logprobs=[None, TOP[1]])
    none = told(top_ids=[None, None], top_logprobs=[None, None])
    sets = {"half": [none] * 3 + [half], "bare": [bare], "none": [none] * 2}
    for name, rows in sets.items():
        write(tmp_path / name / "data" / f"train-00000-of-00001.{suffix}", rows)
    # Another split does not count, and neither does what lies beside the data.
    write(tmp_path / "bare" / "data" / f"test-00000-of-00001.{suffix}", [told()])
    write(tmp_path / "bare" / f"rejected.{suffix}", [told()])
    half, bare, none = ({"path": str(tmp_path / name)} for name in sets)
    assert any_told([half])
    assert any_told([bare, half])
    assert any_told([{**bare, "split": "test[:1]"}])
    for untold in ([bare], [none], [bare, none], [{"path": "someone/on-a-hub"}], []):
        assert not any_told(untold)
    one = str(tmp_path / "half" / "data" / f"train-00000-of-00001.{suffix}")
    assert any_told([{"path": one, "ds_type": "parquet"}])
