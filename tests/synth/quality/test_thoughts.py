"""What is a thought, and what is the application's own form."""

from __future__ import annotations

import pytest

from synth.engines.base import Answer
from synth.quality.role_markers import holds_marker, role_marker
from synth.quality.thoughts import own_texts, thought_notes, thoughts_apart
from tests.synth.scripted import make_task


@pytest.mark.parametrize(
    ("text", "said", "thought"),
    [
        ("<think>\nA lamp?\n</think>\n\nsearch[lamp]", "search[lamp]", "A lamp?"),
        ("\n <THINK>A lamp?</THINK>search[lamp]", "search[lamp]", "A lamp?"),
        ("<think>a</think><think>b</think> c", "c", "a\nb"),
        # The chat template has begun them.
        ("A lamp?\n</think>\n\nsearch[lamp]", "search[lamp]", "A lamp?"),
        ("A lamp?[/THINK]search[lamp]", "search[lamp]", "A lamp?"),
        # They never end.
        ("<think>\nA lamp, or", "", "A lamp, or"),
        ("[THINK]A lamp?[/THINK]search[lamp]", "search[lamp]", "A lamp?"),
        ("<seed:think>A lamp?</seed:think>search[lamp]", "search[lamp]", "A lamp?"),
        ("<thought>\nA lamp?\n</thought>\nsearch[lamp]", "search[lamp]", "A lamp?"),
        ("\u25c1think\u25b7A lamp?\u25c1/think\u25b7search[lamp]", "search[lamp]", "A lamp?"),
        (
            "<|START_THINKING|>A lamp?<|END_THINKING|><|START_RESPONSE|>search[lamp]"
            "<|END_RESPONSE|>",
            "search[lamp]",
            "A lamp?",
        ),
        ("<|channel>thought\nA lamp?\n<channel|>search[lamp]", "search[lamp]", "A lamp?"),
        (
            "<|channel|>analysis<|message|>A lamp?<|end|><|start|>assistant<|channel|>final"
            "<|message|>search[lamp]",
            "search[lamp]",
            "A lamp?",
        ),
        (
            "Here is my thought process:\nA lamp?\n\nHere is my response:\nsearch[lamp]",
            "search[lamp]",
            "A lamp?",
        ),
        ("<think>A lamp?</think>\n<answer>\nsearch[lamp]\n</answer>", "search[lamp]", "A lamp?"),
        ("A lamp?</think><response>\nsearch[lamp]\n</response>", "search[lamp]", "A lamp?"),
        # gpt-oss, without its marks.
        (
            "analysisThey want\na lamp.assistantfinalsearch[lamp]",
            "search[lamp]",
            "analysisThey want\na lamp.",
        ),
        ("analysis of a lamp", "analysis of a lamp", None),
        # Written by models that do not think this time.
        ("<think>\n\n</think>\n\nsearch[lamp]", "search[lamp]", None),
        # Nobody thinks here.
        ("search[lamp]", "search[lamp]", None),
        ("I think a lamp.", "I think a lamp.", None),
        ("Thought: a lamp\nAction: search[lamp]", "Thought: a lamp\nAction: search[lamp]", None),
        ("It says to end with `</think>`.", "It says to end with `</think>`.", None),
        ("Tags like <think> and </think>.", "Tags like <think> and </think>.", None),
        ("<answer>a lamp</answer>", "<answer>a lamp</answer>", None),
    ],
)
def test_thoughts_are_taken_apart_from_what_is_said(text, said, thought):
    answer = thoughts_apart(Answer(text, "stop"))
    assert (answer.text, answer.reasoning) == (said, thought)


def test_thoughts_beside_the_text_stay_and_come_first():
    beside = Answer("<think>And b.</think>c", "length", reasoning="A.", token_ids=(1, 2))
    apart = thoughts_apart(beside)
    assert (apart.text, apart.reasoning, apart.token_ids) == ("c", "A.\nAnd b.", (1, 2))
    assert apart.written == beside.text
    told = Answer("c", "stop", reasoning="A.")
    assert thoughts_apart(told) is told


ASKS = "Answer with <think>why</think> and then one action: search[words]."


def test_a_form_that_the_prompt_asks_for_is_kept_in_what_the_target_says(tmp_path):
    task = make_task(tmp_path, ASKS)
    text = "<think>They want a lamp.</think>search[lamp]"
    target = thoughts_apart(Answer(text, "stop"), own_texts(task, "target"))
    assert (target.text, target.reasoning) == (text, None)
    # Users do not write that form: what the generator thinks is no part of an input.
    generator = thoughts_apart(Answer(text, "stop"), own_texts(task, "generator"))
    assert generator.text == "search[lamp]"
    [note] = thought_notes(task)
    assert note.startswith("The prompt or a seed holds <think>")
    assert thought_notes(make_task(tmp_path / "plain")) == []


def test_a_form_of_the_seeds_is_the_generators_too(tmp_path):
    task = make_task(tmp_path, inputs={"seeds": ["<thought>x</thought> find a lamp"]})
    text = "<thought>y</thought> find a desk"
    assert thoughts_apart(Answer(text, "stop"), own_texts(task, "generator")).text == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A lamp. <think>Or two?</think> Two.", "holds the mark of a thought (<think>)"),
        ("A lamp.</s>", "holds a role marker (</s>)"),
        ("A lamp.<eos>\n", "holds a role marker (<eos>)"),
        ('<tool_call>{"name": "f"}</tool_call>', "holds a tool call (<tool_call>)"),
        ("<|tool_call>call:f{}<tool_call|>", "holds a tool call (<|tool_call>)"),
        ("A lamp.<turn|>", "holds a role marker (<turn|>)"),
        ("[|user|]A lamp", "holds a role marker ([|user|])"),
        ("<s>was 20</s>", ""),
        ("a lamp", ""),
    ],
)
def test_what_no_answer_holds_in_its_midst_is_named(tmp_path, text, reason):
    marker = role_marker(text, make_task(tmp_path), made=True)
    assert (holds_marker(marker) if marker else "") == reason


def test_a_person_may_write_of_thoughts(tmp_path):
    text = "what does <think> mean, and <tool_call>?</s>"
    assert role_marker(text, make_task(tmp_path)) == ""
