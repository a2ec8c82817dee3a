"""A run whose target calls tools, from a server's answers to rows that the plugin reads."""

import json
import zlib

import pyarrow.parquet as pq
import pytest

from genpi_plugin.data.all_rows import parse_all
from tests.synth.cli.commands_run import synth
from tests.synth.server import Reply, serve
from tests.synth.stages.test_tools import SHOP
from tests.synth.tooled import CALL, write_tooled

SEEDS = [f"is the lamp of kind {kind} there?" for kind in range(30)]


def shop(form):
    """Answers of an agent that looks, orders in every third conversation, and then says so; its
    calls in the server's own field, or in the text."""

    def call(name, **arguments):
        if form == "text":
            given = json.dumps({"name": name, "arguments": arguments})
            return Reply(f"<tool_call>\n{given}\n</tool_call>")
        function = {"name": name, "arguments": json.dumps(arguments)}
        given = {"id": "" if form == "no ids" else "abc", "type": "function", "function": function}
        return Reply(None, "tool_calls", {"tool_calls": [given]})

    def answer(messages):
        first, last = messages[0]["content"], messages[-1]
        if first.startswith(("Below, between", "You write what")):
            return f"is the lamp number {zlib.crc32(str(messages).encode())} there for me?"
        if first.startswith("Play a tool"):
            return '{"there": 2}'
        if first.startswith("Play a part"):
            return "Then I take one, please."
        if last["role"] == "tool":
            return f"There are some: {last['content'][:40]}"
        if last["content"].startswith("Then I take"):
            return call("order", item="lamp", count=1)
        return call("stock_of", item=last["content"][-20:])

    return answer


def made(tmp_path, form, **sections):
    task = write_tooled(
        tmp_path / "t",
        inputs={"count": 6, "seeds": SEEDS, "request": "Write a question."},
        **{"conversations": {"max_turns": 4, "environment": "a customer"}, **sections},
    )
    (task / "shop.py").write_text(SHOP)
    with serve(shop(form), models=None) as server:
        code, printed = synth("run", task, "-o", tmp_path / "out", "--model", "m",
                              "--base-url", server.url)  # fmt: skip
        asked = list(server.requests)
    assert code == 0, printed
    return exported(tmp_path), asked, printed


def exported(tmp_path):
    paths = sorted((tmp_path / "out" / "data").glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("form", ["tool_calls", "no ids", "text"])
def test_calls_and_results_become_rows_that_the_plugin_reads(tmp_path, form):
    rows, asked, printed = made(tmp_path, form)
    read = parse_all(rows, "here")
    assert len(read) == 6
    for row in read:
        assert [one["function"]["name"] for one in row.tools] == ["stock_of", "order"]
        roles = [message["role"] for message in row.conversation]
        assert roles == ["assistant", "tool", "assistant", "user", "assistant", "tool", "assistant"]
        calls = [call for message in row.conversation for call in message.get("tool_calls", [])]
        assert [call["function"]["name"] for call in calls] == ["stock_of", "order"]
        ids = [call["id"] for call in calls]
        assert len(set(ids)) == 2
        assert ids[0] == ("abc" if form == "tool_calls" else "call00001")
        results = [one["tool_call_id"] for one in row.conversation if one["role"] == "tool"]
        assert results == ids
    # The teacher was given the tools each time, and nobody else.
    for body in asked:
        teacher = body["messages"][0]["content"] == "You sell lamps."
        assert ("tools" in body) == teacher
    assert "Calls of tools: stock_of 6, order 6." in printed
    assert "Turns of the agent that call tools: 50% of 24, well-formed 100%." in printed
    assert "Calls of tools: stock_of 6" in (tmp_path / "out" / "README.md").read_text()
    assert "turns of the agent that call tools, of 24" in (tmp_path / "out/report.html").read_text()


def test_an_environment_in_code_gives_the_same_rows_again(tmp_path):
    environment = {"python": "shop:Shop"}
    conversations = {"max_turns": 3, "environment": environment}
    rows, asked, _ = made(tmp_path, "tool_calls", conversations=conversations)
    assert not any(body["messages"][0]["content"].startswith("Play a") for body in asked)
    talk = rows[0]["conversation"]
    assert talk[1]["content"].startswith('{"there": 2, "ö": "')
    assert talk[3]["content"].startswith("Go on with is the lamp")
    with serve(shop("tool_calls"), models=None) as server:
        code, printed = synth("run", tmp_path / "t", "-o", tmp_path / "out", "--model", "m",
                              "--base-url", server.url)  # fmt: skip
        assert server.count == 0
    assert code == 0, printed
    assert exported(tmp_path) == rows
    config = (tmp_path / "out" / "synth.yaml").read_text()
    assert "shop:Shop: " in config


def test_bad_calls_are_counted_by_their_reasons(tmp_path):
    def answer(messages):
        if "Write a question" in str(messages):
            return shop("text")(messages)
        number = sum(map(ord, messages[-1]["content"])) % 3
        return [CALL.replace("stock_of", "sell"), CALL.replace('"lamp"', "7"), CALL][number]

    task = write_tooled(
        tmp_path / "t",
        inputs={"count": 9, "seeds": SEEDS, "request": "Write a question."},
        conversations={"max_turns": 1},
    )
    with serve(answer, models=None) as server:
        _, printed = synth("run", task, "-o", tmp_path / "out", "--model", "m",
                           "--base-url", server.url)  # fmt: skip
    lines = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    rejected = [json.loads(line) for line in lines]
    reasons = {one["reason"] for one in rejected}
    assert reasons == {
        "teacher output calls a tool that is not there (sell)",
        "teacher output calls a tool with arguments that do not fit its schema (stock_of)",
    }, printed
    assert {one["filter"] for one in rejected} == {"tool_calls"}


def test_validate_and_preview_show_tools_and_what_is_wrong_with_them(tmp_path):
    task = write_tooled(tmp_path / "t", inputs={"count": 2, "seeds": SEEDS})
    tools = json.loads((task / "tools.json").read_text())
    tools[0]["function"]["parameters"]["type"] = "objekt"
    (task / "tools.json").write_text(json.dumps(tools))
    code, printed = synth("validate", task)
    assert code == 0
    assert "Tools: 2 (stock_of, order)" in printed
    assert "the schema of the tool stock_of can't be used" in printed
    assert "parameters.type: 'objekt' is not valid" in printed
    with serve(shop("text"), models=None) as server:
        code, printed = synth("preview", task, "--model", "m", "--base-url", server.url, "-n", "1")
    assert code == 0, printed
    assert '{"name": "stock_of", "arguments": {"item":' in printed
    assert '{"there": 2}' in printed
