import pytest

from synth.engines.messages import as_messages
from tests.synth.cli.commands_run import synth
from tests.synth.scripted import shop, stage_of, write_task
from tests.synth.server import Failure, Reply, serve
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
    assert "Not looked at, since neither a model in this process nor a vLLM server" in printed
    assert "Go on: nothing that could be looked at speaks against the run." in printed
    asked = [r for r in server.requests if r["max_tokens"] > 1]  # the others ask for a score
    talks = [words_of(r) for r in asked if stage_of(as_messages(r["messages"])) == "environment"]
    # Whole conversations of three of the inputs: three turns of the agent each.
    agent = [words_of(r) for r in asked if len(r["messages"]) > 3
             and stage_of(as_messages(r["messages"])) == "teacher"]  # fmt: skip
    assert (len(talks), len(agent)) == (6, 6)
    first = [words_of(r) for r in asked if not talked(r)]
    told = round(sum(first) * 100 / 5 + sum(talks + agent) * 100 / 3)
    assert f"A run of 100 inputs: about {told:,} tokens in" in printed


@pytest.mark.parametrize("share", [0.25, 0.0])
def test_what_a_run_costs_is_reckoned_with_its_share_of_reasons(tmp_path, share):
    """Every row is looked at with its floor and its reason, unless the task makes none."""
    with serve(as_answers(shop), models=None) as server:
        task = write_task(tmp_path / "t", inputs={"count": 100}, reasons={"share": share},
                          conversations={"max_turns": 1})  # fmt: skip
        code, printed = synth("preflight", task, "--model", "m", "--base-url", server.url, "-n", 8)
    assert code == 0, printed
    asked = [r for r in server.requests if r["max_tokens"] > 1]
    stages = [stage_of(as_messages(r["messages"])) for r in asked]
    looked = 8 if share else 0
    assert (stages.count("floor"), stages.count("reasons")) == (looked, looked)
    if share:
        assert "Well-formed actions: teacher 100%, floor 0%." in printed
        assert "nearly the same with and without the prompt: 0%." in printed
    else:
        assert "Well-formed actions: teacher 100%." in printed
        assert "Answers without the prompt are not looked at, since the task makes none" in printed
    part = {"floor": share, "reasons": share}
    told = sum(words_of(r) * part.get(stage, 1) for r, stage in zip(asked, stages, strict=True))
    assert f"A run of 100 inputs: about {told * 100 / 8:,.0f} tokens in" in printed


def test_reasons_that_are_mostly_lost_speak_against_the_run(tmp_path):
    def script(messages, seed=0):
        return "Short." if stage_of(messages) == "reasons" else shop(messages)

    with serve(as_answers(script), models=None) as server:
        task = write_task(tmp_path / "t", conversations={"max_turns": 1})
        code, printed = synth("preflight", task, "--model", "m", "--base-url", server.url, "-n", 4)
    assert code == 3
    assert "4 of 4 rows came through" in printed
    assert "4 kept without a reason: reason shorter than 20 characters" in printed
    assert "Against it: Only 0 of 4 reasons came through" in printed


def words_of(body):
    return sum(len(message["content"].split()) for message in body["messages"])


def talked(body):
    stage = stage_of(as_messages(body["messages"]))
    return stage == "environment" or (stage == "teacher" and len(body["messages"]) > 3)


def test_a_file_of_inputs_is_what_the_run_would_cost(tmp_path):
    (tmp_path / "mine.txt").write_text("".join(f"find item {n}\n" for n in range(30)))
    with serve(as_answers(shop), models=None) as server:
        task = write_task(tmp_path / "t", inputs={"count": 1000})
        code, printed = synth("preflight", task, "--model", "m", "--base-url", server.url, "-n", 3,
                              "--inputs", tmp_path / "mine.txt")  # fmt: skip
    assert code == 0, printed
    assert "A run of 30 inputs" in printed


@pytest.mark.parametrize("per_token", [1.5, 0.01])
def test_a_server_that_scores_tells_what_the_prompt_changes(tmp_path, per_token):
    """As vLLM does: the log-probability of each token of a given answer."""

    def scored(messages):
        if messages[-1]["role"] != "assistant" or messages[0]["content"].startswith("Play"):
            return None
        teacher = stage_of(as_messages(messages)) == "teacher"
        words = " ".join(m["content"] for m in messages).split()
        logprob = -2.0 if teacher else -2.0 - per_token
        told = [None, *({str(len(word)): {"logprob": logprob, "decoded_token": word}}
                        for word in words[1:])]  # fmt: skip
        return Failure(
            200, {"choices": [], "usage": {"prompt_tokens": len(words)}, "prompt_logprobs": told}
        )

    with serve(as_answers(shop), models=None) as server:
        server.fault = scored
        task = write_task(tmp_path / "t", conversations={"max_turns": 1})
        code, printed = synth("preflight", task, "--model", "m", "--base-url", server.url, "-n", 4)
    assert f"makes the teacher's answers {per_token:.3f} nats a token likelier" in printed
    assert "the same tokens with and without the prompt: yes." in printed
    assert "the server does not tell what the model takes" in printed
    assert code == (0 if per_token > 1 else 3), printed


def test_nearly_the_same_answers_speak_against_the_run(tmp_path):
    """Without an action pattern, behind a server that scores nothing, it is all there is."""

    def script(messages, seed=0):
        stage = stage_of(messages)
        if stage in ("inputs", "reasons"):
            return shop(messages)
        text = "Sure, I can help you with that, here is a long list of what we have in our shop"
        return text + ("." if stage == "teacher" else "")

    with serve(as_answers(script), models=None) as server:
        task = write_task(tmp_path / "t", action_pattern=None, conversations={"max_turns": 1})
        code, printed = synth("preflight", task, "--model", "m", "--base-url", server.url, "-n", 4)
    assert code == 3
    assert "100% of answers are nearly the same" in printed


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

    from synth.engines.local.model import LocalModel
    from synth.engines.local.scorer import kl

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
    from synth.engines.base import Message, Request, Sampling
    from synth.engines.local.model import LocalModel
    from synth.engines.local.scorer import answer_ids

    local = LocalModel(str(save_tiny(tmp_path, template)), "float32", {})
    turns = (Message("system", "rules"), Message("user", "find a lamp"))
    one, other = (
        answer_ids(local, Request(view, Sampling()), Message("assistant", "search[lamp]"))
        for view in (turns, turns[1:])
    )
    assert one == other
    assert local.tokenizer.decode(one[:-1]).strip() == "search[lamp]"
    assert one[-1] in local.end_ids


def test_a_template_that_answers_differently_under_a_prompt_is_found(tmp_path):
    pytest.importorskip("torch")
    from synth.engines.base import Message, Request, Sampling
    from synth.engines.local.model import LocalModel
    from synth.engines.local.scorer import answer_ids

    local = LocalModel(str(save_tiny(tmp_path)), "float32", {})
    local.tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and "
        "messages[0].role == 'system' %}Obeying: {% endif %}{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    turns = (Message("system", "rules"), Message("user", "find a lamp"))
    one, other = (
        answer_ids(local, Request(view, Sampling()), Message("assistant", "search[lamp]"))
        for view in (turns, turns[1:])
    )
    assert one != other


def test_the_context_is_that_of_the_model_that_is_asked(tmp_path):
    """Not of the first one in the server's list; an adapter's is its model's."""
    asked = {"small": 300, "adapter": 300, "large": 90_000, "unlisted": None}

    def scored(messages):
        if messages[-1]["role"] != "assistant" or messages[0]["content"].startswith("Play"):
            return None
        words = " ".join(m["content"] for m in messages).split()
        logprob = -1.0 if stage_of(as_messages(messages)) == "teacher" else -3.0
        told = [None, *({str(len(word)): {"logprob": logprob, "decoded_token": word}}
                        for word in words[1:])]  # fmt: skip
        usage = {"prompt_tokens": len(words)}
        return Failure(200, {"choices": [], "usage": usage, "prompt_logprobs": told})

    task = write_task(tmp_path / "t", conversations={"max_turns": 1})
    with serve(as_answers(shop), ["large", "small", "adapter", "unlisted"]) as server:
        server.listed = {"large": {"max_model_len": 90_000}, "small": {"max_model_len": 300},
                         "adapter": {"max_model_len": None, "parent": "small"}}  # fmt: skip
        server.fault = scored
        for model, context in asked.items():
            code, printed = synth("preflight", task, "--model", model, "--base-url", server.url,
                                  "-n", 3)  # fmt: skip
            if context is None:
                assert "the server does not tell what the model takes" in printed
            else:
                assert f"the model takes {context:,}" in printed
            assert code == (3 if context == 300 else 0), printed


def test_answers_whose_tokens_nobody_counted_are_told(tmp_path):
    with serve(lambda messages: Reply(shop(as_messages(messages)), usage={}), None) as server:
        task = write_task(tmp_path / "t", conversations={"max_turns": 1})
        _, printed = synth("preflight", task, "--model", "m", "--base-url", server.url, "-n", 3)
    assert "The server did not count the tokens of 12 answers" in printed
