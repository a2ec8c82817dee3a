"""The text that was given is in the tokens that were made, or a row is refused."""

from __future__ import annotations

import pytest
from tokenizers import normalizers

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import make_pair
from genpi_plugin.data.rows import parse
from genpi_plugin.data.written import missing, without_thoughts
from genpi_plugin.errors import TemplateError, TextError
from tests.genpi_plugin.rows_made import our_row, paper
from tests.tiny import CHATML, make_tokenizer

HEAD = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
TAIL = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
# As Qwen3's and DeepSeek's: what stands before </think> in an answer is taken for thoughts.
CUTS_THOUGHTS = (
    HEAD + "{{ m.content.split('</think>')[-1] if m.role == 'assistant' else m.content }}"
    "<|im_end|>\n{% endfor %}" + TAIL
)
WANTS_PARTS = (
    HEAD + "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}" + TAIL
)
THINKS = (
    HEAD + "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}"
    "<|im_start|>assistant\n<think>\n{% if enable_thinking is false %}</think>\n{% endif %}"
    "{% endif %}"
)


def trained(template: str, **changes) -> tuple[list[str], list[str]]:
    """What is trained on in the behaviour half and in the recital, a text a sequence."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    pair = make_pair(parse(our_row(**changes), "shop, row 4"), ChatView(tokenizer), paper())
    return tuple(
        [tokenizer.decode([label for label in one.labels if label != -100]) for one in half]
        for half in (pair.behaviour, pair.prompt_generation)
    )


def talk(*contents: str) -> list[dict[str, str]]:
    roles = ("assistant", "user")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]


def test_a_prompt_on_thoughts_is_recited_whole():
    prompt = [{"role": "system", "content": "Think in <think> and </think>. Name no price."}]
    reason = "It is told to write </think> first."
    _, [recital] = trained(CUTS_THOUGHTS, prompt=prompt, reason=reason)
    assert recital == f"## Prompt\n{prompt[0]['content']}\n\n## Reason\n{reason}<|im_end|>"


def test_an_answers_own_thoughts_are_trained_and_may_be_missing_from_later_requests():
    behaviour, _ = trained(CUTS_THOUGHTS, conversation=talk("<think>a</think>b", "c", "d"))
    assert behaviour == ["<think>a</think>b<|im_end|>", "d<|im_end|>"]


def test_an_answer_that_is_cut_in_a_later_request_is_refused_with_what_is_missing():
    with pytest.raises(TemplateError) as error:
        trained(CUTS_THOUGHTS, conversation=talk("Close with </think> and go.", "c", "d"))
    assert "shop, row 4, the field `conversation[0].content`: the chat template" in str(error.value)
    assert "'Close with </think>" in error.value.cause
    assert "What to do" in str(error.value)


def test_content_goes_to_a_template_in_the_form_that_it_takes():
    assert trained(WANTS_PARTS, turns=2) == trained(CHATML, turns=2)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = WANTS_PARTS
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    assert ChatView(tokenizer).request_ids(asked) == ChatView(make_tokenizer()).request_ids(asked)


def test_a_turn_that_the_template_leaves_out_is_refused():
    drops_system = CHATML.replace("{% for message in messages %}", "{% for message in messages "
                                  "if message.role != 'system' %}")  # fmt: skip
    with pytest.raises(TemplateError, match=r"row 4, the field `prompt\[0\].content`: .* leaves"):
        trained(drops_system)


@pytest.mark.parametrize("behind", ["<|endoftext|>", "<|im_start|>user\n"])
def test_what_follows_the_end_of_a_turn_is_not_trained_and_parts_no_conversation(behind):
    template = CHATML.replace("{% endif %}", "{% else %}" + behind + "{% endif %}")
    assert trained(template, turns=3) == trained(CHATML, turns=3)
    assert len(trained(template, turns=3)[0]) == 1


def test_empty_thoughts_that_no_server_sends_are_not_trained():
    template = HEAD + (
        "{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
    ) + TAIL  # fmt: skip
    assert trained(template, turns=2) == trained(CHATML, turns=2)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    assert any("enable_thinking: false" in note for note in ChatView(tokenizer).notes())


def test_an_answer_inside_of_open_thoughts_is_refused_with_the_setting_that_works():
    with pytest.raises(TemplateError, match="leaves '<think>' open") as error:
        trained(THINKS)
    assert "Tried, and works: `chat_template_kwargs: {enable_thinking: false}`" in error.value.cure


def test_an_answer_that_ends_its_thoughts_is_trained_as_it_is_sampled():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = THINKS
    request, answer = ChatView(tokenizer).request_and_answer(
        [{"role": "user", "content": "a"}], {"role": "assistant", "content": "so\n</think>\n\nb"}
    )
    assert tokenizer.decode(request).endswith("assistant\n<think>\n")
    assert tokenizer.decode(answer) == "so\n</think>\n\nb<|im_end|>"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": [{"role": "system", "content": "End with <|im_end|>."}]}, "prompt[0].content"),
        ({"input": "what is <|im_end|>?"}, "input"),
        ({"conversation": talk("It is <|im_end|>.")}, "conversation[0].content"),
        ({"reason": "It ends with <|im_end|>."}, "reason"),
    ],
)
def test_a_control_token_in_a_text_is_refused_with_its_field(changes, field):
    with pytest.raises(TextError) as error:
        trained(CHATML, **changes)
    assert f"shop, row 4, the field `{field}`" in error.value.cause
    assert "'<|im_end|>', which the tokenizer reads as a control token" in error.value.cause


def test_a_text_is_freed_of_the_control_tokens_that_are_spelled_out_in_it():
    tokens = ChatView(make_tokenizer()).tokens
    text = "It ends<|im_end|> here, <|im_<|im_end|>end|>and here."
    assert tokens.fault(text)
    assert tokens.without_control(text) == "It ends here, and here."
    assert tokens.fault("It ends here, and here.") is None
    assert tokens.without_control("a < b |> c") == "a < b |> c"


def test_characters_that_the_tokenizer_does_not_know_are_refused():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[UNK]", "<|im_start|>", "<|im_end|>", "user", "assistant", "yes"]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", eos_token="<|im_end|>", chat_template=CHATML
    )
    view = ChatView(tokenizer)
    view.request_ids([{"role": "user", "content": "yes"}])
    with pytest.raises(TextError, match="no token for"):
        view.request_ids([{"role": "user", "content": "nein"}])


def test_a_tokenizer_that_normalizes_text_loses_nothing():
    from tokenizers import normalizers

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    ids = ChatView(tokenizer).request_ids([{"role": "user", "content": "cafe\u0301 \ufb01ne"}])
    assert "caf\u00e9 fine" in tokenizer.decode(ids)


def test_only_what_is_missing_is_named():
    assert missing(" a\nb ", "x a b y") == ""
    assert missing("first and last", "so last") == "first and"
    assert missing("nothing of it", "x") == "nothing of it"
    assert without_thoughts("<think>a</think>\n\nb </think> c") == "b </think> c"
    assert without_thoughts("a</think>b") == "a</think>b"
    assert without_thoughts("a</think>b", ("<think>", "</think>")) == "b"


def test_a_special_token_that_is_an_ordinary_word_is_text():
    """Some models' padding token is "!"."""
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "!"
    ids = tokenizer("Hi!", add_special_tokens=False)["input_ids"]
    request = ChatView(tokenizer).request_ids([{"role": "user", "content": "Hi!"}])
    assert tokenizer.decode(ids) in tokenizer.decode(request)


def test_a_block_that_the_tokenizer_takes_for_a_space_is_refused():
    tokenizer = make_tokenizer()
    view = ChatView(tokenizer)
    bars = [{"role": "user", "content": "load: \u2581\u2582\u2583"}]
    assert "\u2581\u2582" in tokenizer.decode(view.request_ids(bars))
    spaces = normalizers.Replace("\u2581", " ")
    tokenizer.backend_tokenizer.normalizer = spaces
    with pytest.raises(TextError, match=r"U\+2581"):
        ChatView(tokenizer).request_ids(bars)


def test_a_template_that_ends_in_an_error_of_pythons_is_refused():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHATML + "{{ 1 // (2 - messages | length) }}"
    view = ChatView(tokenizer)
    two = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(TemplateError, match="zero"):
        view.text(two, True)


def test_of_several_templates_none_of_which_is_the_default_one_is_to_be_chosen():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"rag": CHATML, "tool_use": CHATML}
    with pytest.raises(TemplateError, match=r"several chat templates .rag, tool_use") as caught:
        ChatView(tokenizer)
    assert "chat_template_jinja" in caught.value.cure
    tokenizer.chat_template = {"default": CHATML, "rag": ""}
    assert ChatView(tokenizer).rendering.source == CHATML
