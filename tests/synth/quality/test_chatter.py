"""What a generator writes around its example, and what only looks like it."""

import pytest

from synth.quality.chatter import CHATTER, example_in
from tests.synth.quality.test_filters import tries
from tests.synth.scripted import make_task

LAMP = "find me a red lamp under 20 dollars"


@pytest.mark.parametrize(
    "text",
    [
        f'Sure! Here is a new example:\n\n"{LAMP}"',
        f"Here's another one: {LAMP}",
        f"Certainly! Here is a new shopping request, unlike those before:\n{LAMP}",
        f"Of course. Below is one more request:\n```text\n{LAMP}\n```",
        f"Here is a new request:\n\n{LAMP}\n\nLet me know if you would like another example!",
        f"Here's a different example of a request:\n> {LAMP}",
        f"Sure!\n{LAMP}",
        f"**Example 5:** {LAMP}",
        f"Example 5: {LAMP}",
        f"New request: {LAMP}",
        f"User: {LAMP}",
        f"```\n{LAMP}\n```",
        f"> {LAMP}",
        f'"{LAMP}"',
        f"\u201c{LAMP}\u201d",
        f"**{LAMP}**",
    ],
)
def test_the_words_around_an_example_are_taken_off(text):
    assert example_in(text) == LAMP


@pytest.mark.parametrize(
    "text",
    [
        "Here is a new example:",
        f"Sure! Here are two new examples:\n1. {LAMP}\n2. find me a tent",
        f'Here is a new example: "{LAMP}". I hope this helps!',
        f"Example 1: {LAMP}\nExample 2: find me a tent",
        f"{LAMP}\n\nAssistant: Sure, here are some lamps.",
    ],
)
def test_where_no_clean_example_is_left_there_is_none(text):
    assert example_in(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Sure, I'd like to order two of them",
        "Certainly! That works for me, please book it",
        "Okay. Where do I pay?",
        "ok so here is what i want: a lamp",
        "Here is my order number: 4711, where is it?",
        "Here's the error message I get: permission denied",
        "This is a question about my order: where is it?",
        "I have a question: does it fit?",
        "The example in your docs fails: why?",
        "Hi, this is the customer: I want a refund",
        '"Dune" by Frank Herbert, hardcover',
        'Is "red" available in "XL"?',
        "Question: who wrote Dune?\nEntities: [Dune]",
        "User: ana\nHost: db1\nI can't log in",
        "`ls -la` shows nothing, why?",
        "1. open the page\n2. click it",
        "> quoted mail\nmy answer: no",
        "Let me know if the blue one is back in stock",
        "Note: my address changed",
    ],
)
def test_what_a_customer_writes_stays(text):
    assert example_in(text) == text


def test_what_the_seeds_have_is_the_application_s_form():
    assert example_in('"a tent"', ['"a lamp"', '"a hat"']) == '"a tent"'
    assert example_in("Query: a tent", ["Query: a lamp"]) == "Query: a tent"


def test_an_input_is_what_is_left_or_is_tried_again(tmp_path):
    task = make_task(tmp_path, inputs={"count": 2, "pattern": "[a-z0-9 ]+"})
    texts = ["Here is a new example:", f'Sure! Here is a new example: "{LAMP}"', LAMP.upper()]
    made, rejected = tries(task, [*texts, "looking for a waterproof tent", *["never"] * 40])
    assert made == [LAMP, "looking for a waterproof tent"]
    assert [r.reason for r in rejected] == [CHATTER, "does not match inputs.pattern"]
