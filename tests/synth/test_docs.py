"""The reference in docs/synth.md is the code's. Write it anew: python -m tests.synth.test_docs"""

import inspect
import json
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from synth.config import TaskConfig

PAGE = Path(__file__).parents[2] / "docs" / "synth.md"
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


def test_the_page_describes_every_field_as_it_is():
    assert PAGE.read_text().partition(START)[2].partition(END)[0] == table()


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text(before + START + table() + END + rest.partition(END)[2])
