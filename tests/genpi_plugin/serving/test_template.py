"""The written template: what is left out of a request, and what is not."""

from __future__ import annotations

import copy

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genpi_plugin.data.forms import REFUSALS
from genpi_plugin.data.rendering import Renderer
from genpi_plugin.data.rows import teacher_messages
from genpi_plugin.errors import TemplateError
from genpi_plugin.serving.patterns import Internalized
from genpi_plugin.serving.template import written
from tests.genpi_plugin.data import templates_walked as walked
from tests.genpi_plugin.serving.place_made import SYSTEM, TOOLS
from tests.tiny import CHATML, THINKING, make_tokenizer
from tests.tiny import TOOLS as WITH_TOOLS

ASK = {"role": "user", "content": "do you have wool socks?"}
FEW_SHOT = [SYSTEM, {"role": "user", "content": "hello"}, {"role": "assistant", "content": "Yes?"}]
JOINED = [*FEW_SHOT, {"role": "user", "content": " Now, my request is:\n"}]
OTHER = {"role": "system", "content": "You sell shoes."}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "stock_of", "arguments": '{"item": "wool socks", "size": 27}'},
}
CALLING = [
    SYSTEM,
    ASK,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "2", "tool_call_id": "c1"},
    {"role": "assistant", "content": "Two."},
]
# Like Qwen2.5's: without a system message it writes one of its own.
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    + WITH_TOOLS
)
# Line ends and blanks at both ends, of which Jinja takes some out.
LINES = "\n  {% if true %}\n" + CHATML + "{% endif %}\n x\n"
TOKENIZER = make_tokenizer("tools")


def rendered(source, messages, tools=None, **kwargs):
    return TOKENIZER.apply_chat_template(
        messages,
        chat_template=source,
        tools=tools,
        tokenize=False,
        add_generation_prompt=True,
        **kwargs,
    )


def left_out(messages, prompt=(SYSTEM,), source=WITH_TOOLS, **options):
    """The request behind the written template, and how the original renders it."""
    new = written(source, [Internalized("p", list(prompt), TOOLS)], **options)
    return rendered(new, messages), rendered(source, messages)


@pytest.mark.parametrize("name", walked.names())
def test_each_shipped_template_gives_the_students_request(name):
    """And a request with another prompt, or other tools, as the original does."""
    source = walked.names()[name].read_text("utf-8")
    tokenizer = walked.tokenizer_of(source)
    original = Renderer(tokenizer, {})

    def new_text(new, messages, tools):
        shaped = [original.forms.shaped(message) for message in messages]
        return tokenizer.apply_chat_template(
            shaped, chat_template=new, tools=tools, tokenize=False, add_generation_prompt=True
        )

    compared = 0
    tools = copy.deepcopy(walked.TOOLS)
    tools[0]["function"]["description"] = "How many pairs are left."
    requests = [walked.TALK[:1], walked.TALK[:3], walked.CALLING[:3]]
    prompts = [[walked.SYSTEM], [walked.SYSTEM, *walked.CALLING, JOINED[-1]]]
    for prompt in prompts:
        new = written(source, [Internalized("p", prompt, walked.TOOLS)])
        for request in requests:
            try:
                expected = original(request, True)
            except REFUSALS:  # it takes no results of tools
                assert request[-1]["role"] == "tool"
                continue
            sent = teacher_messages(prompt, request)
            assert new_text(new, sent, walked.TOOLS) == expected
            compared += 1
        try:
            expected = original([OTHER, ASK], True, tools)
        except REFUSALS:
            assert "gemma" in name  # it takes no system message
            continue
        assert new_text(new, [OTHER, ASK], tools) == expected
    assert compared >= 4


@pytest.mark.parametrize("source", [WITH_TOOLS, DEFAULT_SYSTEM, CHATML, LINES])
@pytest.mark.parametrize("prompt", [[SYSTEM], FEW_SHOT, JOINED, CALLING])
def test_the_prompt_is_left_out_and_nothing_else(source, prompt):
    request = [ASK, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Blue?"}]
    new = written(source, [Internalized("p", prompt, TOOLS)])
    assert rendered(new, teacher_messages(prompt, request), TOOLS) == rendered(source, request)
    assert rendered(new, request) == rendered(source, request)
    twice = [*prompt[:1], *teacher_messages(prompt, request)]
    assert SYSTEM["content"] in rendered(new, twice)


@pytest.mark.parametrize(
    "sent",
    [
        {"role": "system", "content": f"\n {SYSTEM['content']}\n"},
        {"role": "developer", "content": SYSTEM["content"]},
        {"role": "system", "content": [{"type": "text", "text": SYSTEM["content"]}]},
        {**SYSTEM, "name": "shop"},
    ],
    ids=["white space", "developer", "parts", "name"],
)
def test_the_prompt_is_known_in_each_form(sent):
    new, _ = left_out([sent, ASK])
    assert new == rendered(WITH_TOOLS, [ASK])


@pytest.mark.parametrize(
    "sent",
    [
        [OTHER, ASK],
        [{"role": "system", "content": SYSTEM["content"] + " Be brief."}, ASK],
        [{"role": "user", "content": SYSTEM["content"]}, ASK],
        [ASK, SYSTEM],
        [SYSTEM],
        [ASK],
    ],
    ids=["other", "longer", "a user's", "behind", "alone", "none"],
)
def test_what_is_not_the_prompt_is_rendered(sent):
    new, original = left_out(sent)
    assert new == original


@pytest.mark.parametrize("turn", [1, 2])
def test_turns_of_a_prompt_are_left_out_together(turn):
    sent = copy.deepcopy([*FEW_SHOT, ASK])
    sent[turn]["content"] += " Or"
    new, original = left_out(sent, FEW_SHOT)
    assert new == original
    assert left_out(FEW_SHOT, FEW_SHOT)[0] == left_out(FEW_SHOT, FEW_SHOT)[1]


def test_calls_of_a_prompt_are_compared_by_value():
    def sent(arguments, name="stock_of"):
        messages = copy.deepcopy([*CALLING, ASK])
        messages[2]["tool_calls"][0]["function"] = {"name": name, "arguments": arguments}
        return messages

    short = rendered(WITH_TOOLS, [ASK])
    for same in ('{"item":"wool socks","size":27}', {"size": 27, "item": "wool socks"}):
        assert left_out(sent(same), CALLING)[0] == short
    for other in (
        sent('{"item": "wool socks", "size": 28}'),
        sent({"item": "wool socks"}),
        sent(CALL["function"]["arguments"], "basket"),
    ):
        new, original = left_out(other, CALLING)
        assert new == original


def test_a_prompt_that_goes_on_in_the_input_is_cut_off_there():
    new = written(CHATML, [Internalized("p", JOINED)])
    inputs = ["socks", "  socks\n\n", "Now, my request is:\n\n\nsocks"]
    for text in inputs:
        said = {"role": "user", "content": text, "name": "ada"}
        expected = rendered(CHATML, [said])
        assert rendered(new, teacher_messages(JOINED, [said])) == expected
    with_name = CHATML.replace("{{ message['role'] }}", "{{ message['name'] or message['role'] }}")
    new = written(with_name, [Internalized("p", JOINED)])
    assert "<|im_start|>ada\nNow, my" in rendered(new, teacher_messages(JOINED, [said]))
    parts = [{"type": "text", "text": JOINED[-1]["content"] + "\n\nsocks"}]
    in_parts = CHATML.replace(
        "{{ message['content'] }}",
        "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}",
    )
    new = written(in_parts, [Internalized("p", JOINED[-1:])])
    assert "user\nsocks<|im_end|>" in rendered(new, [{"role": "user", "content": parts}])


def test_an_image_is_never_left_out():
    image = [{"type": "text", "text": SYSTEM["content"]}, {"type": "image", "url": "x"}]
    new, original = left_out([{"role": "system", "content": image}, ASK])
    assert new == original


def test_the_longest_of_several_prompts_is_left_out():
    longer = {**JOINED[-1], "content": JOINED[-1]["content"] + "\n\nIt is:"}
    both = [
        Internalized("a", [SYSTEM]),
        Internalized("b", FEW_SHOT),
        Internalized("c", [OTHER]),
        Internalized("d", [OTHER], slots=["name"], kept=[]),
        Internalized("e", [JOINED[-1]]),
        Internalized("f", [longer]),
    ]
    new = written(CHATML, both)
    for one in both:
        assert rendered(new, teacher_messages(one.prompt, [ASK])) == rendered(CHATML, [ASK])


def changed(**function):
    tools = copy.deepcopy(TOOLS)
    tools[1]["function"] |= function
    return tools


@pytest.mark.parametrize(
    ("tools", "taken"),
    [
        (TOOLS, True),
        (TOOLS[::-1], True),
        (changed(description=None, strict=None), True),
        ([tool["function"] for tool in TOOLS], True),
        (TOOLS[:1], False),
        ([*TOOLS, {"type": "function", "function": {"name": "other"}}], False),
        (changed(name="other"), False),
        (changed(description="New."), False),
        (changed(parameters={"type": "object", "properties": {}}), False),
    ],
)
def test_tools_are_left_out_where_they_are_the_prompts(tools, taken):
    new = written(WITH_TOOLS, [Internalized("p", [SYSTEM], TOOLS)])
    kept = None if taken else tools
    assert rendered(new, [SYSTEM, ASK], tools) == rendered(WITH_TOOLS, [ASK], kept)


def test_any_system_and_any_tools_hold_no_text_and_leave_out_all():
    new = written(WITH_TOOLS, [Internalized("p", [SYSTEM], TOOLS)], any_system=True, any_tools=True)
    assert "socks" not in new
    assert "stock_of" not in new
    for sent in ([SYSTEM, ASK], [OTHER, SYSTEM, ASK], [{**OTHER, "role": "developer"}, ASK]):
        assert rendered(new, sent, TOOLS[:1]) == rendered(WITH_TOOLS, [ASK])
    later = [ASK, {"role": "assistant", "content": "Yes."}, OTHER, ASK]
    assert rendered(new, later) == rendered(WITH_TOOLS, later)
    with_turns = written(WITH_TOOLS, [Internalized("p", FEW_SHOT)], any_system=True)
    assert rendered(with_turns, [OTHER, *FEW_SHOT[1:], ASK]) == rendered(WITH_TOOLS, [ASK])


def test_settings_of_the_template_are_those_of_training_unless_a_request_has_its_own():
    source = "{{ enable_thinking }}{{ depth }}" + THINKING
    new = written(source, [Internalized("p", [SYSTEM])], {"enable_thinking": False, "depth": "a'b"})
    assert rendered(new, [SYSTEM, ASK]).startswith("Falsea'b<|im_start|>user")
    assert rendered(new, [SYSTEM, ASK], enable_thinking=True).startswith("Truea'b<|im_start|>")


def test_a_written_template_is_no_original():
    new = written(CHATML, [Internalized("p", [SYSTEM])])
    with pytest.raises(TemplateError, match="itself written by"):
        written(new, [Internalized("p", [SYSTEM])])


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_a_prompt_may_hold_any_text(text):
    prompt = [{"role": "system", "content": text}]
    new = written(CHATML, [Internalized("p", prompt, [{"function": {"name": text}}])])
    assert rendered(new, [*prompt, ASK]) == rendered(CHATML, [ASK])
    other = [{"role": "system", "content": text + "."}, ASK]
    assert rendered(new, other) == rendered(CHATML, other)


def test_servers_that_look_for_parts_of_content_find_what_they_found():
    """vLLM and SGLang take a loop over a message's content for a wish to have it in parts."""
    prelude = written("", [Internalized("p", CALLING, TOOLS)])
    tree = jinja2.Environment().parse(prelude)
    loops = [loop.iter for loop in tree.find_all(jinja2.nodes.For)]
    assert len(loops) >= 4
    assert not any("content" in str(loop) for loop in loops)
    # Nor do they follow an attribute to which messages are assigned.
    for one in tree.find_all(jinja2.nodes.Assign):
        if isinstance(one.target, jinja2.nodes.NSRef):
            assert not isinstance(one.node, jinja2.nodes.Getitem | jinja2.nodes.Filter) or (
                "'messages'" not in str(one.node)
            )
