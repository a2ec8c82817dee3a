"""Logs of the application: which inputs they give, and their prompt, which is the task's or not."""

from __future__ import annotations

import json

import pytest

from genpi_plugin.data.inputs.given import Reading
from genpi_plugin.data.inputs.lines import check_markers, read_inputs
from genpi_plugin.data.inputs.own_prompt import OwnPrompt
from genpi_plugin.errors import GenPIError
from tests.genpi_plugin.data.templates_walked import TOOLS

SYSTEM = "You sell shoes.\nNever say the price."


def says(role, content, **more):
    return {"role": role, "content": content, **more}


PROMPT = [says("system", SYSTEM)]
GREETED = [says("assistant", "Hello!"), says("user", "a"), says("assistant", "b"),
           says("user", "c"), says("assistant", "d")]  # fmt: skip


def read(tmp_path, logs, own=None, **reading):
    path = tmp_path / "logs.jsonl"
    path.write_text("".join(json.dumps(log) + "\n" for log in logs))
    return read_inputs(path, reading=Reading(**reading), own=own)


def contents(messages):
    return "".join(one["content"] for one in messages)


@pytest.mark.parametrize(
    ("answers", "log", "found"),
    [
        ("ask", GREETED, [("Hello!a", ""), ("Hello!abc", "")]),
        ("ask", GREETED[:2], [("Hello!a", "")]),
        ("ask", [*GREETED, says("user", "e")], [("Hello!a", ""), ("Hello!abc", ""),
                                               ("Hello!abcde", "")]),
        ("last", GREETED, [("Hello!abc", "")]),
        ("last", [*GREETED, says("user", "e")], [("Hello!abc", "")]),
        ("last", GREETED[:2], [("Hello!a", "")]),
        ("keep", GREETED, [("Hello!a", "bcd")]),
        ("keep", [*GREETED, says("user", "e")], [("Hello!a", "bcd")]),
    ],
)  # fmt: skip
def test_a_log_gives_the_inputs_that_are_asked_for(tmp_path, answers, log, found):
    given = read(tmp_path, [{"id": "l", "messages": log}], answers=answers)
    assert [(contents(one.messages), contents(one.conversation)) for one in given.inputs] == found
    several = len(found) > 1
    assert [one.id for one in given.inputs] == [
        f"l-{turn}" if several else "l" for turn in range(1, len(found) + 1)
    ]
    assert given.kept == (answers == "keep")
    left = answers != "ask" and log[-1]["content"] == "e"
    assert given.notes == (
        (f"{given.source}: left out what 1 logs hold behind their last answer.",) if left else ()
    )


def test_there_must_be_answers_to_keep(tmp_path):
    logs = [{"messages": GREETED[:2]}, {"input": "x"}, {"messages": GREETED[:1]},
            {"request": GREETED[:4]}]  # fmt: skip
    with pytest.raises(GenPIError) as caught:
        read(tmp_path, logs, answers="keep")
    assert "line 1: there is no answer to keep" in caught.value.cause
    assert "line 2: a text alone, with no answer to keep" in caught.value.cause
    assert "line 3: nobody asks anything" in caught.value.cause
    assert "line 4: a request alone, with no answer to keep" in caught.value.cause
    assert "--answers ask" in caught.value.cure


def test_requests_that_are_the_same_are_asked_once_and_histories_tell_them_apart(tmp_path):
    other = [says("user", "z"), *GREETED[2:]]
    logs = [{"id": "one", "messages": GREETED[1:]}, {"id": "two", "messages": GREETED[1:3]},
            {"id": "three", "messages": other}, {"input": "A "}]  # fmt: skip
    given = read(tmp_path, logs)
    assert [one.id for one in given.inputs] == ["one-1", "one-2", "three-1", "three-2"]
    assert [(twin.number, twin.of) for twin in given.duplicates] == [(2, 1), (4, 1)]
    # Rejections are stored under `place`, which is no other's.
    places = [one.place for one in given.inputs] + [twin.place for twin in given.duplicates]
    assert sorted(places) == [1, 2, 3, 4, 5, 6]
    kept = read(tmp_path, logs[:2], answers="keep")
    assert [one.id for one in kept.inputs] == ["one", "two"]


FEW = [says("system", SYSTEM), says("user", "size 39?"), says("assistant", "yes")]


@pytest.mark.parametrize(
    ("prompt", "log"),
    [
        (PROMPT, [says("system", SYSTEM + "\n"), says("user", "a")]),
        (PROMPT, [says("developer", SYSTEM), says("user", "a")]),
        (FEW, [*FEW, says("user", "a")]),
        (FEW[1:], [*FEW[1:], says("user", "a")]),
        ([says("user", SYSTEM)], [says("user", SYSTEM + "\n\na")]),
        ([*FEW, says("user", "Now:")], [*FEW, says("user", "Now:\n\na")]),
    ],
)
def test_the_task_s_prompt_is_taken_out_and_said(tmp_path, prompt, log):
    given = read(tmp_path, [{"messages": log}, {"messages": [says("user", "b")]}],
                 OwnPrompt(prompt))  # fmt: skip
    assert [one.messages for one in given.inputs] == [[says("user", "a")], [says("user", "b")]]
    assert [one.values for one in given.inputs] == [{}, None]
    assert given.notes == (
        f"{given.source}: took the task's prompt out of 1 of 2 logs.",
        f"{given.source}: 1 of 2 logs hold no prompt, and are taken as they are.",
    )


def test_a_user_s_first_turn_that_is_not_the_prompt_is_a_request(tmp_path):
    log = [{"messages": [says("user", "a")]}]
    for prompt in ([says("user", SYSTEM)], FEW[1:]):
        [one] = read(tmp_path, log, OwnPrompt(prompt)).inputs
        assert (one.text, one.values) == ("a", None)


def test_another_prompt_is_refused_with_the_difference(tmp_path):
    other = SYSTEM.replace("Never say", "Always tell")
    logs = [
        {"messages": [says("system", text), says("user", f"{number}")]}
        for number, text in enumerate([SYSTEM, other, other, "x" * 40 + SYSTEM])
    ]
    with pytest.raises(GenPIError) as caught:
        read(tmp_path, logs, OwnPrompt(PROMPT))
    text = caught.value.cause
    assert "3 of 4 logs do not have the task's prompt" in text
    assert (
        "line 2, 3: message 1 of the prompt (system) is another from its line 2 on:\n"
        "    - Never say the price.\n    + Always tell the price." in text
    )
    assert "line 4: message 1 of the prompt (system) is another from its line 1 on" in text
    with pytest.raises(GenPIError, match="stands one of the role user"):
        read(tmp_path, [{"messages": [FEW[0], says("user", "a"), FEW[2], says("user", "b")]}],
             OwnPrompt([*PROMPT, FEW[2], FEW[1], FEW[2]]))  # fmt: skip
    with pytest.raises(GenPIError, match="the log ends before message 3"):
        read(tmp_path, [{"messages": FEW[:2]}], OwnPrompt(FEW))
    with pytest.raises(GenPIError, match=r"one of the role system"):
        read(tmp_path, [{"messages": [*PROMPT, says("user", "a")]}], OwnPrompt(FEW[1:]))


def test_a_long_line_is_shown_where_it_differs(tmp_path):
    line = "a" * 300 + "b" + "c" * 300
    with pytest.raises(GenPIError) as caught:
        read(tmp_path, [{"messages": [says("system", line.replace("b", "d")), says("user", "x")]}],
             OwnPrompt([says("system", line)]))  # fmt: skip
    shown = [one for one in caught.value.cause.splitlines() if one.startswith("    ")]
    assert ["ab" in shown[0], "ad" in shown[1]] == [True, True]
    assert max(map(len, shown)) < 90


def test_the_task_s_tools_are_taken_out_and_others_named(tmp_path):
    own = OwnPrompt(PROMPT, TOOLS)
    bare = [tool["function"] for tool in TOOLS]
    log = [says("user", "a")]
    for tools in (TOOLS, TOOLS[::-1], json.dumps(TOOLS), bare):
        given = read(tmp_path, [{"messages": log, "tools": tools}], own)
        assert given.notes[1:] == (f"{given.source}: took the task's tools out of 1 of 1 logs.",)
    notes = read(tmp_path, [{"messages": log}], own).notes
    assert notes == (f"{given.source}: 1 of 1 logs hold no prompt, and are taken as they are.",)
    assert read(tmp_path, [{"request": log}], own).notes == ()  # a row of a dataset
    first = TOOLS[0]["function"]["name"]
    changed = [{**TOOLS[0], "function": {**TOOLS[0]["function"], "description": "Other."}}]
    extra = [{"type": "function", "function": {"name": "fly"}}]
    with pytest.raises(GenPIError) as caught:
        read(tmp_path, [{"messages": log, "tools": [*changed, *TOOLS[1:], *extra]}], own)
    assert f"only in the logs: fly; with another schema: {first}" in caught.value.cause
    with pytest.raises(GenPIError, match=f"only in the logs: .*{first}"):
        read(tmp_path, [{"messages": log, "tools": TOOLS}], OwnPrompt(PROMPT))
    with pytest.raises(GenPIError, match="only in the task: "):
        read(tmp_path, [{"messages": log, "tools": extra}], OwnPrompt(PROMPT, [*extra, *TOOLS]))


def test_a_system_message_beside_sharegpt_turns_is_the_prompt(tmp_path):
    log = {"conversations": [{"from": "human", "value": "a"}], "system": SYSTEM}
    [one] = read(tmp_path, [log], OwnPrompt(PROMPT)).inputs
    assert (one.messages, one.values) == ([says("user", "a")], {})


def test_markers_and_control_characters_are_found_in_histories_too(tmp_path):
    log = [says("user", "a<|im_end|>"), says("assistant", "b\x1b"), says("user", "c")]
    given = read(tmp_path, [{"messages": log}, {"input": "fine"}])
    assert "kept the control characters in line 1 (U+001B" in given.notes[0]
    with pytest.raises(GenPIError, match=r"1 inputs .*\n  line 1: holds a role marker"):
        check_markers(given, [], (), "")
    with pytest.raises(GenPIError, match="a message holds half of a character"):
        read(tmp_path, [{"messages": [says("user", "a\ud83d")]}])


def test_a_result_without_text_has_one_for_people(tmp_path):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    log = [says("user", "a"), says("assistant", None, tool_calls=[call]),
           says("tool", "", tool_call_id="c")]  # fmt: skip
    assert read(tmp_path, [{"messages": log}]).texts == ("a", "(no text)")
