"""What is trained of a conversation with tools, thoughts and known tokens: what was sampled."""

from __future__ import annotations

import json

import pytest

from genpi_plugin.args import GenPISettings
from genpi_plugin.data import tokenizers
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import make_pair
from genpi_plugin.data.rows import parse
from genpi_plugin.errors import TemplateError, TextError
from tests.genpi_plugin.data.templates_walked import (
    CALLING,
    TALK,
    THOUGHTS,
    TOOLS,
    names,
    tokenizer_of,
)
from tests.genpi_plugin.data.test_chat import shown
from tests.genpi_plugin.rows_made import our_row, paper
from tests.tiny import CHATML, make_tokenizer

KEPT = [{"role": "user", "content": "name: Ada"}, {"role": "assistant", "content": "Noted."}]
DISTILLED = GenPISettings(distill_weight=1.0, prompt_generation_share=1.0)
CALL, RESULT = CALLING[1:3]
NEXT = [*CALLING[1:], {"role": "user", "content": "and red?"}, CALL, RESULT, TALK[3]]


def tool_row(**changes):
    request = [CALLING[0]]
    row = our_row(
        tools=json.dumps(TOOLS), kept=KEPT, request=request, conversation=NEXT, input="socks?"
    )
    return {**row, **changes}


def pair_of(template: str = "tools", settings=DISTILLED, **changes):
    view = ChatView(make_tokenizer(template))
    return view, make_pair(parse(tool_row(**changes), "shop, row 3"), view, settings)


def trained(sequences) -> list[int]:
    return [label for sequence in sequences for label in sequence.labels if label != -100]


def pieces(text: str, tokenizer) -> list[int]:
    """A text's tokens, one for each character: never what the tokenizer makes of it."""
    ids = [token for character in text for token in tokenizer(character)["input_ids"]]
    assert ids != tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    return ids


def test_the_teacher_sees_prompt_and_tools_and_the_student_neither():
    view, pair = pair_of()
    [student], [teacher] = pair.behaviour, pair.teacher
    messages = [*KEPT, CALLING[0], *NEXT]

    def plain(messages, **more):
        for message in messages:
            for call in message.get("tool_calls", []):
                arguments = json.loads(call["function"]["arguments"])
                call["function"] = {**call["function"], "arguments": arguments}
        return view.tokenizer.apply_chat_template(messages, tokenize=False, **more)

    copied = json.loads(json.dumps(messages))
    prompt = json.loads(json.dumps(our_row()["prompt"]))
    assert view.tokenizer.decode(student.ids) + "\n" == plain(copied)
    whole = plain([*prompt, *json.loads(json.dumps(messages))], tools=TOOLS)
    assert view.tokenizer.decode(teacher.ids) + "\n" == whole
    assert trained(pair.teacher) == trained(pair.behaviour)


def test_every_answer_is_trained_and_nothing_else():
    view, pair = pair_of()
    stretches = [part.split("⟧")[0] for part in shown(view, pair.behaviour[0]).split("⟦")[1:]]
    called = '<tool_call>\n{"name": "stock_of", "arguments": {"item": "wool socks", "size": 27}}'
    assert stretches == [
        f"{called}\n</tool_call><|im_end|>",
        "Grey. Yes, two pairs.<|im_end|>",
        f"{called}\n</tool_call><|im_end|>",
        "Blue. Only one.<|im_end|>",
    ]


def test_a_student_that_keeps_its_prompt_has_the_tools_too():
    _, pair = pair_of(settings=GenPISettings(distill_weight=1.0, student_prompt="always"))
    assert pair.behaviour[0].ids == pair.teacher[0].ids


def test_a_recital_holds_the_tools():
    view, pair = pair_of()
    told = view.tokenizer.decode(trained(pair.prompt_generation))
    assert f"\n\n## Tools\n{json.dumps(TOOLS[0])}\n\n## Reason\n" in told


def test_old_rows_and_new_ones_of_the_same_conversation_are_the_same_columns():
    view = ChatView(make_tokenizer())
    old = our_row(2)
    request = [{"role": "user", "content": old["input"]}]
    new = {**old, "request": request, "kept": None, "tools": None, "token_ids": None}
    made = [make_pair(parse(row, "w"), view, DISTILLED).columns() for row in (old, new)]
    assert made[0] == made[1]


def test_sampled_tokens_are_trained_as_they_are_in_both_views():
    tokenizer = make_tokenizer("tools")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    called = '<tool_call>{"name":"stock_of",  "arguments":{"size":27,"item":"wool socks"}}'
    texts = [f"{called}</tool_call>", " Grey. Yes, two pairs. \n"]
    ids = [[*pieces(text, tokenizer), end] for text in texts]
    talk = [CALL, RESULT, {"role": "assistant", "content": texts[1]}]
    _, pair = pair_of(conversation=talk, token_ids=ids, tokenizer=tokenizers.mark(tokenizer))
    assert trained(pair.behaviour) == trained(pair.teacher) == [*ids[0], *ids[1]]
    # The second request is what a server makes of the call, not the tokens that were sampled.
    assert len(pair.behaviour) == len(pair.teacher) == 2


@pytest.mark.parametrize("name", sorted(names()))
def test_sampled_tokens_are_trained_with_every_template(name):
    view = ChatView(tokenizer_of(names()[name].read_text("utf-8")))
    try:
        end = view.end_of_turn()
    except TemplateError:
        pytest.skip("ends no turn; see docs/templates.md")
    mark = tokenizers.mark(view.tokenizer)
    thoughts = f"<think>{THOUGHTS}</think>"
    for text, more in ((" Grey. \n\n", {}), (f"{thoughts}Grey.", {"reasoning_content": THOUGHTS})):
        content = "Grey." if more else text
        ids = [*pieces(text, view.tokenizer), end]
        conversation = [{"role": "assistant", "content": content, **more}]
        row = our_row(
            prompt=[TALK[0], TALK[1]], conversation=conversation, token_ids=[ids], tokenizer=mark
        )
        pair = make_pair(parse(row, "w"), view, DISTILLED, recited=())
        assert trained(pair.behaviour) == trained(pair.teacher) == ids


def sampled(template: str = CHATML, **changes):
    """A row whose one answer has these tokens, behind ChatML; raises as `make_pair`."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    row = our_row(tokenizer=tokenizers.mark(tokenizer), **changes)
    return make_pair(parse(row, "shop, row 3"), ChatView(tokenizer), paper())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Action: click[item 0]", "and not with '<|im_end|>': it was cut"),
        ("Action: click[item 0]<|im_end|>\n<|im_end|>", "go on behind '<|im_end|>'"),
        ("Action: click[item 1]<|im_end|>", "the row says 'Action: click[item 0]'"),
        ("Well. Action: click[item 0]<|im_end|>", "are those of 'Well. Action: click[item 0]'"),
        ("<think>Hm.</think>Action: click[item 0]<|im_end|>", "are those of '<think>Hm."),
    ],
)
def test_tokens_that_are_not_the_answer_are_refused(text, says):
    ids = make_tokenizer()(text, add_special_tokens=False)["input_ids"]
    with pytest.raises(TextError) as error:
        sampled(token_ids=[ids])
    assert says in error.value.cause
    assert error.value.cause.startswith("shop, row 3")
    assert "chat template" not in error.value.cause


def test_a_call_whose_tokens_are_of_another_is_refused():
    ids = make_tokenizer()('<tool_call>{"name": "price_of"}</tool_call><|im_end|>')["input_ids"]
    with pytest.raises(TextError, match=r"the row says 'stock_of'"):
        sampled(names()["trl/qwen3"].read_text(), conversation=[CALL], token_ids=[ids])


def test_empty_thoughts_that_were_sampled_are_trained():
    ids = make_tokenizer()("<think>\n\n</think>\n\nAction: click[item 0]<|im_end|>")["input_ids"]
    assert trained(sampled(token_ids=[ids]).behaviour) == ids


def test_tokens_of_another_tokenizer_are_refused_with_the_cure():
    other = make_tokenizer()
    other.add_tokens(["socks"])
    mark = tokenizers.mark(other)
    row = our_row(token_ids=[[5, 6]], tokenizer=mark)
    with pytest.raises(TextError, match=r"another tokenizer[\s\S]*out of the dataset") as error:
        make_pair(parse(row, "shop, row 3"), ChatView(make_tokenizer()), paper())
    assert mark in str(error.value)


def test_a_token_for_padding_is_no_other_tokenizer():
    tokenizer = make_tokenizer()
    mark = tokenizers.mark(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    assert tokenizers.mark(tokenizer) != mark
    assert tokenizers.agrees(tokenizer, mark)
    renamed = make_tokenizer()
    renamed.add_tokens(["socks"])
    assert not tokenizers.agrees(tokenizer, tokenizers.mark(renamed))
    assert not tokenizers.agrees(tokenizer, "shop")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (CALL, r"conversation\[0\].*leaves out a call of a tool: 'stock_of'"),
        ({**TALK[1], "reasoning_content": THOUGHTS}, "leaves out thoughts of an answer: 'They"),
    ],
)
def test_a_template_that_loses_calls_or_thoughts_is_refused(answer, says):
    view = ChatView(make_tokenizer())
    with pytest.raises(TemplateError, match=says):
        make_pair(parse(our_row(conversation=[answer]), "shop, row 3"), view, paper())


def test_a_template_that_loses_the_tools_is_refused():
    view = ChatView(make_tokenizer())
    row = parse(our_row(tools=json.dumps(TOOLS)), "shop, row 3")
    with pytest.raises(TemplateError, match="leaves out a part of the tool 'stock_of'"):
        make_pair(row, view, paper())


def test_a_template_that_writes_calls_differently_with_tools_needs_the_tokens():
    source = make_tokenizer("tools").chat_template.replace(
        "{% if message['content'] or not loop.first %}",
        "{% if tools %}Calling:{% endif %}{% if 0 %}",
    )
    tokenizer = make_tokenizer()
    tokenizer.chat_template = source
    row = tool_row(conversation=[CALL])
    with pytest.raises(TemplateError, match=r"differently with the prompt and without: token 0"):
        make_pair(parse(row, "w"), ChatView(tokenizer), DISTILLED)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    ids = [*pieces(f"[stock_of {CALL['tool_calls'][0]['function']['arguments']}]", tokenizer), end]
    row |= {"token_ids": [ids], "tokenizer": tokenizers.mark(tokenizer)}
    assert trained(make_pair(parse(row, "w"), ChatView(tokenizer), DISTILLED).teacher) == ids


def test_arguments_are_found_by_value_in_any_form():
    awkward = {"quote": 'say "hi"', "umlaut": "Käse\nbrot", "on": True, "none": None, "n": 2.5}
    for name in ("trl/qwen3", "trl/glm4moe_training", "trl/nemotron_3_nano", "axolotl/gemma4"):
        view = ChatView(tokenizer_of(names()[name].read_text("utf-8")), {"enable_thinking": False})
        call = json.loads(json.dumps(CALL))
        call["tool_calls"][0]["function"]["arguments"] = json.dumps(awkward)
        _, answer = view.request_and_answer(CALLING[:1], call, TOOLS)
        text = view.tokenizer.decode(answer)
        assert "Käse" in text
        assert "2.5" in text


def test_a_name_that_the_template_does_not_write_is_refused():
    request = [{"role": "user", "content": "socks?", "name": "Ada"}]
    with pytest.raises(TemplateError, match=r"leaves out a part of turn 0 \(user\): 'Ada'"):
        make_pair(parse(our_row(request=request), "w"), ChatView(make_tokenizer()), paper())


def test_white_space_around_a_text_is_trained_though_the_template_strips_it():
    view = ChatView(make_tokenizer("llama3"))
    row = our_row(conversation=[{"role": "assistant", "content": " Grey. \n"}])
    pair = make_pair(parse(row, "w"), view, paper())
    assert view.tokenizer.decode(trained(pair.behaviour)) == " Grey. \n<|eot_id|>"


def test_white_space_that_template_and_model_both_write_is_trained_once():
    view = ChatView(make_tokenizer("mistral"))
    answers = []
    for text in ("Grey.", " Grey."):
        conversation = [{"role": "assistant", "content": text}]
        pair = make_pair(parse(our_row(conversation=conversation), "w"), view, paper())
        answers.append(view.tokenizer.decode(trained(pair.behaviour)))
    assert answers == [" Grey.</s>"] * 2


def test_a_call_that_is_lost_is_not_found_in_the_tools():
    source = make_tokenizer("tools").chat_template.replace("message['tool_calls'] or []", "[]")
    view = ChatView(make_tokenizer(), template=source)
    call = json.loads(json.dumps(CALL))
    call["tool_calls"][0]["function"]["arguments"] = "{}"
    with pytest.raises(TemplateError, match="leaves out a call of a tool: 'stock_of'"):
        view.request_ids([CALLING[0], call, RESULT], TOOLS)
