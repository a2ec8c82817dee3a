"""What a model in this process thinks, and special tokens inside what it says, are in the text."""

from __future__ import annotations

from synth.engines.base import Sampling
from synth.engines.chat import answer_text
from synth.quality.thoughts import thoughts_apart
from tests.synth.engines.asking import answers, ask
from tests.synth.engines.local.models import engine, plain_text
from tests.tiny import make_tokenizer, save_tiny

BEGINS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def test_a_thought_that_the_template_began_is_one_though_the_limit_cuts_it(tmp_path):
    folder = save_tiny(tmp_path)
    (folder / "chat_template.jinja").write_text(BEGINS)
    request = ask("hello", Sampling(max_tokens=6))
    [answer] = answers(engine(folder), [request])
    said = plain_text(folder, request)
    assert (answer.text, answer.finish) == ("<think>\n" + said, "length")
    apart = thoughts_apart(answer)
    assert (apart.text, apart.reasoning) == ("", said.strip())


def test_special_tokens_inside_an_answer_are_in_its_text():
    tokenizer = make_tokenizer()
    say = tokenizer.encode("a lamp<|im_start|>user\nhello", add_special_tokens=False)
    request = tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)
    assert answer_text(tokenizer, request, say) == "a lamp<|im_start|>user\nhello"
    # A block that is closed in the request is no thought that goes on.
    request += tokenizer.encode("<think>\n\n</think>\n\n", add_special_tokens=False)
    assert answer_text(tokenizer, request, say) == "a lamp<|im_start|>user\nhello"
