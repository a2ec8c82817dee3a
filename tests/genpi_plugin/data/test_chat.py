"""Token ids and labels through five chat templates, held against goldens and against inference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import TEACHER_KEY, make_pair
from genpi_plugin.data.rows import parse
from genpi_plugin.data.transcripts import prompt_text
from genpi_plugin.errors import TemplateError
from tests.genpi_plugin.rows_made import our_row, paper
from tests.tiny import TEMPLATES, make_tokenizer

GOLDEN = Path(__file__).parent / "golden"
USER_ONLY = [{"role": "user", "content": "You are a shop assistant."},
             {"role": "assistant", "content": "Ok."}]  # fmt: skip


def pair_of(template: str, turns: int = 2, **settings):
    view = ChatView(make_tokenizer(template))
    prompt = {"prompt": USER_ONLY} if template == "gemma" else {}
    row = parse(our_row(turns, **prompt), "w")
    return view, row, make_pair(row, view, paper(**settings))


def shown(view: ChatView, sequence) -> str:
    """A sequence as text, with supervised stretches between ⟦ and ⟧."""
    text, supervised, run = "", False, []
    for token, label in [*zip(sequence.ids, sequence.labels, strict=True), (None, -100)]:
        if token is None or (label != -100) != supervised:
            piece = view.tokenizer.decode(run)
            text += f"⟦{piece}⟧" if supervised and run else piece
            run, supervised = [], label != -100
        run.append(token)
    return text


def dump(view: ChatView, pair) -> dict:
    """What a golden file holds of a pair; stored targets of the teacher are found by the key."""
    return {
        "behaviour": [shown(view, sequence) for sequence in pair.behaviour],
        "prompt_generation": [shown(view, sequence) for sequence in pair.prompt_generation],
        "behaviour_ids": [sequence.ids for sequence in pair.behaviour],
        "teacher_key": pair.columns()[TEACHER_KEY],
    }


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_golden_tokens_and_labels(template, request):
    view, _, pair = pair_of(template, distill_weight=1.0)
    found = dump(view, pair)
    path = GOLDEN / f"{template}.json"
    assert found == json.loads(path.read_text()), (
        f"{path} (made by tests/genpi_plugin/data/make_golden.py)"
    )


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_every_answer_follows_exactly_the_request_of_inference(template):
    view, row, pair = pair_of(template, turns=3)
    messages = [{"role": "user", "content": row.input}, *row.conversation]
    requests = [
        view.tokenizer(
            view.tokenizer.apply_chat_template(
                messages[:turn], tokenize=False, add_generation_prompt=True
            ),
            add_special_tokens=False,
        )["input_ids"]
        for turn in (1, 3, 5)
    ]
    starts = [
        sequence.ids[:place]
        for sequence in pair.behaviour
        for place in range(1, len(sequence.ids))
        if sequence.labels[place] != -100 and sequence.labels[place - 1] == -100
    ]
    assert starts == requests


def test_a_template_that_rewrites_history_gets_a_sequence_for_each_history():
    _, _, pair = pair_of("thinking", turns=3)
    assert len(pair.behaviour) == 3
    _, _, appending = pair_of("chatml", turns=3)
    assert len(appending.behaviour) == 1


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_the_end_of_turn_token_is_trained_and_what_follows_it_is_not(template):
    view, _, pair = pair_of(template, turns=1)
    end = {"gemma": "<end_of_turn>", "llama3": "<|eot_id|>", "mistral": "</s>"}.get(
        template, "<|im_end|>"
    )
    for sequence in [*pair.behaviour, *pair.prompt_generation]:
        assert view.tokenizer.decode(sequence.labels[-1]) == end


def test_prompt_generation_answer_holds_whole_prompt_and_whole_reason():
    view = ChatView(make_tokenizer())
    prompt = [{"role": "system", "content": "rule. " * 3000}]
    row = parse(our_row(prompt=prompt, reason="because. " * 1000), "w")
    [sequence] = make_pair(row, view, paper()).prompt_generation
    told = view.tokenizer.decode([t for t in sequence.labels if t != -100])
    assert told == f"## Prompt\n{prompt_text(row.prompt)}\n\n## Reason\n{row.reason}<|im_end|>"


def test_student_prompt_always_keeps_it_and_never_trains_on_it():
    view, row, pair = pair_of("chatml", student_prompt="always")
    _, _, bare = pair_of("chatml")
    text = view.tokenizer.decode(pair.behaviour[0].ids)
    assert row.prompt[0]["content"] in text

    def trained(pair):
        return [label for label in pair.behaviour[0].labels if label != -100]

    assert trained(pair) == trained(bare)


def test_student_prompt_random_is_a_fixed_coin_of_about_one_half():
    view = ChatView(make_tokenizer())
    settings = paper(student_prompt="random", sft_weight=1.0)
    lengths = [
        len(make_pair(parse(our_row(id=f"r{i}"), "w"), view, settings).behaviour[0].ids)
        for i in range(200)
    ]
    kept = sum(length == max(lengths) for length in lengths)
    assert len(set(lengths)) == 2
    assert 70 < kept < 130


@pytest.mark.parametrize(
    ("weight", "behaviour", "generation"), [(1.0, True, False), (0.0, False, True)]
)
def test_an_objective_without_a_half_has_no_tokens_of_it(weight, behaviour, generation):
    _, _, pair = pair_of("chatml", sft_weight=weight)
    assert bool(pair.behaviour) is behaviour
    assert bool(pair.prompt_generation) is generation


def test_refused_roles_are_an_error_with_the_cure():
    view = ChatView(make_tokenizer("gemma"))
    with pytest.raises(TemplateError, match=r"System role not supported[\s\S]*prompt_role: user"):
        make_pair(parse(our_row(), "w"), view, paper())


def test_no_chat_template_is_an_error():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(TemplateError, match="has no chat template"):
        ChatView(tokenizer)


def test_an_answer_that_changes_with_the_prompt_names_the_first_token():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and messages[0].role == 'system' %}Certainly! {% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(TemplateError, match=r"token 0 is 'A.*' here and 'C.*' there"):
        make_pair(parse(our_row(), "w"), ChatView(tokenizer), paper())


def test_a_turn_that_ends_without_a_special_token_is_an_error():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"
        "{% if add_generation_prompt %}### assistant:\n{% endif %}"
    )
    with pytest.raises(TemplateError, match="without a special token"):
        make_pair(parse(our_row(), "w"), ChatView(tokenizer), paper())
