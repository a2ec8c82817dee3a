"""A dataset of an agent (tools, thoughts, slots, logs with a history): page, card, exports."""

import html
import json

import pyarrow.parquet as pq
import pytest

from synth.engines.messages import as_messages
from synth.store.rows import COLUMNS
from tests.synth.cli.commands_run import run_command, synth
from tests.synth.scripted import stage_of
from tests.synth.server import Reply, serve
from tests.synth.tooled import TOOLS, write_tooled

PROMPT = "You sell lamps. Today is {{ day }}."
CALL = {"id": "c1", "type": "function",
        "function": {"name": "stock_of", "arguments": '{"item": "lamp"}'}}  # fmt: skip


def agent(thinks):
    """The shop's agent, which calls a tool, thinking or not."""

    def answer(messages):
        if stage_of(as_messages(messages)) in ("environment", "reasons"):
            return "There are seven of them, as the prompt's rules say it."
        if not any("Today is" in str(one["content"]) for one in messages[:1]):
            return "Which lamp?"
        if messages[-1]["role"] == "tool":
            return Reply("Seven.", message={"reasoning_content": "Seven it is."} if thinks else {})
        thoughts = {"reasoning_content": "Let me look it up."} if thinks else {}
        return Reply(None, "tool_calls", {"tool_calls": [CALL], **thoughts})

    return answer


def made(folder, thinks):
    task = write_tooled(folder / "t", PROMPT, slots={"day": ["Monday", "Tuesday"]},
                        conversations={"max_turns": 2})  # fmt: skip
    log = [{"role": "user", "content": "Good morning"}, {"role": "assistant", "content": "Hello."}]
    logs = [{"messages": [*log, {"role": "user", "content": f"Lamps of kind {kind}?"},
                          {"role": "assistant", "content": "Some."}]}
            for kind in ("tall", "brass", "green", "odd")]  # fmt: skip
    inputs = [*logs, {"input": "Any lamps?"}]
    (folder / "logs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in inputs))
    out = folder / "out"
    with serve(agent(thinks), models=None) as server:
        code, printed = synth(*run_command(task, out, server, "--inputs", folder / "logs.jsonl",
                                           "--answers", "last"))  # fmt: skip
    assert code == 0, printed
    return out


@pytest.fixture(scope="module")
def thinking(tmp_path_factory):
    return made(tmp_path_factory.mktemp("thinking"), True)


def test_the_page_shows_all_that_the_student_and_the_teacher_see(thinking):
    rows = (thinking / "report.html").read_text().split('<article class="card row">')[1:]
    row, *_, talk = map(html.unescape, rows)
    places = [row.find(part) for part in (
        "Kept: the values of the prompt's slots", "day", "Before the input: 2 messages",
        "Good morning", "Hello.", ">Input<", "Lamps of kind tall?", "The teacher's thoughts",
        "Let me look it up.", "Teacher: with the prompt", '"stock_of"',
    )]  # fmt: skip
    assert -1 not in places
    assert places == sorted(places)
    assert "Before the input" not in talk
    assert talk.index('<div class="of">Agent\'s thoughts</div>') < talk.index("Seven it is.")


def test_the_card_names_every_column(thinking):
    card = (thinking / "README.md").read_text()
    named = [line.split("|")[1] for line in card.splitlines() if line.startswith("| `")]
    assert {name.strip("` ") for name in named} >= set(COLUMNS)
    assert "of the user's input where it has one" in card
    assert "target model's answer with the prompt" in card


@pytest.mark.parametrize("arguments", [
    ("--format", "sharegpt"), ("--format", "openai"), ("--official-schema", "--format", "parquet"),
    ("--official-schema", "--format", "jsonl"), ("--official-schema",),
])  # fmt: skip
def test_a_form_without_a_place_for_thoughts_is_refused_and_leaves_nothing(
    thinking, tmp_path, arguments
):
    code, printed = synth("export", thinking, *arguments, "-o", tmp_path / "deep" / "x")
    assert code == 1
    assert "thoughts" in printed or "reasoning_content" in printed
    assert not list((tmp_path / "deep").iterdir())


def test_calls_in_openai_s_form_come_with_their_tools(tmp_path):
    out = made(tmp_path, False)
    for form, more, told in (("openai", (), True), ("messages", (), False),
                             ("messages", ("--with-prompt",), True)):  # fmt: skip
        to = tmp_path / f"{form}{len(more)}"
        code, printed = synth("export", out, "--format", form, *more, "-o", to)
        assert code == 0, printed
        lines = [json.loads(line) for line in (to / "train.jsonl").read_text().splitlines()]
        assert len(lines) == pq.read_table(out / "data").num_rows
        for line in lines:
            assert any("tool_calls" in message for message in line["messages"])
            assert line.get("tools") == (TOOLS if told else None)
