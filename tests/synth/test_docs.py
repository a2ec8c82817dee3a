"""The reference in docs/tasks.md is the code's. Write it anew: python -m tests.synth.test_docs"""

import inspect
import json
from pathlib import Path

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from synth.config import TaskConfig
from synth.taskfile import load_task

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
START = "<!-- fields: made by `python -m tests.synth.test_docs`, checked by the tests -->\n"
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


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text(before + START + table() + END + rest.partition(END)[2])
