"""The reference in docs/tasks.md is the code's. Anew: python -m tests.synth.cli.test_docs"""

import inspect
import json
import re
import shlex

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from synth.cli.commands import main
from synth.task.config import TaskConfig
from synth.task.fields import FILTERS
from synth.task.taskfile import load_task
from tests import ROOT
from tests.synth.cli.commands_run import synth
from tests.synth.scripted import answers, write_task
from tests.synth.server import serve
from tests.synth.stages.test_tools import talk
from tests.synth.tooled import calling, tooled

PAGE = ROOT / "docs" / "tasks.md"
START = "<!-- fields: made by `python -m tests.synth.cli.test_docs`, checked by the tests -->\n"
END = "<!-- end of fields -->"


def rows(model, prefix=""):
    for name, field in model.model_fields.items():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            yield from rows(field.annotation, f"{prefix}{name}.")
        else:
            default = field.default
            if default is PydanticUndefined:
                shown = "required"
            elif isinstance(default, str) and len(default) > 60:
                shown = "our wording"
            else:
                shown = f"`{json.dumps(default)}`"
            yield f"| `{prefix}{name}` | {shown} | {field.description} |"


def table():
    return "\n".join(["| key | default | what |", "|---|---|---|", *rows(TaskConfig)]) + "\n"


PAGES = [
    "README.md",
    "recipes/README.md",
    *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")),
]


def parts_of_extend():
    """The page on what can be one's own, and its part on environments."""
    page = (ROOT / "docs" / "extend.md").read_text()
    return page, page.partition("## An environment")[2].partition("\n## ")[0]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_on_a_page_is_one(page):
    text = (ROOT / page).read_text().replace("\\\n", " ")
    for line in re.findall(r"^\s*(python -m synth .*)$", text, re.MULTILINE):
        words = shlex.split(line, comments=True)
        # Raises a usage error for an option or an argument that is not there.
        main.commands[words[3]].make_context(words[3], words[4:])


def test_the_page_names_the_files_of_a_run(tmp_path):
    with serve(answers, models=None) as server:
        task = write_task(tmp_path / "t", inputs={"count": 12})
        code, printed = synth("run", task, "-o", tmp_path / "out", "--model", "m",
                              "--base-url", server.url)  # fmt: skip
    assert code == 0, printed
    table = (ROOT / "docs" / "synth.md").read_text().partition("## The output folder")[2]
    named = {name for line in table.split("\n\n")[1].splitlines()
             for name in re.findall(r"`([^`]+)`", line.split("|")[1])}  # fmt: skip
    made = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    made = {re.sub(r"-00000-of-00001", "-*", name) for name in made}
    assert named == made


def test_the_shortest_task_on_the_page_works(tmp_path):
    example = PAGE.read_text().partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "task.yml").write_text(example)
    (tmp_path / "prompt.md").write_text("Help.")
    assert load_task(str(tmp_path)).config.inputs.seeds


def test_the_scores_on_the_page_are_taken():
    example = PAGE.read_text().rpartition("```yaml\n")[2].partition("```")[0]
    config = TaskConfig(name="t", **yaml.safe_load(example))
    assert set(config.scores) == {"brief", "form", "polite"}


def test_the_page_describes_every_field_as_it_is():
    assert PAGE.read_text().partition(START)[2].partition(END)[0] == table()


def test_the_filters_and_the_stage_on_the_page_work(tmp_path):
    page, environment = parts_of_extend()
    page = page.replace(environment, "")
    written = re.findall(r"```(python|yaml)\n(.*?)```", page, re.DOTALL)
    task = write_task(tmp_path / "t", conversations={"max_turns": 3})
    for kind, block in written:
        if kind == "python":
            (task / block.split()[1].rstrip(",")).write_text(block)
        else:
            with (task / "task.yml").open("a") as file:
                file.write(block)
    with serve(answers, models=None) as server:
        code, printed = synth("run", task, "-o", tmp_path / "out", "--model", "m",
                              "--base-url", server.url)  # fmt: skip
    assert code == 0, printed
    assert "shorter" in printed
    table = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert tuple(table) == FILTERS


def test_the_environment_on_the_page_works(tmp_path):
    blocks = dict(re.findall(r"```(python|yaml)\n(.*?)```", parts_of_extend()[1], re.DOTALL))
    conversations = {"max_turns": 4, **yaml.safe_load(blocks["yaml"])["conversations"]}
    task = tooled(tmp_path, conversations=conversations)
    (tmp_path / "my_shop.py").write_text(blocks["python"])
    order = [calling("order", item="lamp", count=count) for count in (1, 2, 3)]
    row, _, _ = talk(task, [*order, calling("stock_of", item="lamp")])
    results = [turn.content for turn in row.conversation if turn.role == "tool"]
    assert results == ['{"ordered": "lamp"}', '{"ordered": "lamp"}', "sold out"]
    assert task.config.conversations.part == "a customer of the shop"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text(before + START + table() + END + rest.partition(END)[2])
