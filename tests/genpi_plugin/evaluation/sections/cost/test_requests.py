"""The requests that cost is measured on."""

from __future__ import annotations

from genpi_plugin.evaluation.sections.cost.requests import histories, typical


def test_requests_of_several_turns_come_from_conversations_or_are_strung_together():
    long = [
        {"role": "assistant", "content": "a1"},
        {"role": "user", "content": "u2"},
        {"role": "assistant", "content": "a2"},
    ]
    asked = [[{"role": "user", "content": text}] for text in ("u1", "v1")]
    [two] = histories(asked, [long, long[:1]], ["x", "y"], 2)
    assert [message["content"] for message in two] == ["u1", "a1", "u2"]
    three = histories(asked, [long, long[:1]], ["x", "y"], 3)
    assert [m["content"] for m in three[1]] == ["v1", "y", "u1", "x", "v1"]
    assert [m["role"] for m in three[0]] == ["user", "assistant"] * 2 + ["user"]
    lengths = [[{"role": "user", "content": "x" * n}] for n in (9, 1, 5, 6, 2)]
    assert [
        len(messages[0]["content"])
        for messages in typical(lengths, lambda m: len(m[0]["content"]), 2)
    ] == [5, 6]


def test_a_turn_is_the_assistants_whoever_speaks_between():
    asked = [[{"role": "user", "content": "tag"}, {"role": "user", "content": "u1"}]]
    talk = [
        {"role": "assistant", "content": ""},
        {"role": "tool", "content": "r1"},
        {"role": "tool", "content": "r2"},
        {"role": "assistant", "content": "a2"},
    ]
    [two] = histories(asked, [talk], ["x"], 2)
    assert two == [*asked[0], *talk[:3]]
