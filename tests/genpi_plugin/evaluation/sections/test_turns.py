"""Conversations replayed turn by turn, against one turn at a time."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model

from genpi_plugin.data import tokenizers
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.rows import parse, teacher_messages
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures.scores import make_scores
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.measuring.measure import measure
from genpi_plugin.evaluation.sections.turns import measure_turns, summarize_turns
from genpi_plugin.evaluation.subjects.inputs import HeldOut
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.genpi_plugin.data.templates_walked import CALLING, TOOLS
from tests.genpi_plugin.rows_made import PROMPT, our_row
from tests.tiny import make_model, make_tokenizer


def quiet(label, total):
    return contextlib.nullcontext(lambda count: None)


def make_context(template, turns, prompt=PROMPT):
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", init_lora_weights=False)
    tokenizer = make_tokenizer(template)
    model = get_peft_model(make_model(len(tokenizer)), config)
    view = ChatView(tokenizer)
    teacher = Subject("teacher", model, view, prompt, batch_size=2)
    floor = Subject("floor", model, view, batch_size=2)
    student = Subject("student", model, view, adapter=True, batch_size=2)
    inputs = ["a red shirt", "socks", "a warm coat"][: len(turns)]
    conversations = [our_row(turns=count)["conversation"] for count in turns]
    scores = make_scores(r"(?P<action>\w+)")
    measured = measure(inputs, teacher, [floor, student], scores, 6, quiet)
    data = HeldOut(inputs, prompt, "p", "here", 0, conversations)
    return Context(data, teacher, floor, [student], measured, scores, 6, quiet, 0)


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("chatml", PROMPT),
        ("thinking", PROMPT),  # rewrites history: a sequence for each turn
        ("llama3", [{"role": "user", "content": "You are a shop assistant. My request is:"}]),
    ],
)
def test_each_turn_is_read_behind_the_datasets_own_history(template, prompt):
    context = make_context(template, [1, 3, 2], prompt)
    replayed = measure_turns(context)
    assert [(one.conversation, one.turn) for one in replayed] == [
        (0, 1), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2)
    ]  # fmt: skip
    model, view = context.teacher.model, context.teacher.view

    def logprobs(system, messages, answer):
        before = teacher_messages(system.prompt, messages)
        request, ids = view.request_and_answer(before, answer)
        return along(system, request, ids)

    def along(system, request, ids):
        with torch.no_grad(), system.switched():
            logits = model(torch.tensor([request + ids]), use_cache=False).logits[0]
        return logits[len(request) - 1 : -1].log_softmax(-1)

    for one in replayed:
        history = [{"role": "user", "content": context.data.inputs[one.conversation]}]
        history += context.data.conversations[one.conversation][: 2 * one.turn - 2]
        answer = context.data.conversations[one.conversation][2 * one.turn - 2]
        truth = logprobs(context.teacher, history, answer)
        assert one.tokens == len(truth)
        for system in (context.floor, *context.students):
            mine = logprobs(system, history, answer)
            plain = float((truth.exp() * (truth - mine)).sum())
            assert one.kl[system.name] == pytest.approx(plain, rel=1e-3, abs=1e-4)
        for system in (context.teacher, context.floor, *context.students):
            [alone] = system.generate([system.request(history)], 6)
            assert one.answers[system.name] == alone.text
            if system is context.teacher:
                continue
            truth, mine, floor = (
                along(each, each.request(history), alone.ids)
                for each in (context.teacher, system, context.floor)
            )
            assert one.own_tokens[system.name] == len(alone.ids)
            for found, other in ((one.own_path, mine), (one.own_floor, floor)):
                plain = float((truth.exp() * (truth - other)).sum())
                assert found[system.name] == pytest.approx(plain, rel=1e-3, abs=1e-4)
        assert one.scores["teacher"]["exact"] == 1.0


def test_first_turns_are_measured_once(monkeypatch):
    context, asked = make_context("chatml", [1, 3, 1]), []
    generate = Subject.generate

    def counted(system, requests, *rest):
        asked.append((system.name, len(requests)))
        return generate(system, requests, *rest)

    monkeypatch.setattr(Subject, "generate", counted)
    replayed = measure_turns(context)
    assert asked == [("teacher", 2), ("floor", 2), ("student", 2)]
    first = [one for one in replayed if one.turn == 1]
    for name in ("floor", "student"):
        given, own = context.measured.answers[name], context.measured.own_path[name]
        assert [one.answers[name] for one in first] == [answer.text for answer in given]
        assert [one.own_path[name] for one in first] == own.kl
        assert [one.own_floor[name] for one in first] == own.floor


def test_figures_by_turn_are_over_the_conversations_that_have_it():
    context = make_context("chatml", [1, 3, 2])
    replayed = measure_turns(context)
    figures = summarize_turns(replayed, seed=0)
    assert [(turn["turn"], turn["n"]) for turn in figures] == [(1, 3), (2, 2), (3, 1)]
    second = [one for one in replayed if one.turn == 2]
    student, floor = (sum(one.kl[name] for one in second) for name in ("student", "floor"))
    assert figures[1]["internalization"]["value"] == pytest.approx(1 - student / floor)
    assert figures[1]["students"]["student"] == figures[1]["internalization"]
    own, own_floor = (
        sum(getattr(one, name)["student"] for one in second) for name in ("own_path", "own_floor")
    )
    assert figures[1]["own_path"]["value"] == pytest.approx(1 - own / own_floor)
    assert figures[1]["own_path"] != figures[1]["internalization"]
    assert figures[1]["students_own_path"]["student"] == figures[1]["own_path"]
    assert figures[1]["kl_own_path"]["student"]["value"] == pytest.approx(
        own / sum(one.own_tokens["student"] for one in second)
    )
    assert figures[1]["kl"]["floor"]["value"] == pytest.approx(
        floor / sum(one.tokens for one in second)
    )
    assert figures[2]["internalization"]["ci_low"] is None  # one conversation has no interval
    assert figures[0]["scores"]["teacher"]["agreement"]["value"] == 1.0


def test_without_conversations_there_are_no_turns():
    context = make_context("chatml", [1])
    data = HeldOut(context.data.inputs, PROMPT, "p", "a file", 0)
    assert measure_turns(Context(**{**vars(context), "data": data})) is None


def test_a_conversation_with_tools_is_read_by_its_sampled_tokens():
    """Against each turn read alone: the teacher behind prompt and tools, the floor behind none."""
    context = make_context("tools", [1])
    view = context.teacher.view
    end = view.end_of_turn()
    row = parse(
        our_row(
            kept=[
                {"role": "user", "content": "name: Ada"},
                {"role": "assistant", "content": "Ok."},
            ],
            request=CALLING[:1],
            conversation=CALLING[1:],
            tools=json.dumps(TOOLS),
            token_ids=[None, [*view.ids("Grey. Ye"), *view.ids("s, two pairs."), end]],
            tokenizer=tokenizers.mark(view.tokenizer),
        ),
        "w",
    )
    teacher = Subject("teacher", context.teacher.model, view, row.prompt, tools=row.tools)
    data = HeldOut(
        [row.input], row.prompt, "p", "here", 0, [row.conversation], tools=row.tools,
        requests=[row.student_request], sampled=[row.sampled], tokenizers=(row.tokenizer,),
    )  # fmt: skip
    others = [context.floor, *context.students]
    measured = measure(data.asked, teacher, others, context.scores, 6, quiet)
    context = replace(context, data=data, teacher=teacher, measured=measured)
    replayed = measure_turns(context)
    assert [one.turn for one in replayed] == [1, 2]

    def logprobs(system, before, place):
        history = [*before, *row.conversation[:place]]
        tools = row.tools if system is teacher else []
        sampled = row.sampled.get(place)
        request, ids = view.request_and_answer(history, row.conversation[place], tools, sampled)
        with torch.no_grad(), system.switched():
            logits = system.model(torch.tensor([request + ids]), use_cache=False).logits[0]
        return logits[len(request) - 1 : -1].log_softmax(-1)

    for one, place in zip(replayed, (0, 2), strict=True):
        truth = logprobs(teacher, row.teacher_request, place)
        assert one.tokens == len(truth)
        for system in (context.floor, *context.students):
            mine = logprobs(system, row.student_request, place)
            plain = float((truth.exp() * (truth - mine)).sum())
            assert one.kl[system.name] == pytest.approx(plain, rel=1e-3, abs=1e-4)


def test_conversations_of_another_tokenizer_are_refused():
    context = make_context("chatml", [1])
    data = replace(context.data, tokenizers=("7-abc",))
    with pytest.raises(GenPIError, match="another tokenizer"):
        measure_turns(Context(**{**vars(context), "data": data}))
