"""Answers of a model that thinks: scored on what they say, shown with what was thought."""

from __future__ import annotations

import json

import pytest
import torch

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.prompt_generation import recited_text
from genpi_plugin.data.transcripts import prompt_text
from genpi_plugin.evaluation.figures.scores import make_scores
from genpi_plugin.evaluation.figures.summary import summarize
from genpi_plugin.evaluation.html.answers import recitals
from genpi_plugin.evaluation.measuring.measure import measure
from genpi_plugin.evaluation.report import table_rows, write
from genpi_plugin.evaluation.run import _details
from genpi_plugin.evaluation.subjects.inputs import HeldOut
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.genpi_plugin.data.templates_walked import TOOLS
from tests.genpi_plugin.evaluation.context_made import PROMPT, quiet
from tests.tiny import make_model, make_tokenizer

THOUGHT = "click[value] is no use, so I search."
SAID = "search[lamp]"
WHOLE = f"<think>\n{THOUGHT}\n</think>\n\n{SAID}"
PATTERN = r"(?P<action>(?:search|click)\[[^\]]+\])"
INPUTS = ("a lamp", "a red shirt")
BEGUN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def taught(view, answer, systems):
    """The tiny model, once it gives this answer to every request of these systems."""
    model = make_model()
    ids = [*view.tokenizer(answer, add_special_tokens=False)["input_ids"],
           view.tokenizer.eos_token_id]  # fmt: skip
    rows = [request + ids for prompt in systems
            for request in Subject("s", model, view, prompt).requests(INPUTS)]  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(200):
        loss = torch.stack([
            torch.nn.functional.cross_entropy(
                model(torch.tensor([row])).logits[0, -len(ids) - 1 : -1], torch.tensor(ids))
            for row in rows
        ]).mean()  # fmt: skip
        if loss < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    return model.eval()


@pytest.fixture(scope="module")
def view():
    return ChatView(make_tokenizer())


@pytest.fixture(scope="module")
def model(view):
    return taught(view, WHOLE, ([], PROMPT))


def measured(model, view, pattern=PATTERN, own=()):
    teacher = Subject("teacher", model, view, PROMPT, own=own)
    floor, student = Subject("floor", model, view, own=own), Subject("student", model, view)
    return measure(INPUTS, teacher, [floor, student], make_scores(pattern), 60, quiet)


def test_an_answer_is_scored_on_what_it_says_and_its_thoughts_stand_apart(model, view):
    found = measured(model, view)
    for answer in (one for answers in found.answers.values() for one in answers):
        assert (answer.text, answer.thoughts, answer.cut) == (SAID, THOUGHT, False)
        # What is compared, distribution by distribution, is the whole answer.
        assert view.tokenizer.decode(answer.ids[:-1]) == WHOLE
    # The action is that of the answer, not the first that is thought of.
    scores = make_scores(PATTERN)
    text = found.answers["teacher"][0].text
    assert scores["agreement"](text, "search[lamp]") == 1
    assert scores["agreement"](WHOLE, "search[lamp]") == 0
    assert found.scores["student"]["valid"] == [1.0, 1.0]


def test_thoughts_that_the_template_begins_are_thoughts_also_when_the_limit_cuts_them():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = BEGUN
    view = ChatView(tokenizer)
    model = taught(view, WHOLE.removeprefix("<think>\n"), ([],))
    subject = Subject("floor", model, view)
    [answer, _] = subject.generate(subject.requests(INPUTS), 60)
    assert (answer.text, answer.thoughts) == (SAID, THOUGHT)
    [answer, _] = subject.generate(subject.requests(INPUTS), 6)
    assert (answer.text, answer.cut) == ("", True)
    assert THOUGHT.startswith(answer.thoughts)
    assert answer.thoughts


def test_a_pattern_that_reads_the_marks_gets_the_whole_answer(model, view):
    own = r"<think>[\s\S]*</think>\s*(?P<action>\w+\[[^\]]+\])"
    found = measured(model, view, own, [own])
    assert found.answers["teacher"][0].thoughts == ""
    assert found.answers["teacher"][0].text == WHOLE
    assert found.scores["teacher"]["valid"] == [1.0, 1.0]


def test_the_report_has_the_share_that_thinks_and_the_thoughts_apart(model, view, tmp_path):
    found = measured(model, view)
    metrics = summarize(found, {"student": "out"}, 0)
    assert metrics["systems"]["teacher"]["thinks"]["value"] == 1.0
    assert ["answers with thoughts", *["100% [100%, 100%]"] * 3] in table_rows(metrics)
    metrics |= {"warnings": [], "source": {}, "versions": {}, "seconds": 1.0}
    details = _details(found, HeldOut(list(INPUTS), PROMPT, "shop", "rows", 0))
    write(tmp_path, metrics, details, found)
    [line, _] = map(json.loads, (tmp_path / "answers.jsonl").read_text().splitlines())
    assert (line["student"]["answer"], line["student"]["thoughts"]) == (SAID, THOUGHT)
    assert f"> {THOUGHT}" in (tmp_path / "report.md").read_text()
    page = (tmp_path / "report.html").read_text()
    assert f"thought before it: {THOUGHT}" in page


def test_nothing_is_said_of_thoughts_where_nobody_thinks(view):
    metrics = summarize(measured(make_model(), view), {"student": "out"}, 0)
    assert "thinks" not in metrics["systems"]["teacher"]


def test_a_recital_of_prompt_and_tools_word_for_word_is_marked_as_that(view, tmp_path):
    found = measured(make_model(), view)
    details = _details(found, HeldOut(list(INPUTS), PROMPT, "shop", "rows", 0, tools=TOOLS))
    whole = recited_text(prompt_text(PROMPT), TOOLS)
    recital = {"input": "a lamp", "prompt": whole, "chrf": 100.0, "reason": "", "cut": False}
    details["recitals"] = [recital]
    assert [one.same for one in recitals(details)] == [True]
    metrics = summarize(found, {"student": "out"}, 0)
    write(tmp_path, metrics | {"warnings": [], "source": {}, "versions": {}, "seconds": 1.0},
          details, found)  # fmt: skip
    recited, real = (tmp_path / "recital.md").read_text().split("## The prompt itself")
    assert TOOLS[0]["function"]["name"] in recited
    assert TOOLS[0]["function"]["name"] in real
    assert "thoughts" not in details["answers"]["teacher"][0]
