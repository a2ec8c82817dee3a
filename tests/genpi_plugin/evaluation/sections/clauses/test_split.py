"""A prompt in clauses: the split is a partition of the prompt."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from genpi_plugin.data.rows import parse_prompt
from genpi_plugin.data.transcripts import prompt_text
from genpi_plugin.evaluation.sections.clauses.blocks import blocks
from genpi_plugin.evaluation.sections.clauses.split import (
    Part,
    Span,
    split,
    text_of,
    tool_parts,
    tools_without,
    without,
)
from tests.genpi_plugin.data.templates_walked import CALLING, TOOLS
from tests.genpi_plugin.evaluation.sections.clauses.prompt_made import (
    PROMPT,
    assistant,
    system,
    user,
)


def shown(prompt):
    return [(part.kind, text_of(prompt, part)) for part in split(prompt)]


def test_items_paragraphs_turns_and_what_heads_them():
    assert shown(PROMPT) == [
        ("paragraph", "You shop for a customer."),
        ("frame", "# Rules"),
        ("frame", "How to shop:"),
        ("item", "1. Search first.\n   With few words."),
        ("item", "2. Choose the size.\n   - small\n   - large\nAnswer with this:"),
        ("paragraph", "```\nThought: ...\n\nAction: ...\n```"),
        ("turns", "<USER>: a red shirt\n<AGENT>: search[red shirt]"),
        ("turns", "<USER>: a cotton shirt\n<AGENT>: search[cotton shirt]"),
    ]


def test_a_heading_goes_with_the_one_block_it_heads():
    content = "# Form\nAnswer so:\n\nThought:\none line\n\n# Tone\nBe kind.\n\nBe short.\n\nBye:"
    assert [(kind, content[start:end].strip()) for kind, start, end in blocks(content)] == [
        ("paragraph", "# Form\nAnswer so:\n\nThought:\none line"),
        ("frame", "# Tone"),
        ("paragraph", "Be kind."),
        ("paragraph", "Be short."),
        ("paragraph", "Bye:"),  # heads nothing
    ]


def test_a_sentence_a_line_is_a_clause_a_line_and_wrapped_prose_is_not():
    assert len(blocks("You shop.\nYou see a page.\nYou click on it.\nNever ask.")) == 4
    assert (
        len(blocks("You shop for a customer. You see\na page and click. There is\nno asking.")) == 1
    )


def test_instructions_in_a_first_user_turn_are_split_and_their_ok_stays():
    prompt = [user("You shop.\n\nNever ask."), assistant("Ok."), user("a shirt"),
              assistant("search[shirt]"), user("Now my request:")]  # fmt: skip
    assert [part[0] for part in shown(prompt)] == [
        "paragraph", "paragraph", "frame", "turns", "paragraph"
    ]  # fmt: skip


def test_calls_and_their_results_belong_to_their_turn_and_each_tool_is_a_clause():
    calling, result = [{**one, "content": one["content"] or ""} for one in CALLING[1:3]]
    prompt = [system("You sell.\n\nBe brief."), *CALLING, user("and hats?"), assistant("No.")]
    assert [kind for kind, _ in shown(prompt)] == ["paragraph", "paragraph", "turns", "turns"]
    turns = split(prompt)[2]
    call = '{"name": "stock_of", "arguments": {"item": "wool socks", "size": 27}}'
    assert text_of(prompt, turns).splitlines()[1:3] == [f"<AGENT>: {call}", '<TOOL>: {"pairs": 2}']
    assert without(prompt, turns) == [prompt[0], *prompt[-2:]]
    # Of a message that loses a part of its text, the calls stay.
    beside = {**calling, "content": "One moment. Let me see."}
    part = Part("marked", (Span(1, 0, 11),))
    assert without([CALLING[0], beside, result], part)[1] == {**beside, "content": "Let me see."}
    [tool] = tool_parts(TOOLS)
    assert json.loads(text_of(prompt, tool, TOOLS)) == TOOLS[0]
    assert (without(prompt, tool), tools_without(TOOLS, tool)) == (prompt, [])
    assert tools_without(TOOLS, turns) == TOOLS


LINES = st.sampled_from([
    "", "", "  ", "# A", "## B", "**C**", "Rules:", "- one", "  - nested", "2. two", "a) three",
    "    more", "Text of it.", "word", "```", "Ünïcode 文。", "\t- x", "- ", "\r", "x\x0cy",
    "\u2028",
])  # fmt: skip
CONTENT = st.lists(LINES, min_size=1, max_size=12).map("\n".join).filter(str.strip)


@st.composite
def prompts(draw):
    messages = [system(draw(CONTENT))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0 if messages else 1, 3))):
        messages += [user(draw(CONTENT)), assistant(draw(CONTENT))]
    return [*messages, *([user(draw(CONTENT))] if draw(st.booleans()) else [])]


@settings(max_examples=300, deadline=None)
@given(prompts())
def test_parts_are_the_prompt_and_without_any_of_them_it_is_well_formed(prompt):
    parts = split(prompt)
    spans = [span for part in parts for span in part.spans]
    pieces = [prompt[span.message]["content"][span.start : span.end] for span in spans]
    assert "".join(pieces) == "".join(message["content"] for message in prompt)
    assert [span.message for span in spans] == sorted(span.message for span in spans)
    for part in parts:
        assert text_of(prompt, part) or part.kind == "frame"
        rest = without(prompt, part)
        if part.kind != "frame" and rest:
            parse_prompt(rest, "prompt", "here")  # raises where roles are out of order
            assert len(prompt_text(rest)) < len(prompt_text(prompt))
