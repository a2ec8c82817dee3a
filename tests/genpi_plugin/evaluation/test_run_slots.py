"""A whole evaluation of rows with slots: each input has values of its own."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
import yaml
from transformers import AutoTokenizer

from genpi_plugin.data.requests import Valued, under
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures.measured import Generated, gather
from genpi_plugin.evaluation.figures.value_scores import values_used
from genpi_plugin.evaluation.measuring.context import Options
from genpi_plugin.evaluation.run import evaluate
from genpi_plugin.evaluation.sections.cost.requests import histories, probes_like
from genpi_plugin.evaluation.sections.cost.server import _sent
from genpi_plugin.evaluation.subjects.inputs import held_out
from tests.genpi_plugin.evaluation.run_made import save_adapter, settings
from tests.genpi_plugin.rows_made import our_row
from tests.tiny import save_tiny

TEMPLATE = [{"role": "system", "content": "You serve a shop.\n\n- Say hello to {{ name }}.\n- Be "
             "brief.\n- Say that today is {{ day }}."}]  # fmt: skip


def slot_row(row_id: str, name: str, day: str):
    return our_row(
        turns=2, id=row_id, input=f"{row_id}: a shirt", prompt=TEMPLATE,
        slots=json.dumps({"name": name, "day": day}),
        kept=[{"role": "system", "content": f"name: {name}\nday: {day}"}],
    )  # fmt: skip


TRAIN = [slot_row("t1", "Ada", "Monday"), slot_row("t2", "Bob", "Friday")]
TEST = [
    slot_row("a", "Eve", "Monday"),
    slot_row("b", "Ian", "Sunday"),
    slot_row("c", "Al", "Monday"),
]
ASKED = Valued(
    [{"role": "system", "content": "name: Eve\nday: Monday"}],
    [{"role": "user", "content": "a: a shirt"}],
    {"name": "Eve", "day": "Monday"},
)


def save(folder: Path):
    for split, rows in (("train", TRAIN), ("test", TEST)):
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_list(rows).to_parquet(path)
    entries = {"train": [{"path": str(folder), "split": "train"}],
               "test": [{"path": str(folder), "split": "test"}]}  # fmt: skip
    return {"datasets": entries["train"], "test_datasets": entries["test"]}


def test_each_input_is_asked_with_its_own_values(tmp_path):
    data = held_out(save(tmp_path), None, None)
    assert data.prompt == TEMPLATE
    assert data.asked[0] == ASKED
    teacher = [under(data.prompt, asked) for asked in data.asked]
    assert [one[0]["content"].count("hello to Ian") for one in teacher] == [0, 1, 0]
    assert [len(one) for one in teacher] == [2, 2, 2]
    student = under([], data.asked[1])
    assert student[0]["content"] == "name: Ian\nday: Sunday"


def test_inputs_without_values_get_those_of_the_rows_and_that_is_said(tmp_path):
    cfg = save(tmp_path)
    (tmp_path / "own.txt").write_text("one\ntwo\nthree\n")
    data = held_out(cfg, tmp_path / "own.txt", None)
    assert [one.values["name"] for one in data.asked] == ["Ada", "Bob", "Ada"]
    assert [under([], one)[-1]["content"] for one in data.asked] == ["one", "two", "three"]
    assert any("no values for the prompt's slots (name, day)" in note for note in data.notes)


def test_other_requests_of_a_report_have_values_too(tmp_path):
    data = held_out(save(tmp_path), None, None)
    others = data.with_values([f"general {i}" for i in range(4)])
    assert [one.values["name"] for one in others] == ["Eve", "Ian", "Al", "Eve"]
    assert under(TEMPLATE, others[1])[-1]["content"] == "general 1"
    assert "hello to Ian" in under(TEMPLATE, others[1])[0]["content"]
    assert under([], others[1])[0]["content"] == "name: Ian\nday: Sunday"


def test_later_turns_keep_the_values_and_say_them_once():
    talk = [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "red"},
            {"role": "assistant", "content": "Ok"}]  # fmt: skip
    for conversations in ([talk], []):
        [later] = histories([ASKED], conversations, ["Hi"], turns=2)
        assert under([], later)[:2] == [*ASKED.kept, *ASKED.messages]
        assert [one["role"] for one in under(TEMPLATE, later)][:3] == [
            "system",
            "user",
            "assistant",
        ]
        assert "hello to Eve" in under(TEMPLATE, later)[0]["content"]


def test_an_answer_is_scored_by_its_own_values():
    values = {"name": "Eve", "day": "Monday", "note": ""}
    assert [values_used(text, values) for text in ("Hi Eve", "Eve, Monday", "")] == [0.5, 1, 0]
    answers = {"teacher": [Generated([1], "Eve", False), Generated([1], "Eve", False)]}
    asked = [{"name": "Eve"}, {"name": "Ian"}]
    measured = gather(["a", "b"], answers, {}, {"teacher": [1, 1]}, {}, "teacher", values=asked)
    assert measured.scores["teacher"] == {"values": [1.0, 0.0]}
    plain = gather(["a", "b"], answers, {}, {"teacher": [1, 1]}, {}, "teacher", values=[{}, {}])
    assert plain.scores["teacher"] == {}


def test_the_cost_of_a_cached_prompt_ends_at_its_first_slot():
    first, second = (under(TEMPLATE, one)[0]["content"] for one in probes_like(ASKED))
    before = "You serve a shop.\n\n- Say hello to "
    assert first.startswith(before)
    assert second.startswith(before)
    assert first[len(before)] != second[len(before)]
    sent = [_sent("prompt_cached", TEMPLATE, ASKED)[0]["content"] for _ in range(2)]
    assert all(text.startswith(before) and "Eve" in text for text in sent)
    assert sent[0][len(before) :][:10] != sent[1][len(before) :][:10]


@pytest.mark.slow
def test_rows_with_slots_are_evaluated_with_their_values(place):
    save_tiny(Path("slots"), "chatml")
    save_adapter("slots", "adapters/slots")
    tokenizer = AutoTokenizer.from_pretrained("slots")
    save(Path("slots-data"))
    config = yaml.safe_load(Path("c.yml").read_text()) | {"base_model": "slots"}
    for entry in (*config["datasets"], *config["test_datasets"]):
        entry["path"] = "slots-data"
    Path("slots.yml").write_text(yaml.safe_dump(config))
    Path("short.md").write_text("Greet {{ name }}.")
    metrics = evaluate(
        settings(
            config="slots.yml",
            adapters=["adapters/slots"],
            also_prompts=["short.md"],
            skip=(),
            options=Options(recitals=1),
            output="slots-report",
        )
    )

    def tokens(messages):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    def mean(prompted):
        found = []
        for row in TEST:
            values = json.loads(row["slots"])
            content = TEMPLATE[0]["content"]
            for name, value in values.items():
                content = content.replace(f"{{{{ {name} }}}}", value)
            before = [{"role": "system", "content": content}] if prompted else row["kept"]
            found.append(tokens([*before, {"role": "user", "content": row["input"]}]))
        return sum(found) / len(found)

    cost = metrics["cost"]
    assert cost["request_tokens_without_prompt"] == mean(prompted=False)
    assert cost["request_tokens_with_prompt"] == mean(prompted=True)
    start = "<|im_start|>system\nYou serve a shop.\n\n- Say hello to"
    known = len(tokenizer(start, add_special_tokens=False)["input_ids"])
    assert abs(cost["tokens_before_first_slot"] - known) <= 1
    assert cost["settings"]["prompt_cached"]["cached_tokens"] == cost["tokens_before_first_slot"]
    assert any("ends at the first" in note for note in cost["notes"])
    assert [(turn["turn"], turn["n"]) for turn in metrics["turns"]] == [(1, 3), (2, 3)]
    assert any("short has no place for {{ day }}" in line for line in metrics["warnings"])
    answers = [
        json.loads(line) for line in Path("slots-report/answers.jsonl").read_text().splitlines()
    ]
    assert [one["slots"]["name"] for one in answers] == ["Eve", "Ian", "Al"]
    found = [one["student"]["values"] for one in answers]
    assert metrics["systems"]["student"]["values"]["value"] == sum(found) / 3
    page = Path("slots-report/report.html").read_text()
    assert "uses its values" in page
    assert "name: Ian\nday: Sunday\n\nb: a shirt" in page
    assert len(metrics["clauses"]["clauses"]) >= 3


def own_inputs(tmp_path, *lines):
    cfg = save(tmp_path / "data")
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return held_out(cfg, path, None)


def test_inputs_of_a_file_may_have_values_and_logs_tell_theirs(tmp_path):
    filled = TEMPLATE[0]["content"].replace("{{ name }}", "Uwe").replace("{{ day }}", "Tuesday")
    log = [{"role": "system", "content": filled}, {"role": "user", "content": "from a log"},
           {"role": "assistant", "content": "Hello Uwe."}]  # fmt: skip
    data = own_inputs(
        tmp_path,
        {"input": "own", "slots": {"name": "Ina", "day": "Sunday"}},
        {"messages": log},
        {"input": "without"},
    )
    assert [one.values["name"] for one in data.asked] == ["Ina", "Uwe", "Ada"]
    told = [under([], one)[0]["content"] for one in data.asked]
    assert told[:2] == ["name: Ina\nday: Sunday", "name: Uwe\nday: Tuesday"]
    assert [under(TEMPLATE, one)[0]["content"] for one in data.asked][1] == filled
    assert any(note.startswith("1 of 3 inputs of") for note in data.notes)


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ({"name": "Ina"}, r"input 1 \('own'\) has values for name, and the slots .* are name, day"),
        ({"name": "Ina", "age": "7"}, r"line 1: `slots` has age, and the prompt's slots are name"),
        ({"name": 7, "day": "x"}, r"line 1: the field `slots.name` is a number"),
    ],
)
def test_values_that_are_not_the_slots_are_refused(tmp_path, slots, message):
    with pytest.raises(GenPIError, match=message):
        own_inputs(tmp_path, {"input": "own", "slots": slots})
