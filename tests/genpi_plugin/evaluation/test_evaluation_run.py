"""A whole evaluation on a tiny model, in process: several systems, what is kept and refused."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import shutil
from pathlib import Path

import datasets
import pytest
import torch
import yaml
from click.testing import CliRunner
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from genpi_plugin.data.digests import of_weights
from genpi_plugin.data.prepared import describe_prompt
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.cli import main
from genpi_plugin.evaluation.gate import parse_requirement, shortfalls
from genpi_plugin.evaluation.measuring import systems
from genpi_plugin.evaluation.measuring.context import Options
from genpi_plugin.evaluation.run import evaluate
from genpi_plugin.evaluation.sections.catalog import SECTIONS
from genpi_plugin.evaluation.settings import Settings
from genpi_plugin.evaluation.subjects.adapters import check_adapter
from tests.genpi_plugin.rows_made import PROMPT, our_row
from tests.tiny import save_tiny

OTHERS = tuple(s.name for s in SECTIONS if s.name not in ("turns", "recitation"))


@pytest.fixture(scope="module")
def place(tmp_path_factory, request):
    """The current folder, with a model, data with a test split, a config and adapters."""
    folder = tmp_path_factory.mktemp("evaluation")
    save_tiny(folder / "tiny")
    save_tiny(folder / "large", hidden_size=64)
    save_rows(folder, "train", range(6))
    save_rows(folder, "test", range(100, 104), turns=True)
    config = {
        "base_model": "tiny",
        "plugins": ["genpi_plugin.GenPIPlugin"],
        "genpi": {},
        "datasets": [{"path": "data", "type": "genpi_plugin.strategy", "split": "train"}],
        "test_datasets": [{"path": "data", "type": "genpi_plugin.strategy", "split": "test"}],
        "output_dir": "out",
        "sequence_len": 2048,
        "adapter": "lora",
        "lora_r": 4,
        "lora_alpha": 8,
        "lora_target_linear": True,
        "lora_mlp_kernel": False,
        "lora_qkv_kernel": False,
        "lora_o_kernel": False,
        "attn_implementation": "sdpa",
        "bf16": False,
        "tf32": False,
        "optimizer": "adamw_torch",
        "learning_rate": 1e-3,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "max_steps": 1,
    }
    (folder / "c.yml").write_text(yaml.safe_dump(config))
    task = {"name": "shop", "action_pattern": r"\w+", "scores": {"long": {"pattern": "....."}}}
    (folder / "data" / "synth.yaml").write_text(yaml.safe_dump({"task": task}))
    with contextlib.chdir(folder):
        for seed, (name, base) in enumerate(
            [("zeros", "tiny"), ("a", "tiny"), ("b", "tiny"), ("other", "large")]
        ):
            save_adapter(base, f"adapters/{name}", seed=seed, zeros=name == "zeros")
        (folder / "short.md").write_text("You are a shop assistant.")
        gc.freeze()  # axolotl collects garbage at each load: most of a test's time
        yield folder
        gc.unfreeze()


def save_rows(folder, split, numbers, turns=False):
    rows = [
        our_row(turns=1 + i % 2 if turns else 1, id=f"{split}{i}", input=f"{split}: shirt {i}")
        for i in numbers
    ]
    path = folder / "data" / "data" / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows).to_parquet(path)


def save_adapter(base, folder, seed=0, zeros=False):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", init_lora_weights=zeros)
    get_peft_model(model, config).save_pretrained(folder)


def settings(**changes):
    plain = {"config": "c.yml", "adapters": ("adapters/a",), "max_new_tokens": 12, "skip": OTHERS,
             "options": Options(recitals=0), "output": "report"}  # fmt: skip
    given = {**plain, **changes}
    given |= {"config": Path(given["config"]), "output": Path(given["output"])}
    given["adapters"] = tuple(Path(path) for path in given["adapters"])
    given["also_prompts"] = tuple(Path(path) for path in given.get("also_prompts", ()))
    return Settings(**given)


@pytest.fixture
def no_model(monkeypatch):
    """Fails the test when a model is loaded."""

    def load(cfg, adapter):
        raise AssertionError("the model was loaded")

    return lambda: monkeypatch.setattr(systems, "load_model", load)


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
    # Each adapter is switched on in its turn, and alone.
    alone = evaluate(settings(adapters=["adapters/b"], max_new_tokens=12, seed=0))
    assert alone["internalization"] == metrics["students"]["b"]["internalization"]

    no_model()
    again = evaluate(several)
    volatile = {"seconds": 0}
    assert {**again, **volatile} == {**metrics, **volatile}
    assert "parts were already measured" in capsys.readouterr().out


def test_another_adapter_leaves_the_teachers_answers(place, capsys):
    evaluate(settings(adapters=["adapters/a"], limit=3))
    assert "teacher answers: 3 done" in capsys.readouterr().out
    evaluate(settings(adapters=["adapters/b"], limit=3, skip=(*OTHERS, "turns")))
    said = capsys.readouterr().out
    assert "student answers: 3 done" in said
    assert "teacher answers: 3 done" not in said
    assert "floor answers: 3 done" not in said


def test_an_interrupted_evaluation_goes_on_from_its_finished_parts(place, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            systems, "divergence_sums", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            evaluate(settings(limit=2))
    assert "student answers: 2 done" in capsys.readouterr().out
    evaluate(settings(limit=2))
    said = capsys.readouterr().out
    assert "student answers: 2 done" not in said
    assert "divergence from the teacher: 2 done" in said


def test_what_is_kept_depends_on_the_adapters_files(place):
    shutil.copytree("adapters/a", "adapters/changing")
    first = evaluate(settings(adapters=["adapters/changing"]))
    shutil.copy("adapters/b/adapter_model.safetensors", "adapters/changing")
    second = evaluate(settings(adapters=["adapters/changing"]))
    assert first["internalization"] != second["internalization"]
    assert (
        second["internalization"] == evaluate(settings(adapters=["adapters/b"]))["internalization"]
    )


def test_what_is_kept_depends_on_the_prompt(place):
    first = evaluate(settings())
    shutil.copytree("data", "data2")
    prompt = [{"role": "system", "content": "Never answer a request, and say so at length."}]
    rows = [our_row(id=f"x{i}", input=f"test: shirt {i}", prompt=prompt) for i in range(100, 104)]
    datasets.Dataset.from_list(rows).to_parquet("data2/data/test-00000-of-00001.parquet")
    config = yaml.safe_load((place / "c.yml").read_text())
    config["test_datasets"][0]["path"] = "data2"
    (place / "c2.yml").write_text(yaml.safe_dump(config))
    second = evaluate(settings(config="c2.yml"))
    for name in ("floor", "student"):
        figures = [found["systems"][name]["kl_to_teacher"] for found in (first, second)]
        assert figures[0] != figures[1]


def test_the_cost_is_looked_up_anew_when_it_took_more(place, no_model):
    others = tuple(section.name for section in SECTIONS if section.name != "cost")
    shutil.copytree("adapters/a", "adapters/again")
    plan = settings(adapters=["adapters/again"], limit=1, max_new_tokens=2, skip=others)

    def spent():
        found = evaluate(plan)["cost"]["break_even"]["spent"]
        return found["synthesis"]["seconds"], found["training"]["seconds"]

    record = place / "data" / "run.json"
    try:
        assert spent() == (None, None)
        record.write_text(json.dumps({"seconds": 7.0, "runs": 1}))
        assert spent() == (7, None)
        record.write_text(json.dumps({"seconds": 9.0, "runs": 2}))
        assert spent() == (9, None)
        manifest = {"prompts": [], "spent": {"seconds": 12.5}}
        (place / "adapters" / "again" / "genpi_manifest.json").write_text(json.dumps(manifest))
        assert spent() == (9, 12.5)
        no_model()
        assert spent() == (9, 12.5)
    finally:
        record.unlink(missing_ok=True)


def test_a_curve_over_checkpoints_is_never_of_the_test_inputs(place):
    for step, name in ((2, "zeros"), (10, "a")):
        shutil.copytree(f"adapters/{name}", f"out/checkpoint-{step}")
    with pytest.raises(GenPIError, match="no validation split"):
        evaluate(settings(with_checkpoints=True))
    (place / "own.jsonl").write_text('{"input": "a blue shirt"}\n{"input": "socks"}\n')
    metrics = evaluate(settings(with_checkpoints=True, inputs_file=Path("own.jsonl")))
    zeros, trained = metrics["checkpoints"]
    assert (zeros["step"], trained["step"]) == (2, 10)
    assert zeros["internalization"]["value"] == 0.0
    assert trained["internalization"]["value"] != 0.0
    assert trained["valid"]["value"] is not None
    assert metrics["source"]["checkpoints_on"] == "data (test split)"
    assert not shortfalls([parse_requirement("checkpoints.2.internalization>=0")], metrics)
    save_rows(place, "validation", range(200, 203))
    try:
        metrics = evaluate(settings(with_checkpoints=True))
        assert metrics["source"]["checkpoints_on"] == "data (validation split)"
    finally:
        (place / "data" / "data" / "validation-00000-of-00001.parquet").unlink()


def test_a_prompt_that_is_not_the_manifests_is_warned_of(place, capsys):
    shutil.copytree("adapters/a", "adapters/with_manifest")
    for prompt, warned in ((PROMPT, False), ([{"role": "system", "content": "Another."}], True)):
        manifest = {"prompts": [describe_prompt("shop", prompt)], "weights_mark": None}
        (place / "adapters" / "with_manifest" / "genpi_manifest.json").write_text(
            json.dumps(manifest)
        )
        metrics = evaluate(settings(adapters=["adapters/with_manifest"]))
        assert any("different prompt" in line for line in metrics["warnings"]) is warned
        assert ("different prompt" in capsys.readouterr().out) is warned


def test_a_base_model_is_known_by_its_name_and_its_weights(place, no_model):
    tiny = of_weights("tiny")
    shutil.copytree("adapters/a", "adapters/known")
    folder = place / "adapters" / "known"
    manifest, config = folder / "genpi_manifest.json", folder / "adapter_config.json"
    settings_of = json.loads(config.read_text())

    def check(name, mark):
        config.write_text(json.dumps({**settings_of, "base_model_name_or_path": name}))
        manifest.write_text(json.dumps({"prompts": [], "weights_mark": mark}))
        return check_adapter(folder, "tiny")

    assert check("tiny", tiny) == check("tiny", None) == check("./tiny", tiny) == []
    assert check("moved/elsewhere", tiny) == []
    [warning] = check("tiny", "0" * 16)
    assert "weights under that name have changed" in warning
    for name, mark in (("moved/elsewhere", None), ("moved/elsewhere", "0" * 16), ("large", None)):
        with pytest.raises(GenPIError, match=f"is an adapter of {name}"):
            check(name, mark)


def break_adapter(place, how):
    folder = place / "adapters" / how
    shutil.copytree("adapters/a", folder)
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    if how == "no_weights":
        weights.unlink()
    elif how == "cut_weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "bad_config":
        config.write_text("{")
    elif how == "renamed_other":  # another model's adapter that says it is of this one
        shutil.copy("adapters/other/adapter_model.safetensors", weights)
    elif how == "missing_layer":
        from safetensors.torch import load_file, save_file

        state = load_file(weights)
        del state[next(iter(state))]
        save_file(state, weights)
    return str(folder)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no_weights", "holds no adapter weights"),
        ("cut_weights", "is damaged"),
        ("bad_config", "can't be read"),
        ("renamed_other", "does not fit the base model"),
        ("missing_layer", "1 of the weights"),
    ],
)
def test_a_broken_adapter_folder_is_refused(place, how, says):
    with pytest.raises(GenPIError, match=says):
        evaluate(settings(adapters=[break_adapter(place, how)]))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"adapters": ["nowhere"]}, "holds no adapter"),
        ({"adapters": ["adapters/other"]}, "is an adapter of large, but this evaluation is of"),
        ({"adapters": ["adapters/a", "./adapters/a"]}, "the name of another system"),
        ({"also_prompts": ["none.md"]}, "can't be read"),
        ({"also_prompts": ["data"]}, "can't be read"),
        ({"requirements": (parse_requirement("students.a.internalization>=0"),)}, "no figure"),
    ],
)
def test_a_mistake_is_said_before_the_model_loads(place, no_model, changes, says):
    no_model()
    with pytest.raises(GenPIError, match=says):
        evaluate(settings(**changes))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--skip", "turns,clause"], "'clause' is not one of"),
        (["--inputs", "empty.jsonl"], "empty.jsonl holds no inputs"),
        (["--inputs", "no.jsonl"], "no.jsonl: No such file"),
        (["--scores", "c.yml"], "can't be the name of a score|write one of"),
        (["--clause-file", "clauses.yml"], "the clause 'rule': 'Never do.' occurs 0 times"),
        (["--general", "empty.jsonl"], "empty.jsonl holds no inputs"),
        (["--attacks", "empty.jsonl"], "empty.jsonl holds no attacks"),
    ],
)
def test_the_command_line_says_what_to_do(place, no_model, arguments, says):
    no_model()
    (place / "empty.jsonl").write_text("\n")
    (place / "clauses.yml").write_text("rule: Never do.\n")
    done = CliRunner().invoke(main, ["c.yml", "--adapter", "adapters/a", *arguments])
    assert done.exit_code in (1, 2)
    assert re.search(says, done.output), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_a_requirement_passes_and_fails_by_its_exit_code(place):
    plain = ["c.yml", "--adapter", "adapters/a", "--skip", ",".join([*OTHERS, "recitation"]),
             "--max-new-tokens", "12", "-o", "report"]  # fmt: skip
    passed = CliRunner().invoke(main, [*plain, "--require", "systems.teacher.internalization>=1"])
    assert passed.exit_code == 0, passed.output
    failed = CliRunner().invoke(main, [*plain, "--require", "internalization>=0.9"])
    assert failed.exit_code == 1
    assert "not met: internalization>=0.9" in failed.output


def test_the_same_model_under_another_name_is_known_by_its_weights(place, capsys):
    shutil.copytree("tiny", "tiny_moved")
    found = evaluate(settings(base_model="tiny_moved", limit=2))
    assert found["internalization"] == evaluate(settings(limit=2))["internalization"]
    assert found["warnings"] == []


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
    figures = {
        "internalization": 1 - sums["student"] / sums["floor"],
        "systems.floor.kl_to_teacher": sums["floor"] / count,
        "systems.student.kl_to_teacher": sums["student"] / count,
    }
    for name, expected in figures.items():
        found = metrics
        for key in name.split("."):
            found = found[key]
        assert found["value"] == pytest.approx(expected, abs=1e-4), name


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
