"""A server that reads a part of the prompt: noticed by its count of tokens, and by nothing else."""

import pytest

from synth.engines.base import Answer, Message, Request, Sampling, Usage
from synth.engines.cut_prompt import ENOUGH, check_context, cut_prompt, least_tokens
from synth.errors import EngineError
from tests import ROOT
from tests.synth.cli.commands_run import synth
from tests.synth.scripted import answers, write_task
from tests.synth.server import Failure, Reply, serve
from tests.tiny import make_tokenizer

RULES = "".join(
    f"Rule {n}: offer the customer lamp {n} before any other thing.\n" for n in range(1300)
)
CHINESE = (
    "你是一个购物助手。每次只回答一个动作，先搜索商品，然后点击购买。如果没有合适的商品，请告诉用户。"
    * 60
)


def request(text):
    return Request((Message("system", text), Message("user", "find a lamp")), Sampling())


def cut(text, tokens):
    return cut_prompt(request(text), Answer("x", "stop", usage=Usage(tokens, 1)), "URL")


def test_a_context_of_2048_for_77_kilobytes_is_named_with_both_numbers():
    assert len(RULES) > 77_000
    error = cut(RULES, 2048)
    assert "read 2,048 tokens" in error.cause
    assert f"{len(RULES) + len('find a lamp'):,} characters" in error.cause
    assert "num_ctx" in error.cure
    assert cut(RULES, None) is None


def sources():
    """Texts of many kinds that are there anyway."""
    yield "code", (ROOT / "synth" / "engines" / "endpoints.py").read_text(encoding="utf-8")
    yield "tests", (ROOT / "tests" / "synth" / "server.py").read_text(encoding="utf-8")
    yield "table", (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    yield "yaml", (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    yield "chinese", CHINESE
    yield "rules", RULES
    yield "blanks", "x\n" + " " * 20_000 + "-" * 20_000 + "=" * 20_000 + "\ny" * 200
    yield "indented", "".join(" " * 60 + f"'{n}',\n" for n in range(400))
    yield "long words", "Rechtsschutzversicherungsgesellschaften " * 300


@pytest.mark.parametrize(("kind", "text"), sources(), ids=[kind for kind, _ in sources()])
def test_a_whole_text_is_never_taken_for_a_cut_one(kind, text):
    """The tests' tokenizer has a small vocabulary, and more tokens than others: the bound must hold
    with a third of them."""
    assert least_tokens(text) * 3 < len(make_tokenizer().encode(text, add_special_tokens=False))


@pytest.mark.parametrize("text", [CHINESE, "search the shop " * 900])
def test_half_a_prompt_is_noticed_where_little_was_read(text):
    assert cut(text, ENOUGH) is not None
    assert cut(text, len(text)) is None


def test_a_run_of_one_character_counts_once():
    assert least_tokens(" " * 20_000 + "-" * 20_000) == 0
    assert least_tokens("x\n" + " " * 60 + "y") == least_tokens("x\ny")


def test_a_short_request_is_not_judged():
    assert cut("internationalization " * 50, 1) is None


def test_a_context_that_no_tokenizer_fits_into_is_refused_before_it_is_asked():
    check_context(request(RULES), None, "m")
    check_context(request(RULES), 32_768, "m")
    with pytest.raises(EngineError, match="m takes 2,048 tokens"):
        check_context(request(RULES), 2048, "m")


def cutting(context):
    """As Ollama does: it answers whatever the length, and reads so many tokens."""

    def answer(messages):
        words = sum(len(message["content"].split()) for message in messages)
        usage = {"prompt_tokens": min(words, context), "completion_tokens": 3}
        return Reply(answers(messages), usage=usage)

    return answer


@pytest.mark.parametrize("command", ["validate", "preview", "preflight", "run"])
def test_every_command_stops_at_the_first_such_answer(tmp_path, command):
    task = write_task(tmp_path / "t", prompt=RULES, inputs={"show_prompt": False})
    out = ("-o", tmp_path / "out") if command == "run" else ()
    with serve(cutting(2048), None) as server:
        code, printed = synth(command, task, *out, "--model", "m", "--base-url", server.url)
    assert code == 1, printed
    assert "cuts the prompt: it read 2,048 tokens of a request of" in " ".join(printed.split())
    assert "num_ctx" in printed
    if command == "run":
        assert not (tmp_path / "out" / "data").exists()


def test_validate_reads_the_context_of_the_model_that_is_asked(tmp_path):
    task = write_task(tmp_path / "t", prompt=RULES)
    with serve(answers, ["large", "small"]) as server:
        server.listed = {"large": {"max_model_len": 99_999}, "small": {"max_model_len": 2048}}
        arguments = ("validate", task, "--base-url", server.url, "--model")
        code, printed = synth(*arguments, "small")
        assert code == 1
        assert "small takes 2,048 tokens" in printed
        assert server.count == 0
        assert synth(*arguments, "large")[0] == 0


def test_validate_says_that_a_server_does_not_count(tmp_path):
    with serve(lambda messages: Reply("x", usage={}), None) as server:
        code, printed = synth(
            "validate", write_task(tmp_path / "t"), "--model", "m", "--base-url", server.url
        )
    assert code == 0, printed
    assert "how many tokens it has, the server does not say" in printed


@pytest.mark.parametrize("command", ["validate", "preflight"])
def test_a_prompt_of_which_most_is_read_is_found_out_by_a_longer_input(tmp_path, command):
    """Nine tenths of it could be the whole of another."""
    words = len(RULES.split())
    task = write_task(tmp_path / "t", prompt=RULES)
    with serve(cutting(words * 9 // 10), None) as server:
        code, printed = synth(command, task, "--model", "m", "--base-url", server.url)
    assert code == 1, printed
    told = " ".join(printed.split())
    assert f"m cuts the prompt: it read {words * 9 // 10:,} tokens of a request of" in told
    assert "of the same with at least 200 tokens more" in told
    with serve(cutting(words * 2), None) as server:
        code, printed = synth("validate", task, "--model", "m", "--base-url", server.url)
    assert code == 0, printed


def test_a_server_that_refuses_what_is_too_long_does_not_cut(tmp_path):
    refused = Failure(400, {"error": {"message": "x", "code": "context_length_exceeded"}})
    with serve(answers, None) as server:
        server.fault = lambda messages: refused if "199" in messages[-1]["content"] else None
        code, printed = synth(
            "validate", write_task(tmp_path / "t"), "--model", "m", "--base-url", server.url
        )
    assert code == 0, printed
    assert server.refused == 1
