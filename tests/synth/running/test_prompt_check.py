"""What `validate` asks the target: with the prompt, and without."""

from __future__ import annotations

from tests.synth.cli.commands_run import synth
from tests.synth.scripted import PROMPT, write_task
from tests.synth.server import Reply, serve

TOOL = '[{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]'


def test_the_request_without_the_prompt_has_no_tools_either(tmp_path):
    task = write_task(tmp_path / "t", tools="tools.json", action_pattern=None)
    (task / "tools.json").write_text(TOOL)

    def answer(body):
        read = 40 * len(body["messages"]) + 500 * len(body.get("tools", []))
        read += sum(len(turn["content"].split()) for turn in body["messages"])
        return Reply("Hello.", usage={"prompt_tokens": read, "completion_tokens": 1})

    with serve(lambda messages: None, models=None) as server:
        server.answer_body = answer
        code, printed = synth("validate", task, "--model", "m", "--base-url", server.url)
    assert code == 0, printed
    *with_prompt, without = server.requests
    assert all(PROMPT in str(body["messages"]) and body["tools"] for body in with_prompt)
    assert without["messages"] == [{"role": "user", "content": "Hello."}]
    assert "tools" not in without
    assert "41 without" in printed
