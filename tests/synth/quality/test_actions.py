import pytest

from synth.quality.actions import bare_pattern, command, foreign_action
from synth.task.taskfile import load_task, shipped_tasks
from tests.synth.running.test_pipeline import make, texts
from tests.synth.scripted import Scripted, make_task, shop, stage_of
from tests.synth.stages.test_conversations import talk, told

WEB = r"Action:\s*(?P<action>(?:search|click)\[[^\]\n]+\])"
TEACHER = "Thought: I look for it.\nAction: search[red cotton shirt]"
FLOOR = "You could use click[Shirts] in the shop's menu."
PROMPT = "Answer with Action: search[keywords] or Action: click[value]. Action: click[Buy Now]"


@pytest.mark.parametrize(
    "reason",
    [
        "The prompt asks for an action, so the answer is Action: search[red cotton shirt].",
        "It answers search[Red  Cotton Shirt] in place of prose.",
        "It gives `search[red cotton ...]` since the prompt wants one action.",
        "The floor said click[Shirts]; the rules make it search[red cotton shirt].",
        "The prompt's form is search[keywords] or click[value], and the example click[Buy Now].",
        "An action has the form search[query] or click[element].",
        "Without the prompt there is no action at all.",
    ],
)
def test_a_reason_may_name_what_was_done_and_what_was_shown(reason):
    assert foreign_action(reason, WEB, [TEACHER, FLOOR, PROMPT]) == ""


@pytest.mark.parametrize(
    ("reason", "named"),
    [
        ("So the answer is Action: search[blue denim jeans].", "search[blue denim jeans]"),
        ("It clicks click[B07XYZ] as the prompt says.", "click[B07XYZ]"),
    ],
)
def test_a_reason_that_names_another_action_is_known(reason, named):
    assert foreign_action(reason, WEB, [TEACHER, FLOOR, PROMPT]) == named


def test_the_bare_action_is_taken_out_of_the_pattern():
    assert bare_pattern(WEB) == r"(?:search|click)\[[^\]\n]+\]"
    assert bare_pattern(r"a(?P<action>[)(]x\))b") == r"[)(]x\)"
    assert bare_pattern(r"Answer: (?P<action>.+)") is None  # it would match any words
    assert bare_pattern(r"search\[.*\]") is None
    for name in shipped_tasks():
        pattern = load_task(name).config.action_pattern
        assert foreign_action("The prompt asks for one short answer.", pattern, []) == "", name


def test_a_reason_that_is_another_row_s_is_left_out(tmp_path):
    def script(messages, seed):
        own = stage_of(messages) == "reasons" and "find item 1" in messages[-1].content
        other = "The prompt makes it search[a green tent for two], an action."
        return other if own else shop(messages, seed)

    task = make_task(tmp_path)
    store, _ = make(task, Scripted(script), given=texts(3))
    [rejection] = store.rejections()
    assert (rejection.stage, rejection.reason) == ("reasons", "reason names another action")
    assert [bool(row.reason) for row in store.rows()] == [True, False, True]
    assert "'search[a green tent for two]'" in rejection.detail
    free = make_task(tmp_path / "free", filters=["role_markers"])
    assert not list(make(free, Scripted(script), given=texts(3))[0].rejections())


def test_a_command_is_the_same_in_other_words():
    assert command('Thought: so.\nAction: click["Next"]', WEB) == command(
        "Action: click[next]", WEB
    )
    assert command("Action: click[Next]", WEB) != command("Action: click[Prev]", WEB)
    assert command("Just  Words", WEB) == command("just words", None)


def agent_says(*turns):
    """An agent that gives these turns one after the other."""
    said = iter(turns)
    return lambda messages, seed: next(said)


def test_the_same_command_in_other_words_on_the_same_page_ends_the_conversation(tmp_path):
    task = make_task(tmp_path, conversations={"max_turns": 9})
    agent = agent_says("I look: search[a]", "Once more: click[x]", "Now I try: search[ 'A' ]")
    pages = iter(["no results", "an empty page", "no results"])
    row, _, _ = talk(task, agent, lambda m, s: next(pages))
    assert [turn.content for turn in row.conversation] == [
        "act 2", "no results", "I look: search[a]", "an empty page", "Once more: click[x]",
    ]  # fmt: skip
    assert row.conversation_end == "agent and environment repeat themselves"


def test_a_command_that_is_answered_as_before_ends_the_conversation_before_it(tmp_path):
    task = make_task(tmp_path, conversations={"max_turns": 9})
    agent = agent_says("I look: search[a]", "or so: click[x]", "again: search[A]", "never")
    pages = iter(["page 1", "no results", "page 2", "No  results"])
    row, _, _ = talk(task, agent, lambda m, s: next(pages))
    assert [turn.content for turn in row.conversation][-1] == "or so: click[x]"
    assert row.conversation_end == "agent and environment repeat themselves"


def test_the_same_command_on_another_page_goes_on(tmp_path):
    task = make_task(tmp_path, conversations={"max_turns": 4})
    agent = agent_says("on: click[Next]", "further: click[Next]", "and further: click[next]")
    pages = iter(["page 1", "page 2", "page 3"])
    row, _, _ = talk(task, agent, lambda m, s: next(pages))
    assert len(told(row.conversation)) == 7
    assert row.conversation_end == "turn limit"
