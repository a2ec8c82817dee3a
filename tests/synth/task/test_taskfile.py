import pytest
import yaml

from genpi_plugin.data.yaml_keys import repeated_key
from synth.errors import SynthError, TaskError
from synth.task.config import TaskConfig
from synth.task.scaffold import init_task
from synth.task.taskfile import load_task, parse_override, shipped_tasks
from tests.synth.scripted import PROMPT, make_task, write_task


def refused(folder, **overrides):
    with pytest.raises(TaskError) as caught:
        load_task(str(folder), overrides)
    assert caught.value.cure
    return caught.value.cause


def test_a_task_is_its_settings_and_its_prompt(tmp_path):
    task = make_task(tmp_path, prompt_role="user")
    assert [(turn.role, turn.content) for turn in task.prompt] == [("user", PROMPT)]
    assert task.config.inputs.count == 4
    assert task.config.outputs.temperature == 0
    assert task.prompt_id.startswith("shop-")


def test_the_prompt_id_follows_the_prompt(tmp_path):
    one = make_task(tmp_path / "a").prompt_id
    assert make_task(tmp_path / "b").prompt_id == one
    assert make_task(tmp_path / "c", prompt=PROMPT + "!").prompt_id != one


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": {"cout": 3}}, "`inputs.cout` is not a key of a task. Did you mean `inputs.c"),
        ({"inptus": {}}, "`inptus` is not a key of a task. Did you mean `inputs`?"),
        ({"action_pattern": "("}, "`action_pattern`: not a regular expression"),
        ({"inputs": {"pattern": "[a"}}, "`inputs.pattern`: not a regular expression"),
        ({"inputs": {"wrap": "nothing"}}, "leaves the generated text out"),
        ({"inputs": {"count": "many"}}, "`inputs.count`"),
        ({"inputs": {"count": 0}}, "greater than or equal to 1 (it is 0)"),
        ({"split": {"test": 1.0}}, "`split.test`"),
        ({"name": None}, "`name`"),
        ({"name": "a/b"}, "`name`"),
        ({"inputs": {"min_chars": 9, "max_chars": 8}}, "`inputs.min_chars` (9) is more"),
        ({"inputs": {"seeds": [], "show_prompt": False}}, "knows nothing"),
        ({"prompt_role": "assistant"}, "`prompt_role`"),
        ({"scores": {"a": {"pattern": "("}}}, "`scores.a.pattern`: not a regular expression"),
        ({"scores": {"a": {"python": "no colon"}}}, "`scores.a.python`"),
        ({"scores": {"a": {}}}, "`scores.a`: give one of pattern, json_schema and python"),
        ({"scores": {"a": {"regex": "x"}}}, "`scores.a.regex`"),
        ({"reject_refusals": ["floor"]}, "`reject_refusals.0`"),
        ({"action_pattern": None, "outputs": {"require_action": True}}, "needs an action_pattern"),
        ({"conversations": {"max_turns": 1, "require_end": True}}, "a max_turns above 1"),
    ],
)
def test_a_wrong_value_names_the_file_and_the_key(tmp_path, change, words):
    cause = refused(write_task(tmp_path, **change))
    assert words in cause
    assert "task.yml" in cause


def test_every_mistake_is_told_at_once(tmp_path):
    cause = refused(write_task(tmp_path, inputs={"count": 0, "sedes": []}, split={"tset": 0}))
    assert cause.count("\n") == 2


def test_a_task_without_its_prompt_is_refused(tmp_path):
    folder = write_task(tmp_path)
    (folder / "prompt.md").unlink()
    assert "no prompt file" in refused(folder)


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    (tmp_path / "task.yml").write_text("name: [")
    assert "can't be read" in refused(tmp_path)
    (tmp_path / "task.yml").write_text("")
    assert "holds no keys" in refused(tmp_path)


def test_an_unknown_task_is_told_with_what_there_is():
    with pytest.raises(TaskError) as caught:
        load_task("webshopp")
    assert "webshopp" in caught.value.cause
    assert "synth init" in caught.value.cure


def test_set_replaces_a_value_and_is_named_when_wrong(tmp_path):
    folder = str(write_task(tmp_path))
    assert parse_override("inputs.count=7") == ("inputs.count", 7)
    task = load_task(folder, dict([parse_override("reasons.system=be brief")]))
    assert task.config.reasons.system == "be brief"
    assert "The command line's `inputs.cuont` is not a key" in refused(
        folder, **{"inputs.cuont": 1}
    )
    assert "`name` has no keys" in refused(folder, **{"name.x": 1})
    with pytest.raises(TaskError, match="not KEY=VALUE"):
        parse_override("inputs.count")


@pytest.mark.parametrize("name", shipped_tasks())
def test_every_shipped_task_loads(name):
    task = load_task(name)
    assert task.config.name == name
    assert task.config.inputs.seeds


@pytest.mark.parametrize("suffix", [".md", ".txt", ".yml"])
def test_init_writes_a_task_that_loads_with_every_key_at_its_default(tmp_path, suffix):
    prompt = tmp_path / f"mine{suffix}"
    prompt.write_text("- {role: user, content: Be kind.}" if suffix == ".yml" else "Be kind.")
    path = init_task(tmp_path / "my task", prompt)
    task = load_task(str(path.parent))
    assert task.prompt[0].content == "Be kind."
    assert task.config.name == "my-task"
    default = TaskConfig(name="my-task", prompt=task.config.prompt)
    assert task.config == default
    written = yaml.safe_load(path.read_text())
    for section, value in default.model_dump(mode="json").items():
        assert section in written
        if isinstance(value, dict):
            assert set(written[section]) == set(value) - {"system"}


def test_init_writes_over_nothing(tmp_path):
    prompt = tmp_path / "p.md"
    prompt.write_text("x")
    init_task(tmp_path / "mine", prompt)
    with pytest.raises(SynthError, match="is there already"):
        init_task(tmp_path / "mine", prompt)
    with pytest.raises(TaskError, match="no prompt file"):
        init_task(tmp_path / "other", tmp_path / "gone.md")
    assert not (tmp_path / "other").exists()


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = write_task(tmp_path / "t") / "task.yml"
    load_task(str(path))
    path.write_text(path.read_text() + "inputs:\n  count: 3\n")
    with pytest.raises(TaskError, match=r"task.yml, line \d+: the key `inputs` stands in line"):
        load_task(str(path))
    assert repeated_key("x: &a {count: 3}\ny: {<<: *a, count: 4}\nz: [*a, {count: 3}]\n") == ""
