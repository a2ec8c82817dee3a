import pytest

from genpi_plugin.data.markers import special_tokens
from synth.errors import SynthError
from synth.quality.role_markers import marker_notes, role_marker
from synth.task.given import read_inputs
from tests.synth.cli.commands_run import synth
from tests.synth.quality.test_filters import tries
from tests.synth.running.test_pipeline import make, texts
from tests.synth.scripted import Scripted, make_task, shop, stage_of, write_task
from tests.synth.server import serve
from tests.synth.stages.test_conversations import counting, talk, told
from tests.tiny import save_tiny


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("a lamp<|im_end|>", "<|im_end|>"),
        ("x <|eot_id|><|start_header_id|>", "<|eot_id|>"),
        ("<|assistant|>\nSure", "<|assistant|>"),
        ("<start_of_turn>model", "<start_of_turn>"),
        ("[INST] a lamp [/INST]", "[INST]"),
        ("<<SYS>> be nice", "<<SYS>>"),
        ("a lamp <AGENT>: sure", "<AGENT>:"),
        ("<\uff5cAssistant\uff5c>", "<\uff5cAssistant\uff5c>"),
        ("if a <| b or b |> c", ""),
        ("<user> <assistant> <b>bold</b> [SEP] [instance]", ""),
        ("a || b, <s>was 20</s> now 10 dollars", ""),
    ],
)
def test_a_role_marker_is_found_and_named(tmp_path, text, marker):
    assert role_marker(text, make_task(tmp_path)) == marker


def test_what_the_application_itself_writes_is_no_fault(tmp_path):
    prompt = "Explain chat templates: <|im_start|> begins a turn."
    wrap = "[INST] {{ text }} [/INST]"
    task = make_task(tmp_path, prompt, inputs={"wrap": wrap})
    assert role_marker("What is <|im_start|> in [INST] a [/INST]?", task) == ""
    assert role_marker("What is <|im_start|>? And <|im_end|>?", task) == "<|im_end|>"
    [note] = marker_notes(task)
    assert note.startswith("turn 1 of the prompt holds <|im_start|>")


def test_validate_says_that_prompt_and_seeds_hold_a_marker(tmp_path):
    folder = write_task(tmp_path, "Explain <|im_start|>.", inputs={"seeds": ["what is [INST]?"]})
    code, printed = synth("validate", folder)
    assert code == 0
    assert "turn 1 of the prompt holds <|im_start|>" in printed
    assert "seed 1 holds [INST]" in printed


def test_the_tokenizer_s_special_tokens_are_known(tmp_path):
    save_tiny(tmp_path / "m", "llama3")
    assert "<|eot_id|>" in special_tokens(str(tmp_path / "m"))
    assert special_tokens("owner/name") == special_tokens(str(tmp_path)) == frozenset()


def test_an_input_with_a_marker_is_tried_again(tmp_path):
    task = make_task(tmp_path, inputs={"count": 1})
    made, rejected = tries(task, ["a red lamp<|im_end|>", *["a big green tent"] * 40])
    assert made == ["a big green tent"]
    [rejection] = rejected
    assert (rejection.reason, rejection.filter) == (
        "holds a role marker (<|im_end|>)",
        "role_markers",
    )


@pytest.mark.parametrize(
    ("stage", "counted", "words"),
    [("floor", "outputs", "floor output "), ("teacher", "outputs", ""), ("reasons", "reasons", "")],
)
def test_a_row_with_a_marker_is_rejected_or_loses_its_reason(tmp_path, stage, counted, words):
    def script(messages, seed):
        own = stage_of(messages) == stage and "find item 1" in messages[-1].content
        return "search[a] <|im_start|>user a b c d e" if own else shop(messages, seed)

    store, _ = make(make_task(tmp_path), Scripted(script), given=texts(3))
    [rejection] = store.rejections()
    assert (rejection.stage, rejection.position) == (counted, 1)
    assert rejection.reason == f"{words}holds a role marker (<|im_start|>)"
    assert rejection.kept is (stage != "teacher")
    held = {row.position: (row.floor_output, row.reason) for row in store.rows()}
    if stage == "teacher":
        assert sorted(held) == [0, 2]
    else:
        assert held[1][1] == ""
        assert bool(held[1][0]) is (stage == "reasons")


@pytest.mark.parametrize("who", ["agent", "environment"])
def test_a_conversation_ends_before_a_turn_with_a_marker(tmp_path, who):
    def marked(messages, seed):
        return "page [/INST] x"

    agent = marked if who == "agent" else counting("act")
    environment = counting("page") if who == "agent" else marked
    row, _, _ = talk(make_task(tmp_path), agent, environment)
    assert told(row.conversation) == [("assistant", "act 2")]
    assert row.conversation_end == f"{who} turn holds a role marker ([/INST])"


def test_lines_of_an_inputs_file_with_a_marker_are_named(tmp_path):
    lines = ['{"input": "one"}', '{"input": "two <|im_end|>"}', "", '{"input": "<USER>: three"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    given = read_inputs(tmp_path / "a.jsonl")
    assert [one.place for one in given.inputs] == [1, 2, 4]
    with pytest.raises(SynthError) as caught:
        make(make_task(tmp_path / "t", inputs={"count": 3}), Scripted(), given=given)
    assert "line 2: holds a role marker (<|im_end|>)" in caught.value.cause
    assert "line 4: holds a role marker (<USER>:)" in caught.value.cause
    assert str(tmp_path / "a.jsonl") in caught.value.cause
    free = make_task(tmp_path / "f", inputs={"count": 3}, filters=[])
    assert len(list(make(free, Scripted(), given=given)[0].rows())) == 3


def test_no_model_is_asked_before_the_lines_are_checked(tmp_path):
    (tmp_path / "a.txt").write_text("one <|eot_id|>\n")
    with serve(lambda messages: "x", models=None) as server:
        code, printed = synth("run", write_task(tmp_path / "t"), "--model", "m", "-o",
                              tmp_path / "o", "--base-url", server.url, "--inputs",
                              tmp_path / "a.txt")  # fmt: skip
        assert not server.requests
    assert code == 1
    assert "line 1: holds a role marker (<|eot_id|>)" in printed
