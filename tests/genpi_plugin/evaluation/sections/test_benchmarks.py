"""Tasks of lm-evaluation-harness on floor and students, against plain forward passes."""

from __future__ import annotations

import json
import logging
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.measuring.context import NotMeasured
from genpi_plugin.evaluation.sections import harness, harness_model
from genpi_plugin.evaluation.sections.benchmarks import (
    Benchmarks,
    Result,
    check_benchmarks,
    measure_benchmarks,
    summarize_benchmarks,
    table_rows,
)
from tests.genpi_plugin.evaluation.context_made import adapted, make_context
from tests.tiny import make_tokenizer

installed = pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm_eval is not installed")
# Answers of one token each, so that their length decides nothing.
ITEMS = [
    {"question": f"{first} or {second}", "choices": [first, second], "answer": i % 2}
    for i, (first, second) in enumerate(["ab", "cd", "ez", "gq", "ij", "kx", "mn", "wy", "pt"])
]
TASK = """
task: genpi_colours
dataset_path: json
dataset_kwargs:
  data_files: {test: DATA}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture
def task(tmp_path):
    data = tmp_path / "items.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    path = tmp_path / "colours.yaml"
    path.write_text(TASK.replace("DATA", str(data)))
    return path


@installed
def test_floor_and_student_score_as_plain_forward_passes_say(task, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    context = make_context(adapted())
    tokenizer = context.floor.view.tokenizer
    before = (tokenizer.pad_token, tokenizer.padding_side)
    seen = measure_benchmarks(context, [str(task)])
    figures = summarize_benchmarks(seen, 0)["tasks"]["genpi_colours"]["acc"]
    correct = {}
    for system in (context.floor, context.students[0]):
        correct[system.name] = []
        for item in ITEMS:
            text = tokenizer.apply_chat_template(
                [{"role": "user", "content": item["question"]}],
                tokenize=False, add_generation_prompt=True,
            )  # fmt: skip
            request = tokenizer(text, add_special_tokens=False)["input_ids"]
            sums = []
            for choice in item["choices"]:
                # Behind the generation prompt the harness puts no space before an answer.
                ids = tokenizer(text + choice, add_special_tokens=False)["input_ids"]
                with torch.no_grad(), system.switched():
                    logs = system.model(torch.tensor([ids])).logits[0].log_softmax(-1)
                sums.append(sum(float(logs[i - 1, ids[i]]) for i in range(len(request), len(ids))))
            correct[system.name].append(float(sums[item["answer"]] == max(sums)))
    assert seen.results["floor"]["genpi_colours"]["acc"].by_item == correct["floor"]
    assert seen.results["student"]["genpi_colours"]["acc"].by_item == correct["student"]
    assert correct["floor"] != correct["student"]
    mean = {name: sum(values) / len(ITEMS) for name, values in correct.items()}
    for name, value in mean.items():
        assert figures[name]["value"] == pytest.approx(value)
        error = (value * (1 - value) / (len(ITEMS) - 1)) ** 0.5
        assert figures[name]["stderr"] == pytest.approx(error, abs=1e-6)
    difference = figures["differences"]["student"]
    assert difference["value"] == pytest.approx(mean["student"] - mean["floor"])
    assert difference["paired"] is True
    assert (figures["n"], figures["higher_is_better"]) == (len(ITEMS), True)
    assert (tokenizer.pad_token, tokenizer.padding_side) == before
    first = summarize_benchmarks(measure_benchmarks(context, [str(task)], limit=3), 0)
    assert first["limit"] == first["tasks"]["genpi_colours"]["acc"]["n"] == 3
    json.dumps(first, allow_nan=False)


@installed
def test_changed_data_are_not_taken_for_what_was_measured(task, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    before = harness.benchmark_facts([str(task)])
    assert before == harness.benchmark_facts([str(task)])
    with (tmp_path / "items.jsonl").open("a") as file:
        file.write(json.dumps(ITEMS[0]) + "\n")
    harness._load.cache_clear()  # as another run
    assert before != harness.benchmark_facts([str(task)])


@installed
def test_code_and_includes_beside_a_task_count_too(task, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "utils.py").write_text("def f(doc):\n    return doc\n")
    (tmp_path / "base.yml").write_text("num_fewshot: 0\n")
    (tmp_path / "notes.md").write_text("none of it counts")
    paths = [one for one in flat(harness.benchmark_facts([str(task)])) if isinstance(one, Path)]
    assert {path.name for path in paths} == {"colours.yaml", "utils.py", "base.yml"}


def flat(facts):
    return [one for part in facts for one in flat(part)] if isinstance(facts, list) else [facts]


GENERATED = """
task: genpi_TASK
dataset_path: json
dataset_kwargs:
  data_files: {test: DATA}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["x"], max_gen_toks: 4}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""
GROUP = """
group: genpi_group
task: [genpi_short, genpi_colours]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
"""


@installed
def test_requests_that_are_cut_are_counted_noted_and_shown(task, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    # Two of four are longer than a model with 128 positions takes.
    items = [{**ITEMS[0], "question": word * n} for n, word in ((1, "a"), (300, "b "), (3, "c"),
                                                                (200, "d "))]  # fmt: skip
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    for name, form in (("written", GENERATED), ("chosen", TASK)):
        text = form.replace("genpi_colours", "genpi_chosen").replace("TASK", name)
        (tmp_path / f"{name}.yaml").write_text(text.replace("DATA", str(tmp_path / "long.jsonl")))
    model = adapted()
    model.config.max_position_embeddings = 128
    context = make_context(model)
    names = [str(tmp_path / "written.yaml"), str(tmp_path / "chosen.yaml"), str(task)]
    found = summarize_benchmarks(measure_benchmarks(context, names), 0)
    cut = {task: next(one["floor"]["cut_requests"] for one in figures.values())
           for task, figures in found["tasks"].items()}  # fmt: skip
    assert cut == {"genpi_written": 2, "genpi_chosen": 4, "genpi_colours": 0}
    written, chosen = found["notes"]
    assert "genpi_written, 2 requests were cut (2 of floor, 2 of student)" in written
    assert "genpi_chosen, 4 requests were cut (4 of floor, 4 of student)" in chosen
    items_shown = {row[0]: row[2] for row in table_rows(found)[1:]}
    assert items_shown["genpi_written"] == "4, 2 requests were cut"
    assert items_shown["genpi_colours"] == "9"
    said = [one.getMessage() for one in caplog.records if one.name.startswith("lm_eval")]
    assert not [one for one in said if one.startswith(harness_model.NOISE)]


@installed
def test_other_warnings_of_the_harness_are_shown(caplog):
    logger = logging.getLogger("lm_eval.models.huggingface")
    with harness_model.without_noise():
        logger.warning("Failed to apply chat template.")
        logger.warning("Left truncation applied. Original sequence length was 9")
    logger.warning("Left truncation applied, afterwards")
    shown = [one.getMessage() for one in caplog.records if one.name == logger.name]
    assert shown == ["Failed to apply chat template.", "Left truncation applied, afterwards"]


@installed
def test_a_group_in_a_file_is_named_by_its_group_and_has_its_tasks_items(
    task, monkeypatch, tmp_path
):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "short.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS[:4]))
    short = TASK.replace("genpi_colours", "genpi_short")
    (tmp_path / "short.yaml").write_text(short.replace("DATA", str(tmp_path / "short.jsonl")))
    group = tmp_path / "group.yaml"
    group.write_text(GROUP)
    measured = measure_benchmarks(make_context(adapted()), [str(group)])
    found = summarize_benchmarks(measured, 0)
    sizes = {name: figures["acc"]["n"] for name, figures in found["tasks"].items()}
    assert sizes == {"genpi_group": 13, "genpi_short": 4, "genpi_colours": 9}
    assert {group: set(tasks) for group, tasks in found["groups"].items()} == {
        "genpi_group": {"genpi_short", "genpi_colours"}
    }


@installed
def test_a_task_whose_code_fails_is_named(task, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "utils.py").write_text("def score(doc, results):\n    raise KeyError('gold')\n")
    text = GENERATED.replace("TASK", "broken").replace("DATA", str(tmp_path / "items.jsonl"))
    broken = tmp_path / "broken.yaml"
    broken.write_text(text + "process_results: !function utils.score\n")
    with pytest.raises(NotMeasured, match="genpi_broken failed on floor: KeyError: 'gold'"):
        measure_benchmarks(make_context(adapted()), [str(broken)])


def test_thoughts_end_at_the_token_that_the_tokenizer_has_for_it():
    tokenizer = make_tokenizer()
    [token] = tokenizer("</think>", add_special_tokens=False)["input_ids"]
    assert harness_model.think_end(tokenizer) == token


@installed
def test_what_is_not_there_is_said_with_its_cure(task, monkeypatch, tmp_path):
    for names, says in [
        (["genpi_no_such_task"], "has no benchmark 'genpi_no_such_task'"),
        ([str(tmp_path / "none.yaml")], "none.yaml can't be read"),
        ([str(tmp_path / "own.yml")], f"rename it to {tmp_path / 'own.yaml'}"),
    ]:
        with pytest.raises(GenPIError, match=re.escape(says)):
            check_benchmarks(names)
    nameless = tmp_path / "nameless.yaml"
    nameless.write_text("output_type: generate_until\nf: !function utils.f\n")
    with pytest.raises(GenPIError, match="names no task"):
        check_benchmarks([str(nameless)])
    moved = tmp_path / "moved.yaml"
    moved.write_text(TASK.replace("genpi_colours", "genpi_moved").replace("DATA", "/no/such.jsonl"))
    with pytest.raises(GenPIError, match="data of the benchmark genpi_moved can't be loaded"):
        check_benchmarks([str(moved)])


def test_without_the_harness_the_cure_is_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    harness._manager.cache_clear()
    with pytest.raises(GenPIError, match=r"pip install 'axolotl-genpi\[benchmarks\]'"):
        check_benchmarks(["ifeval"])
    assert check_benchmarks([]) is None
    assert measure_benchmarks(None, []) is None


def result(value, stderr=None, by_item=None, higher=True):
    return Result(value, stderr, 4, higher, by_item)


def test_differences_are_paired_where_items_are_known():
    items = {"floor": [1.0, 1.0, 0.0, 1.0], "student": [1.0, 0.0, 0.0, 1.0]}
    paired = {name: {"t": {"acc": result(sum(v) / 4, 0.2, v)}} for name, v in items.items()}
    one = summarize_benchmarks(Benchmarks("1", None, paired), 0)["tasks"]["t"]["acc"]
    assert one["floor"]["ci_low"] == pytest.approx(0.75 - 1.96 * 0.2)
    difference = one["differences"]["student"]
    assert (difference["value"], difference["paired"]) == (-0.25, True)
    assert difference["ci_low"] < -0.25 < difference["ci_high"] == 0.0
    apart = {
        "floor": {"t": {"word": result(10.0, 0.3, higher=False), "bare": result(1.0)}},
        "student": {"t": {"word": result(12.0, 0.4, higher=False), "bare": result(0.5)}},
    }
    found = summarize_benchmarks(Benchmarks("1", 7, apart), 0)
    word = found["tasks"]["t"]["word"]["differences"]["student"]
    assert (word["paired"], word["significant"]) == (False, True)
    assert word["ci_high"] == pytest.approx(2.0 + 1.96 * 0.5)  # sqrt(0.3² + 0.4²)
    bare = found["tasks"]["t"]["bare"]["differences"]["student"]
    assert (bare["value"], bare["ci_low"], bare["significant"]) == (-0.5, None, False)
    rows = table_rows(found)
    assert rows[0] == ["benchmark", "figure", "items", "floor", "student", "student - floor"]
    assert rows[1] == ["t", "word (lower is better)", "4", "10.000 ± 0.300", "12.000 ± 0.400",
                       "+2.000 [+1.020, +2.980], significant"]  # fmt: skip
    assert rows[2] == ["t", "bare", "4", "1.000", "0.500", "-0.500"]
