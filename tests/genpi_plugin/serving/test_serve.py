"""An application that still sends its prompt and tools, against a real server. Slow."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import openai
import pytest
from transformers import AutoTokenizer

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.templates import JINJA_FILE
from genpi_plugin.serving.write import write_template
from tests import ROOT
from tests.genpi_plugin.rows_made import our_row
from tests.genpi_plugin.serving.place_made import SYSTEM, TOOLS, make_place
from tests.synth.server import transformers_serve
from tests.tiny import TEMPLATES

MODEL = ROOT / "models" / "smollm2"
pytestmark = pytest.mark.slow
ASK = {"role": "user", "content": "do you have wool socks?"}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "stock_of", "arguments": '{"item": "wool socks"}'},
}
LATER = [
    ASK,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "2", "tool_call_id": "c1"},
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The model with a template that takes tools, without the internalized prompt: its client."""
    folder = tmp_path_factory.mktemp("serving")
    rows = [our_row(prompt=[SYSTEM], tools=json.dumps(TOOLS))]
    shutil.copytree(MODEL, folder / "smollm2")
    (folder / "smollm2" / JINJA_FILE).write_text(TEMPLATES["tools"], "utf-8")
    shutil.copytree(folder / "smollm2", folder / "merged")
    make_place(folder, rows, base_model="smollm2")
    with contextlib.chdir(folder):
        write_template(Path("c.yml"), Path("merged"))
    with transformers_serve(folder / "merged") as url:
        yield folder, openai.OpenAI(base_url=url, api_key="none")


@pytest.mark.parametrize("request_", [[ASK], LATER], ids=["a request", "a tool's result"])
def test_an_unchanged_client_costs_what_the_student_costs(served, request_):
    folder, client = served
    view = ChatView(AutoTokenizer.from_pretrained(folder / "smollm2"))

    def tokens(messages, tools=()):
        return len(view.request_ids(messages, tools))

    def counted(messages, tools):
        reply = client.chat.completions.create(
            model=str(folder / "merged"), messages=messages, tools=tools, max_tokens=2
        )
        return reply.usage.prompt_tokens

    student = tokens(request_)
    assert counted([SYSTEM, *request_], TOOLS) == student
    assert counted([{**SYSTEM, "role": "developer"}, *request_], TOOLS[::-1]) == student
    # Another prompt is read as ever, with its tools, and so are other tools.
    other = {"role": "system", "content": "You sell shoes."}
    assert counted([other, *request_], TOOLS) == tokens([other, *request_], TOOLS)
    assert counted([SYSTEM, *request_], TOOLS[:1]) == tokens(request_, TOOLS[:1])
    assert tokens([SYSTEM, *request_], TOOLS) > 3 * student
