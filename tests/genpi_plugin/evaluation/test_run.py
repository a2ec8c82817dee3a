"""Whole evaluations of a tiny model, in process: several systems, and brute-force references."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from genpi_plugin.data.inputs.given import Reading
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.gate import parse_requirement, shortfalls
from genpi_plugin.evaluation.measuring.context import NotMeasured, Options
from genpi_plugin.evaluation.run import evaluate
from genpi_plugin.evaluation.sections.catalog import SECTIONS
from tests.genpi_plugin.evaluation.run_made import save_adapter, settings
from tests.genpi_plugin.rows_made import PROMPT


def test_several_adapters_and_prompts_are_compared_on_the_same_inputs(place, no_model, capsys):
    several = settings(
        adapters=["adapters/zeros", "adapters/a", "adapters/b"],
        also_prompts=["short.md"],
        options=Options(recitals=1),
    )
    metrics = evaluate(several)
    assert list(metrics["systems"]) == ["floor", "teacher", "zeros", "a", "b", "short"]
    exactly_zero = {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    # An adapter of zeros is the floor; the floor against itself is 0, the teacher 1.
    assert metrics["students"]["zeros"]["internalization"] == exactly_zero
    assert metrics["internalization"] == exactly_zero
    assert metrics["systems"]["floor"]["internalization"] == exactly_zero
    assert metrics["systems"]["teacher"]["internalization"]["value"] == 1.0
    assert (
        metrics["students"]["a"]["internalization"] != metrics["students"]["b"]["internalization"]
    )
    assert metrics["systems"]["short"]["long"]["value"] is not None
    pairs = {(c["left"], c["right"], c["figure"]): c for c in metrics["comparisons"]}
    difference = pairs["a", "b", "internalization"]["difference"]
    assert difference["value"] == pytest.approx(
        metrics["students"]["a"]["internalization"]["value"]
        - metrics["students"]["b"]["internalization"]["value"]
    )
    assert ("zeros", "short", "chrf") in pairs
    # So it is along its own answers, which are the floor's.
    assert metrics["own_path"] == metrics["systems"]["floor"]["own_path"] == exactly_zero
    own = {name: metrics["students"][name]["own_path"]["value"] for name in ("a", "b")}
    assert own["a"] != metrics["students"]["a"]["internalization"]["value"]
    difference = pairs["a", "b", "own_path"]["difference"]
    assert difference["value"] == pytest.approx(own["a"] - own["b"])
    assert difference["ci_low"] < difference["value"] < difference["ci_high"]
    assert shortfalls([parse_requirement("own_path>=0.5")], metrics) == [
        "own_path>=0.5: 0.000 [0.000, 0.000]"
    ]
    # Two turns in every second conversation.
    assert [(turn["turn"], turn["n"]) for turn in metrics["turns"]] == [(1, 4), (2, 2)]
    assert metrics["turns"][0]["internalization"] == exactly_zero
    details = json.loads((place / "report" / "details.json").read_text())
    assert details["inputs"] == [f"test: shirt {i}" for i in range(100, 104)]
    assert len(details["answers"]["a"]) == len(details["kl_per_input"]["a"]) == 4
    assert details["recitals"][0]["input"] == details["inputs"][0]
    assert metrics == json.loads((place / "report" / "metrics.json").read_text())
    said = capsys.readouterr().out
    assert "a against b, internalization:" in said
    assert "Along the answers of b itself:" in said
    line = json.loads((place / "report" / "answers.jsonl").read_text().splitlines()[0])
    assert line["zeros"]["kl_own_path"] == line["floor"]["kl_own_path"] > 0
    assert line["teacher"]["kl_own_path"] == 0
    # Each adapter is switched on in its turn, and alone.
    alone = evaluate(settings(adapters=["adapters/b"], max_new_tokens=12, seed=0))
    assert alone["internalization"] == metrics["students"]["b"]["internalization"]

    no_model()
    again = evaluate(several)
    volatile = {"seconds": 0}
    assert {**again, **volatile} == {**metrics, **volatile}
    assert "parts were already measured" in capsys.readouterr().out


def test_every_figure_of_ten_inputs_is_a_brute_force_scripts(place):
    """Must show 3: another path to the same figures, one input and one token at a time."""
    from peft import PeftModel
    from transformers import AutoTokenizer

    inputs = [
        f"{['a red shirt', 'socks', 'click on page'][i % 3]} {'x ' * i}{i}" for i in range(10)
    ]
    (place / "ten.jsonl").write_text("".join(json.dumps({"input": t}) + "\n" for t in inputs))
    metrics = evaluate(settings(inputs_file=Path("ten.jsonl"), batch_size=4))

    tokenizer = AutoTokenizer.from_pretrained("tiny")
    base = AutoModelForCausalLM.from_pretrained("tiny").eval()
    student = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("tiny"), "adapters/a")
    student.eval()

    def ids(messages):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    @torch.no_grad()
    def next_token(model, tokens):
        return model(torch.tensor([tokens]), use_cache=False).logits[0, -1].double().log_softmax(-1)

    sums = {"floor": 0.0, "student": 0.0}
    own = {name: {"kl": 0.0, "reverse": 0.0, "floor": 0.0, "tokens": 0} for name in sums}
    count = 0
    for text in inputs:
        bare, prompted = (ids([*before, {"role": "user", "content": text}])
                          for before in ([], PROMPT))  # fmt: skip
        answer = []
        while len(answer) < 12 and tokenizer.eos_token_id not in answer:
            truth = next_token(base, prompted + answer)
            for name, model in (("floor", base), ("student", student)):
                mine = next_token(model, bare + answer)
                sums[name] += float((truth.exp() * (truth - mine)).sum())
            answer.append(int(truth.argmax()))
            count += 1
        for name, model in (("floor", base), ("student", student)):
            answer, here = [], own[name]
            while len(answer) < 12 and tokenizer.eos_token_id not in answer:
                truth, mine = next_token(base, prompted + answer), next_token(model, bare + answer)
                floor = next_token(base, bare + answer)
                here["kl"] += float((truth.exp() * (truth - mine)).sum())
                here["reverse"] += float((mine.exp() * (mine - truth)).sum())
                here["floor"] += float((truth.exp() * (truth - floor)).sum())
                here["tokens"] += 1
                answer.append(int(mine.argmax()))
    figures = {
        "internalization": 1 - sums["student"] / sums["floor"],
        "systems.floor.kl_to_teacher": sums["floor"] / count,
        "systems.student.kl_to_teacher": sums["student"] / count,
        "own_path": 1 - own["student"]["kl"] / own["student"]["floor"],
        "systems.floor.own_path": 0.0,
        "systems.teacher.own_path": 1.0,
        **{
            f"systems.{name}.{figure}": here[key] / here[over]
            for name, here in own.items()
            for figure, key, over in (
                ("kl_own_path", "kl", "tokens"),
                ("kl_own_path_reverse", "reverse", "tokens"),
            )
        },
        "systems.student.answer_tokens": own["student"]["tokens"] / len(inputs),
    }
    assert abs(own["student"]["kl"] - own["student"]["reverse"]) > 0.1
    for name, expected in figures.items():
        found = metrics
        for key in name.split("."):
            found = found[key]
        assert found["value"] == pytest.approx(expected, abs=1e-4), name


def test_an_adapter_is_asked_for_its_prompt_as_its_manifest_says(place):
    save_adapter("tiny", "adapters/pieces", seed=3)
    others = tuple(s.name for s in SECTIONS if s.name != "recitation")
    asked = settings(
        adapters=["adapters/pieces"], skip=others, options=Options(recitals=1), limit=1
    )
    whole = evaluate(asked)["recitation"]
    assert whole["pieces"] == 1
    manifest = Path("adapters/pieces/genpi_manifest.json")
    manifest.write_text(json.dumps({"genpi": {"prompt_generation_piece": 16}}))
    pieces = evaluate(asked)["recitation"]  # not what is cached of the whole recital
    assert pieces["pieces"] > 1
    assert 0 <= pieces["chrf_told"]["value"] <= 100
    assert "pieces, each after the last words" in (place / "report" / "recital.md").read_text()
    assert "pieces in turn" in (place / "report" / "report.html").read_text()


def test_drift_and_disclosure_of_a_whole_evaluation(place, capsys):
    """The base model is loaded once more, through axolotl, to hold the switched-off one to it."""
    Path("general.txt").write_text("Hi\nWhat is the capital?\nTell me a joke\n")
    others = tuple(s.name for s in SECTIONS if s.name not in ("drift", "disclosure"))
    options = Options(general=Path("general.txt"))
    zeros = settings(adapters=["adapters/zeros"], limit=2, skip=others, options=options)
    metrics = evaluate(zeros)
    drift = metrics["drift"]
    assert drift["kl_from_floor"] == drift["changed"] == {"value": 0, "ci_low": 0, "ci_high": 0}
    assert (drift["off_identical"], drift["off_largest_kl"]) == (True, 0.0)
    disclosed = metrics["disclosure"]["systems"]
    assert disclosed["student"] == disclosed["floor"] != disclosed["teacher"]
    assert "tokens are the base model's" in capsys.readouterr().out
    several = settings(adapters=["adapters/zeros", "adapters/a"], limit=2, skip=others,
                       options=options)  # fmt: skip
    students = evaluate(several)["drift"]["students"]
    assert students["zeros"]["kl_from_floor"]["value"] == 0
    assert students["a"]["kl_from_floor"]["value"] > 0


def test_an_adapter_that_took_weights_from_its_base_is_refused(place):
    """PEFT starts a PiSSA adapter anew at loading: switched off, it is not the base model."""
    save_adapter("tiny", "adapters/pissa", zeros="pissa")
    with pytest.raises(GenPIError, match="with its adapter off the model is not the base model"):
        evaluate(settings(adapters=["adapters/pissa"]))


def test_logs_of_the_user_s_own_are_measured_with_their_history(place):
    talk = [
        {"role": "user", "content": "a red shirt"},
        {"role": "assistant", "content": "Action: search[red]"},
        {"role": "user", "content": "page 1"},
        {"role": "assistant", "content": "Action: buy"},
    ]
    log = {"id": "l", "messages": [*PROMPT, *talk]}
    (place / "logs.jsonl").write_text(json.dumps(log) + "\n")
    own = {"inputs_file": Path("logs.jsonl"), "max_new_tokens": 4, "batch_size": 4}
    asked = evaluate(settings(**own))
    assert any("took the task's prompt out of 1 of 1" in line for line in asked["warnings"])
    lines = [json.loads(line) for line in (place / "report" / "answers.jsonl").open()]
    assert [(line["id"], line["input"]) for line in lines] == [("l-1", "a red shirt"),
                                                               ("l-2", "page 1")]  # fmt: skip
    last = evaluate(settings(**own, reading=Reading(answers="last")))
    [line] = [json.loads(line) for line in (place / "report" / "answers.jsonl").open()]
    assert line["id"] == "l"
    assert line["student"]["answer"] == lines[1]["student"]["answer"]
    # The history is part of what is asked: four messages' worth of tokens, not one.
    tokens = [each["cost"]["request_tokens_without_prompt"] for each in (asked, last)]
    assert tokens[1] > tokens[0]
    skipped = tuple(section.name for section in SECTIONS if section.name != "turns")
    kept = evaluate(settings(**own, reading=Reading(answers="keep"), skip=skipped))
    assert [(turn["turn"], turn["n"]) for turn in kept["turns"]] == [(1, 1), (2, 1)]


def test_a_section_that_fails_by_code_not_ours_is_left_out_and_said(place, monkeypatch, capsys):
    """Everything else was measured, so it is written."""

    def fail(context, options):
        raise NotMeasured("the harness failed at `ifeval`", "look at its log.")

    names = [section.name for section in SECTIONS]
    broken = [
        replace(one, measure=fail, depends=lambda options: []) if one.name == "drift" else one
        for one in SECTIONS
    ]
    monkeypatch.setattr("genpi_plugin.evaluation.plan.SECTIONS", broken)
    skipped = tuple(name for name in names if name != "drift")
    metrics = evaluate(settings(adapters=["adapters/a"], skip=skipped, output=Path("left-out")))
    assert "drift" not in metrics
    [line] = [one for one in metrics["warnings"] if one.startswith("drift left out")]
    assert "`ifeval`" in line
    assert json.loads((place / "left-out" / "metrics.json").read_text())["warnings"] == [line]
    assert "drift left out" in " ".join(capsys.readouterr().out.split())
