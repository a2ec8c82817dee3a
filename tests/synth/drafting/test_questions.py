"""What is taken of a model's answers, and what of a weak one's is not."""

import pytest

from synth.drafting.questions import QUESTIONS, question_request, taken
from tests.synth.scripted import make_task

ENVIRONMENT, END, PERSONA, TOPIC = QUESTIONS
LONG = "Never promise a refund before the receipt and the number of the order itself are there."


@pytest.fixture
def task(tmp_path):
    return make_task(tmp_path, prompt=f"You sell shoes. {LONG}")


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        (ENVIRONMENT, "A customer of a shoe shop.", "A customer of a shoe shop"),
        (ENVIRONMENT, '"It is a customer of the shop"', "a customer of the shop"),
        (ENVIRONMENT, "- **people who need shoes**", "people who need shoes"),
        (END, "The conversation is over when the shoes are paid for.", "the shoes are paid for"),
        (END, "when the agent has sold the shoes", "the agent has sold the shoes"),
    ],
)
def test_a_phrase_is_taken_without_what_is_around_it(task, question, text, expected):
    assert taken(text, question, task, False) == ([expected], "")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("As an AI language model, I can't say who it is.", "refuses"),
        ("A customer.\nThey want shoes.", "more than one line"),
        ("shoes", "1 words"),
        ("a customer " * 20, "40 words"),
        ("the AI assistant of a shoe shop", "itself"),
        ("a guest of the hotel", "repeats the question"),
        ("How can I help you today?", "description"),
        ("I want to buy red shoes", "description"),
        (LONG.rstrip("."), "repeats the prompt"),
        ("a customer <|im_start|>", "role marker"),
        ("a customer, a seller, ...", "stops short"),
    ],
)
def test_what_is_no_description_is_left_out(task, text, fault):
    good, why = taken(text, ENVIRONMENT, task, False)
    assert good == []
    assert fault in why


def test_of_a_list_the_good_lines_are_taken_once(task):
    text = "1. a nurse\n2) **a runner**\n- A  Nurse\n* an AI assistant\n\n5. a child of six"
    good, fault = taken(text, PERSONA, task, False, known=["a pilot"])
    assert good == ["a nurse", "a runner", "a child of six"]
    assert "itself" in fault
    assert taken(text, PERSONA, task, True, [])[0] == ["a nurse", "a runner"]  # the last was cut
    many = "\n".join(f"thing {number}" for number in range(30))
    assert len(taken(many, TOPIC, task, False, ["one", "two"])[0]) == 8
    assert taken("a customer of the shop", ENVIRONMENT, task, True)[0] == []
    assert taken("  ", TOPIC, task, False) == ([], "empty")


def test_a_question_is_asked_greedily_first_and_then_drawn_anew(task):
    first, second = (question_request(task, ENVIRONMENT, 0, number) for number in (0, 1))
    assert first.sampling.temperature == 0
    assert second.sampling.temperature > 0
    assert first.seed != second.seed
    assert LONG in first.messages[0].content
    by_user = make_task(task.source.parent / "u", prompt="Sell.", prompt_role="user")
    assert [turn.role for turn in question_request(by_user, END, 0, 0).messages] == ["user"]
