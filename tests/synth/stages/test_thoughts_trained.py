"""A thinking model's answers, from the engine to the tokens that the plugin trains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from genpi_plugin.args import parse_settings
from genpi_plugin.data import thoughts, tokenizers
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import make_pair
from genpi_plugin.data.rows import parse
from synth.engines.base import Answer, Message, Request, Sampling
from synth.engines.chat import Chat, answer_text
from synth.quality.thoughts import thoughts_apart
from synth.stages.turns import turn_of
from synth.store.rows import Row, to_record
from tests.genpi_plugin.data.templates_walked import names, tokenizer_of

PROMPT = (Message("user", "You sell socks."), Message("assistant", "Yes."))
INPUT = Message("user", "do you have wool socks?")
SAID = ("Grey. Yes, two pairs.", "Blue. Only one.")
THOUGHT = "They ask."
SETTINGS = parse_settings({"distill_weight": 1.0, "sft_weight": 0.7})
# No token ends a turn of theirs.
ENDLESS = {"axolotl/llava", "trl/glm4moe"}
# Their models write a header before an answer, and thoughts in a form of their own.
HEADED = {
    *("axolotl/command_a_rag", "axolotl/command_a_tool_use"),
    *("trl/gptoss", "trl/gptoss_training"),
}


def talk(tokenizer, told_tokens):
    """A row of two thoughtful answers, with the tokens they were sampled as and their requests."""
    chat = Chat(tokenizer, {}, "m")
    end = chat.end_ids(None)[-1]
    opening = ChatView(tokenizer).frame(("user",)).opening
    blank = opening if not opening.strip() else ""
    turns, sampled, requests, history = [], [], [], (INPUT,)
    for said in SAID:
        request = chat.request_ids(Request((*PROMPT, *history), Sampling()))
        begun = thoughts.begun(tokenizer.decode(request[-16:]))
        mark = "" if begun else f"{blank}<think>\n"
        whole = f"{mark}{THOUGHT}\n</think>\n\n{said}"
        ids = [*tokenizer(whole, add_special_tokens=False)["input_ids"], end]
        answer = Answer(whole, "stop")  # as a server gives it that has no parser of thoughts
        if told_tokens:
            text = answer_text(tokenizer, request, ids[:-1])
            known = tokenizers.mark(tokenizer)
            answer = Answer(text, "stop", token_ids=tuple(ids), tokenizer=known)
        answer = thoughts_apart(answer)
        assert (answer.text, answer.reasoning) == (said, THOUGHT)
        turns.append(turn_of(answer))
        sampled.append(ids)
        requests.append(request)
        history = (*history, turns[-1].message, Message("user", "and in blue?"))
    row = Row(0, "i", "p", PROMPT, INPUT.content, "Socks?", SAID[0], "It sells.", history[1:-1])
    if told_tokens:
        ids = tuple(turn.token_ids for turn in turns)
        row = replace(row, token_ids=ids, tokenizer=turns[0].tokenizer)
    return row, sampled, requests


def answers_of(sequences):
    """Each answer's tokens, and those before it in its sequence."""
    found = []
    for sequence in sequences:
        start = None
        for place, label in enumerate([*sequence.labels, -100]):
            if label != -100 and start is None:
                start = place
            elif label == -100 and start is not None:
                found.append((sequence.ids[start:place], sequence.ids[:start]))
                start = None
    return found


@pytest.mark.parametrize("told_tokens", [True, False], ids=["tokens", "text"])
def test_what_a_thinking_model_samples_is_what_is_trained_with_every_shipped_template(told_tokens):
    for name, path in names().items():
        if name in ENDLESS or (name in HEADED and not told_tokens):
            continue
        tokenizer = tokenizer_of(path.read_text("utf-8"))
        row, sampled, requests = talk(tokenizer, told_tokens)
        record = {key: value for key, value in to_record(row).items() if value is not None}
        pair = make_pair(parse(record, "row"), ChatView(tokenizer), SETTINGS)
        student, teacher = answers_of(pair.behaviour), answers_of(pair.teacher)
        assert [ids for ids, _ in student] == sampled, name
        assert [ids for ids, _ in teacher] == sampled, name
        # After the very requests that they were sampled behind.
        assert [before for _, before in teacher] == requests, name
        # The recital is no thinking: thoughts that the template begins end at once.
        [(recital, before)] = answers_of(pair.prompt_generation)
        begun = thoughts.begun(tokenizer.decode(before[-16:]))
        said, thought = thoughts.thoughts_apart(begun + tokenizer.decode(recital))
        assert not thought, name
        assert "## Prompt" in said, name


def test_thoughts_and_calls_that_a_server_took_apart_are_in_the_turn():
    answer = thoughts_apart(Answer("a lamp", "stop", reasoning=THOUGHT))
    assert turn_of(answer).message == Message("assistant", "a lamp", THOUGHT)
