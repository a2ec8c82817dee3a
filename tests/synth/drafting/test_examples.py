"""What a prompt shows of its application, found by rule."""

import pytest

from synth.drafting.examples import examples_in, wrapped
from synth.engines.base import Message
from synth.task.taskfile import load_task
from synth.task.templates import compile_wrap, parse_transcript


def system(text):
    return (Message("system", text),)


def test_a_few_shot_prompt_shows_inputs_and_answers():
    prompt = parse_transcript(
        "<SYSTEM>:\nSay how a review feels.\n<USER>:\nThe screen broke within a week.\n<AGENT>:\n"
        "negative\n<USER>:\nBest kettle we ever had!\n<AGENT>:\npositive\n<USER>:\n"
    )
    found = examples_in(prompt)
    assert found.inputs == ("The screen broke within a week.", "Best kettle we ever had!")
    assert found.answers == ("negative", "positive")
    assert found.later == ()


@pytest.mark.parametrize("place", ["{{ city }}", "{city}", "<CITY NAME>"])
def test_a_turn_with_a_place_for_a_value_is_no_seed(place):
    prompt = parse_transcript(
        f"<SYSTEM>:\nTell the weather.\n<USER>:\nWill it rain in {place} today?\n<AGENT>:\nno\n"
        '<USER>:\nWhat does echo $HOME print? [SEP] And {"a": 1}...\n<AGENT>:\nnothing\n<USER>:\n'
    )
    assert examples_in(prompt).inputs == ('What does echo $HOME print? [SEP] And {"a": 1}...',)


@pytest.mark.parametrize(
    ("answer", "turn"),
    [
        ("search[warm wool scarf]", "Results for a warm wool scarf in dark red: A1, A2"),  # repeats
        ("Which colour would you like?", "dark red"),  # answers
        ("search[scarf]", "Page: 1\nItems: A1, A2"),  # has other labels
    ],
)
def test_a_turn_that_goes_on_is_no_input(answer, turn):
    first = "please find me a warm wool scarf in dark red"
    prompt = (*system("Shop."), Message("user", first), Message("assistant", answer),
              Message("user", turn), Message("assistant", "click[A1]"))  # fmt: skip
    found = examples_in(prompt)
    assert found.inputs == (first,)
    assert found.later == (turn,)
    assert found.answers == (answer, "click[A1]")


def test_an_answer_to_the_instruction_alone_is_none():
    turns = (
        Message("user", "You are a shop. Answer briefly."),
        Message("assistant", "Ok."),
    )
    shot = (Message("user", "i need a desk lamp"), Message("assistant", "search[desk lamp]"))
    found = examples_in((*turns, *shot))
    assert found.inputs == ("i need a desk lamp",)
    assert found.answers == ("search[desk lamp]",)


def test_an_input_may_stand_in_the_instruction_and_behind_a_lead_in():
    prompt = parse_transcript(
        "<USER>:\nYou act at a shell.\n\nNow, my problem is:\n\nhow many files are in /etc?\n"
        "<AGENT>:\nI list them first, then I count.\n\nAct: bash\n<USER>:\n"
        "A new problem.\nMy problem is:"
    )
    assert examples_in(prompt).inputs == ("how many files are in /etc?",)
    task = load_task("os")  # its example begins with the lead-in that its last turn is
    assert examples_in(task.prompt).inputs == (
        "How many of the files directly in /var/log end in .log?",
    )


def test_labelled_and_quoted_examples_of_a_plain_prompt():
    found = examples_in(system(
        "Help with parcels.\n\nUser: Where is my parcel 17?\nAgent: On its way.\n\n"
        '**User:** "My parcel is wet."\n**Agent:** I am sorry.\n\nUser: <the request>\n\n'
        'A customer may also ask "Can I change the address of a parcel?" or write "no".'
    ))  # fmt: skip
    assert found.inputs == (
        "Where is my parcel 17?", "My parcel is wet.", "Can I change the address of a parcel?",
    )  # fmt: skip
    assert found.answers == ("On its way.", "I am sorry.")


def test_a_plain_prompt_without_examples_shows_none():
    text = (
        'Be kind. Never say "as an AI language model". Tell users "I will look it up".\n'
        'If a customer is angry, say "I am sorry to hear that". The word "refund" is not used.'
    )
    found = examples_in(system(text))
    assert (found.inputs, found.later, found.answers) == ((), (), ())


def test_what_later_turns_repeat_is_the_user_s_and_the_rest_a_form():
    said = "i need a waterproof backpack in dark green, lower than 70 dollars"
    text = f'Observation:\n"Shop [SEP] Instruction: [SEP] {said} [SEP] Search"\n\n{{"bar": true}}'
    later = [f'Observation:\n"Instruction: [SEP] {said} [SEP] Page 1 [SEP] B07"']
    own, template = wrapped(text, later)
    assert own == said
    assert compile_wrap(template)(own) == text
    assert compile_wrap(template)("a blue hat") == text.replace(said, "a blue hat")
    assert wrapped(text, []) is None
    assert wrapped(text, ["Page 1"]) is None
    assert wrapped(said, later) is None  # nothing is around it
    assert wrapped(text + " {{ stock }}", later) is None  # a form that Jinja would change
