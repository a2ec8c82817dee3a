"""What a second evaluation reuses, and what makes it measure again."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import datasets
import pytest
import yaml

import genpi_plugin
from genpi_plugin.evaluation.measuring import systems
from genpi_plugin.evaluation.measuring.cache import CORE
from genpi_plugin.evaluation.run import evaluate
from genpi_plugin.evaluation.sections.catalog import SECTIONS
from tests.genpi_plugin.evaluation.run_made import OTHERS, settings
from tests.genpi_plugin.rows_made import our_row
from tests.tiny import CHATML, save_tiny

PACKAGE = Path(genpi_plugin.__file__).parent
# Words of errors, digests, scores: no answer depends on them.
NOT_IN_ANSWERS = {
    "errors.py", "data/cures.py", "data/digests.py",
    "evaluation/figures/names.py", "evaluation/figures/scores.py",
    "evaluation/figures/value_scores.py",
}  # fmt: skip


def imported(file):
    """The modules of the plugin that a file of it imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("genpi_plugin"):
            module = PACKAGE.parent.joinpath(*node.module.split("."))
            for name in node.names:
                tries = [module / f"{name.name}.py", module.with_suffix(".py")]
                yield from [one for one in tries if one.exists()][:1]


def test_the_code_that_counts_is_all_that_the_subjects_import():
    todo, seen = [PACKAGE / "evaluation/subjects/subject.py"], set()
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += imported(file)
    names = {str(file.relative_to(PACKAGE)) for file in seen}
    assert "reading/writing.py" in names
    assert names - set(CORE) == NOT_IN_ANSWERS


def test_another_adapter_leaves_the_teachers_answers(place, capsys):
    evaluate(settings(adapters=["adapters/a"], limit=3))
    assert "teacher answers: 3 done" in capsys.readouterr().out
    evaluate(settings(adapters=["adapters/b"], limit=3, skip=(*OTHERS, "turns")))
    said = capsys.readouterr().out
    assert "student answers: 3 done" in said
    assert "teacher answers: 3 done" not in said
    assert "floor answers: 3 done" not in said


def test_another_adapter_leaves_the_teachers_answers_of_the_sections(place, capsys):
    others = tuple({section.name for section in SECTIONS} - {"drift", "disclosure"})
    found = [
        evaluate(settings(adapters=[f"adapters/{name}"], limit=2, max_new_tokens=4, skip=others))
        for name in ("a", "b")
    ]
    said = capsys.readouterr().out
    for once in ("teacher", "floor"):
        assert said.count(f"general inputs: {once} answers: 64 done") == 1
        assert said.count(f"attacks on {once}: 24 done") == 1
    assert said.count("general inputs: student answers: 64 done") == 2
    first, second = (one["drift"] for one in found)
    assert first["teacher"] == second["teacher"]
    assert first["kl_from_floor"] != second["kl_from_floor"]
    # A section that finds its answers has the figures of one that makes them.
    shutil.rmtree(next(Path().rglob("genpi-eval-cache")))
    anew = evaluate(settings(adapters=["adapters/b"], limit=2, max_new_tokens=4, skip=others))
    assert (anew["drift"], anew["disclosure"]) == (second, found[1]["disclosure"])


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


def test_what_is_kept_depends_on_the_template_and_the_day_it_writes(tmp_path, monkeypatch):
    import datetime as real

    import transformers.utils.chat_template_utils as rendering

    cfg = {"base_model": str(save_tiny(tmp_path / "model"))}

    def facts(day, template):
        class Clock(real.datetime):
            @classmethod
            def now(cls, tz=None):
                return real.datetime(2026, 11, day)

        monkeypatch.setattr(rendering, "datetime", Clock)
        (tmp_path / "own.jinja").write_text(template)
        chosen = {"chat_template": "jinja", "chat_template_jinja": str(tmp_path / "own.jinja")}
        return systems.SubjectLoader({**cfg, **chosen}, [tmp_path], 1).facts

    dated = "{{ strftime_now('%d') }}" + CHATML
    assert facts(24, CHATML) == facts(25, CHATML) != facts(24, dated) != facts(25, dated)


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
