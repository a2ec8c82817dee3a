import pytest

from synth.rows import as_messages
from tests.synth.scripted import shop, stage_of, write_task
from tests.synth.server import serve
from tests.synth.test_cli import synth
from tests.tiny import save_tiny


def as_answers(script):
    return lambda messages: script(as_messages(messages))


def test_over_http_it_says_what_it_saw_and_what_it_could_not(tmp_path):
    with serve(as_answers(shop), models=None) as server:
        task = write_task(tmp_path / "t", inputs={"count": 100})
        code, printed = synth("preflight", task, "--model", "m", "--base-url", server.url, "-n", 5,
                              "--price-in", 2, "--price-out", 10)  # fmt: skip
    assert code == 0, printed
    assert "5 of 5 rows came through" in printed
    assert "Well-formed actions: teacher 100%, floor 0%." in printed
    assert "Not looked at, since a server does not tell: the KL" in printed
    assert "Go on: nothing speaks against the run." in printed
    used = sum(len(m["content"].split()) for r in server.requests for m in r["messages"])
    assert f"A run of 100 inputs: about {20 * used:,} tokens in" in printed
    assert "Further turns of conversations come on top." in printed


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        ("Sure, I can help with that.", "in only 0% of answers"),
        (None, "hardly more often well-formed"),
    ],
)
def test_a_prompt_that_changes_nothing_speaks_against_the_run(tmp_path, teacher, words):
    def script(messages, seed=0):
        stage = stage_of(messages)
        if stage == "teacher" and teacher:
            return teacher
        return shop(messages) if stage in ("inputs", "reasons") else "search[a lamp]"

    with serve(as_answers(script), models=None) as server:
        task = write_task(tmp_path / "t")
        code, printed = synth("preflight", task, "--model", "m", "--base-url", server.url, "-n", 4)
    assert code == 3
    assert words in printed
    assert "Don't go on" in printed


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    pytest.importorskip("torch")
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def test_in_process_the_divergence_is_the_exact_one(tiny):
    """Against two plain forward passes with a model loaded anew."""
    import torch
    from transformers import AutoModelForCausalLM

    from synth.engines.local import LocalModel
    from synth.preflight_local import kl

    local = LocalModel(str(tiny), "float32", {})
    teacher, floor, answer = [5, 6, 7, 8, 9], [8, 9], [10, 11, 12]
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)

    def ahead(request):
        logits = plain(torch.tensor([request + answer])).logits[0]
        return logits[len(request) - 1 : -1].log_softmax(-1)

    with torch.no_grad():
        p, q = ahead(teacher), ahead(floor)
        expected = torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
    found = kl(local, teacher, floor, answer)
    assert found.shape == (3,)
    assert torch.allclose(found, expected, atol=1e-5)
    assert float(kl(local, floor, floor, answer).abs().max()) < 1e-6


@pytest.mark.parametrize("template", ["chatml", "llama3", "mistral", "thinking"])
def test_an_answer_s_tokens_are_the_same_in_both_views(tmp_path, template):
    pytest.importorskip("torch")
    from synth.engines.base import Message
    from synth.engines.local import LocalModel
    from synth.preflight_local import _answer_ids

    local = LocalModel(str(save_tiny(tmp_path, template)), "float32", {})
    turns = (Message("system", "rules"), Message("user", "find a lamp"))
    one, other = (_answer_ids(local, view, "search[lamp]") for view in (turns, turns[1:]))
    assert one == other
    assert local.tokenizer.decode(one[:-1]).strip() == "search[lamp]"
    assert one[-1] in local.end_ids


def test_a_template_that_answers_differently_under_a_prompt_is_found(tmp_path):
    pytest.importorskip("torch")
    from synth.engines.base import Message
    from synth.engines.local import LocalModel
    from synth.preflight_local import _answer_ids

    local = LocalModel(str(save_tiny(tmp_path)), "float32", {})
    local.tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and "
        "messages[0].role == 'system' %}Obeying: {% endif %}{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    turns = (Message("system", "rules"), Message("user", "find a lamp"))
    one, other = (_answer_ids(local, view, "search[lamp]") for view in (turns, turns[1:]))
    assert one != other
