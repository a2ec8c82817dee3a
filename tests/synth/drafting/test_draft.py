"""`synth init --model`: a whole draft, from a good model, a weak one and a broken one."""

import json
import re
import zlib

import pytest
import yaml

from synth.drafting.draft import SEEDS
from synth.drafting.questions import QUESTIONS
from synth.task.taskfile import load_task
from tests.synth.cli.commands_run import synth
from tests.synth.server import Failure, Reply, serve

FEW_SHOT = """\
<USER>:
You are a shop agent. Use search[words] or click[value].

<AGENT>:
Ok.

<USER>:
Page: "Instruction: [SEP] i need a waterproof backpack in dark green [SEP] Search"

<AGENT>:
Action: search[waterproof backpack]

<USER>:
Page: "Instruction: [SEP] i need a waterproof backpack in dark green [SEP] B07KQ [SEP] Buy Now"

<AGENT>:
Action: click[Buy Now]
"""
PLAIN = "You answer the guests of a small hotel, {{ guest_name }} today. Be brief."
LISTS = {
    "kinds of people": "1. a tourist\n2. a chef\n3. a hiker\n4. a mother of two\n5. a painter",
    "different things": "- a lost key\n- breakfast\n- a late arrival\n- noise\n- a taxi\n- a bar",
}


def helpful(messages):
    """A model that does what it is asked."""
    asked = messages[-1]["content"]
    if "Who or what" in asked:
        return "a guest of this house"
    if "is over when" in asked:
        return "The conversation is over when the guest has what they need."
    for words, lines in LISTS.items():
        if words in asked:
            return lines
    if asked.startswith("Write a new request."):
        return f"please tell me about thing number {zlib.crc32(asked.encode())} of the house"
    return "Thank you for your message. Breakfast is from seven, and the pool opens later."


def init(tmp_path, answer, prompt, *more, suffix=".txt", fault=None):
    path = tmp_path / f"mine{suffix}"
    path.write_text(prompt)
    with serve(answer, models=None) as server:
        server.fault = fault
        code, printed = synth("init", tmp_path / "task", "--prompt", path, "--model", "m",
                              "--base-url", server.url, *more)  # fmt: skip
        return code, printed, server.count


def test_a_few_shot_prompt_gives_what_it_shows_and_the_model_the_rest(tmp_path):
    code, printed, count = init(tmp_path, helpful, FEW_SHOT)
    assert code == 0, printed
    text = (tmp_path / "task" / "task.yml").read_text()
    config = load_task(str(tmp_path / "task")).config
    assert config.inputs.seeds[0] == "i need a waterproof backpack in dark green"
    assert len(set(config.inputs.seeds)) == SEEDS
    assert config.inputs.wrap == 'Page: "Instruction: [SEP] {{ text }} [SEP] Search"'
    assert config.inputs.vary["persona"][:2] == ("a tourist", "a chef")
    assert config.inputs.vary["topic"][0] == "a lost key"
    assert config.conversations.environment == "a guest of this house"
    assert config.conversations.end_condition == "the guest has what they need"
    for answer in ("Action: search[x y]", "Action:\nclick[Buy Now]"):
        assert re.search(config.action_pattern, answer)
    assert re.search(config.conversations.end_pattern, "Action: click[Buy Now]")
    # Each value says where it comes from, and none is left to CHANGE that was drafted.
    assert text.count("# drafted by m: check\n") == 5
    assert "# from the prompt's own examples\n" in text
    assert "# matches the 2 answers in the prompt: check\n" in text
    left = re.findall(r"^ *(\w+):.*# CHANGE", text, re.MULTILINE)
    assert left == ["request"]
    # What it costs is said before, and kept to.
    said = int(re.search(r"at most (\d+) requests", printed)[1])
    assert count <= said
    assert "inputs.seeds: 6 (from the prompt's own examples; drafted by m: check)" in printed
    code, printed = synth("validate", tmp_path / "task")
    assert code == 0
    assert "Valid." in printed


def test_the_form_of_the_answers_is_seen_where_the_prompt_shows_none(tmp_path):
    def acting(messages):
        text = helpful(messages)
        return "I see to it.\nbook(room)" if text.startswith("Thank you") else text

    code, printed, _ = init(tmp_path, acting, PLAIN, suffix=".md")
    assert code == 0, printed
    text = (tmp_path / "task" / "task.yml").read_text()
    config = load_task(str(tmp_path / "task")).config
    assert re.search(config.action_pattern, "x\nbook(room)")["action"] == "book(room)"
    assert "# matches the target's answers to the first 3 seeds: check" in text


def test_slots_are_drafted_with_a_source_each_and_other_places_with_the_slot_to_write(tmp_path):
    prompt = f"{PLAIN} {{{{ room.number }}}} is theirs. Sign as {{agent}} or <FIRST NAME>."
    code, printed, _ = init(tmp_path, helpful, prompt, suffix=".md")
    assert code == 0, printed
    folder = tmp_path / "task"
    text = (folder / "task.yml").read_text()
    assert text.splitlines()[1].startswith("# The prompt's places for values are listed at the end")
    assert "#   {agent}: write it as {{ agent }} if your application fills it in" in text
    assert "#   <FIRST NAME>: write it as {{ FIRST_NAME }} if" in text
    assert "Write one value in each place" not in text
    # Uncommented, in place of the empty one, the block is what `slots` takes.
    block = re.search(r"^# slots:\n(#   [\w.]+: \{file.*\n)+", text, re.MULTILINE)[0]
    assert list(yaml.safe_load(block.replace("# ", ""))["slots"]) == ["guest_name", "room.number"]
    (folder / "values.csv").write_text("guest_name,room.number\nAda,7\nBob,9\n")
    uncommented = re.sub("^# ", "", block, flags=re.MULTILINE)
    (folder / "task.yml").write_text(text.replace("slots: {}\n", uncommented, 1))
    code, printed = synth("validate", folder)
    assert code == 0, printed
    assert "Slot room.number: file of 2" in printed


def test_a_prompt_without_places_for_values_has_none_in_its_draft(tmp_path):
    code, _, _ = init(tmp_path, helpful, "You answer the guests of a small hotel.", suffix=".md")
    assert code == 0
    assert "places for values" not in (tmp_path / "task" / "task.yml").read_text()


def test_answers_without_a_form_leave_the_pattern_out(tmp_path):
    code, printed, _ = init(tmp_path, helpful, PLAIN, suffix=".md")
    assert code == 0
    text = (tmp_path / "task" / "task.yml").read_text()
    assert "# not drafted: the answers have no form in common\naction_pattern: null" in text
    assert "action_pattern: not drafted; the answers have no form in common" in printed


WEAK = {
    "refuses": lambda messages: "As an AI language model, I can't help with that.",
    "says nothing": lambda messages: "",
    "repeats the prompt": lambda messages: messages[0]["content"],
    "is cut": lambda messages: Reply("a guest of the house and " * 9, "length"),
    "says one thing": lambda messages: "I want to book a room for two people, please.",
    "writes YAML": lambda messages: "seeds: [a, 'b\n- {{ x }} # {% if\n\t\"|>: &a *b",
    "breaks off": lambda messages: "\ufffd\x1b[2J half a",
}


@pytest.mark.parametrize("kind", WEAK)
@pytest.mark.parametrize("prompt", [FEW_SHOT, PLAIN])
def test_a_weak_model_leaves_a_valid_task_that_says_what_is_missing(tmp_path, kind, prompt):
    code, printed, count = init(tmp_path, WEAK[kind], prompt)
    assert code == 0, printed
    text = (tmp_path / "task" / "task.yml").read_text()
    config = load_task(str(tmp_path / "task")).config
    missing = [question.key for question in QUESTIONS if f"{question.key}: not drafted" in printed]
    assert "conversations.environment" in missing
    assert config.conversations.environment == "the user of the application"
    assert "# CHANGE: who answers the agent" in text
    assert "inputs.vary.persona" in missing
    assert config.inputs.vary == {}
    assert "  # not drafted: m wrote " in text
    if prompt is FEW_SHOT:  # what the prompt shows is there all the same
        assert config.inputs.seeds[0] == "i need a waterproof backpack in dark green"
    assert count <= int(re.search(r"at most (\d+) requests", printed)[1])
    assert synth("validate", tmp_path / "task")[0] == 0


def test_a_request_that_fails_costs_its_value_alone(tmp_path):
    def fault(messages):
        if "Who or what" not in messages[-1]["content"]:
            return None
        return Failure(400, {"error": {"message": "blocked", "code": "content_filter"}})

    code, printed, _ = init(tmp_path, helpful, FEW_SHOT, fault=fault)
    assert code == 0, printed
    config = load_task(str(tmp_path / "task")).config
    assert config.conversations.environment == "the user of the application"
    assert config.conversations.end_condition == "the guest has what they need"


def test_nothing_is_written_where_nobody_answers_or_the_folder_is_there(tmp_path):
    path = tmp_path / "p.md"
    path.write_text(PLAIN)
    arguments = ("--prompt", path, "--model", "m", "--base-url", "http://127.0.0.1:9/v1")
    code, printed = synth("init", tmp_path / "task", *arguments)
    assert code == 1
    assert "127.0.0.1:9" in printed
    assert not (tmp_path / "task").exists()
    (tmp_path / "task").mkdir()
    code, printed = synth("init", tmp_path / "task", *arguments)
    assert code == 1
    assert "is there already" in printed  # before anybody is asked


def test_without_a_model_the_scaffold_is_as_it_was(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text(FEW_SHOT)
    code, printed = synth("init", tmp_path / "task", "--prompt", path)
    assert code == 0
    assert "--model MODEL drafts some" in printed
    data = yaml.safe_load((tmp_path / "task" / "task.yml").read_text())
    assert data["inputs"]["seeds"] == []
    assert data["action_pattern"] is None


TOOLS = [
    {"type": "function", "function": {"name": "book_room", "description": "Book a room.",
     "parameters": {"type": "object", "properties": {"night": {"type": "string"}}}}},
]  # fmt: skip


def test_tools_go_with_the_prompt_and_need_no_pattern(tmp_path):
    tools = tmp_path / "mine.json"
    tools.write_text(json.dumps(TOOLS))
    asked = []

    def answer(messages):
        asked.append(messages)
        return helpful(messages)

    code, printed, count = init(tmp_path, answer, FEW_SHOT, "--tools", tools)
    assert code == 0, printed
    task = load_task(str(tmp_path / "task"))
    assert json.loads(task.tools) == TOOLS
    assert task.config.tools == "tools.json"
    assert task.config.action_pattern is None
    assert "action_pattern" not in printed
    question = next(one for one in asked if "Who or what" in one[-1]["content"])
    assert "- book_room: Book a room." in question[0]["content"]
    assert count <= int(re.search(r"at most (\d+) requests", printed)[1])
    tools.write_text("{")
    plain = tmp_path / "mine.txt"
    code, printed = synth("init", tmp_path / "other", "--prompt", plain, "--tools", tools)
    assert code == 1
    assert "mine.json can't be read" in printed
    assert not (tmp_path / "other").exists()
    tools.write_text(json.dumps(TOOLS))
    assert synth("init", tmp_path / "other", "--prompt", plain, "--tools", tools)[0] == 0
    assert json.loads(load_task(str(tmp_path / "other")).tools) == TOOLS


def test_thoughts_come_into_no_draft(tmp_path):
    aloud = "<think>\nThe user wants what a guest says.\n</think>\n\n"
    code, printed, _ = init(tmp_path, lambda m: aloud + helpful(m), PLAIN, suffix=".md")
    assert code == 0, printed
    made = (tmp_path / "task" / "task.yml").read_text()
    assert "think>" not in made
    assert "wants what a guest says" not in made
