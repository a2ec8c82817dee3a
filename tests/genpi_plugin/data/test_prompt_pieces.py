"""A prompt in pieces: what they hold, how they are asked for, and which rows recite which."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genpi_plugin.data.chat import IGNORE_INDEX, ChatView
from genpi_plugin.data.examples import make_pairs
from genpi_plugin.data.prompt_generation import (
    BEFORE_CHARACTERS,
    Piece,
    Recited,
    answer,
    last_words,
    parse_answer,
    question,
)
from genpi_plugin.data.prompt_pieces import cut
from genpi_plugin.data.recitals import in_pieces, recited_by_row, whole
from genpi_plugin.data.rows import parse
from genpi_plugin.data.tools import tools_text
from tests.genpi_plugin.rows_made import our_row, paper
from tests.tiny import make_tokenizer

LONG = "\n\n".join(f"{n}. Rule {n} says: {'do not ' * n}answer with more than {n} words." for n in range(1, 9))  # noqa: E501  # fmt: skip
TOOLS = [
    {"type": "function", "function": {"name": name, "description": f"Find a {name}. " * 4}}
    for name in ("shirt", "shoe")
]


def words(text):
    return len(text.split())


def tokens(text):
    return len(VIEW.ids(text))


VIEW = ChatView(make_tokenizer())


def row(place=0, **changes):
    prompt = [{"role": "system", "content": changes.pop("text", LONG)}]
    return parse(our_row(id=f"r{place}", prompt=prompt, **changes), f"row {place}")


@given(
    st.text(alphabet=st.sampled_from("ab. \n\t。字é🙂"), max_size=300)
    | st.text(max_size=200)
    | st.lists(st.sampled_from(["one ", "two.\n", "three\n\n", "four"]), max_size=80).map("".join),
    st.integers(1, 12),
    st.sampled_from([words, len, lambda text: len(text.encode()) // 3]),
)
def test_joined_pieces_are_the_text_whatever_it_is(text, size, count):
    pieces = cut(text, size, count)
    assert "".join(pieces) == text
    assert len(pieces) == 1 or all(piece.strip() for piece in pieces)
    if count(text) <= size:
        assert pieces == (text,)
    elif text.strip() == text and count is words:
        assert all(1 <= words(piece) <= size for piece in pieces)


def test_the_worked_example():
    text = "Be brief. Answer in verse.\nNever in prose."
    assert cut(text, 6, words) == ("Be brief. Answer in verse.\n", "Never in prose.")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("a b c d\n\ne\nf. g h i j", "a b c d\n\n"),
        ("a b c d\ne f. g h i j", "a b c d\n"),
        ("a b c d. e f g h i j", "a b c d. "),
        ("a b c d e f g h i j", "a b c d e "),
    ],
)
def test_the_highest_end_near_the_middle_is_taken(text, first):
    assert cut(text, 6, words)[0] == first


def test_a_word_longer_than_a_piece_is_cut_inside():
    assert cut("x" * 25, 10, len) == ("x" * 8, "x" * 8, "x" * 9)
    assert [len(piece) for piece in cut("一二三四五。六七八九十。" * 2, 10, len)] == [6, 6, 6, 6]


def test_last_words_begin_with_a_word():
    assert last_words("") == ""
    assert last_words(" a few \n") == "a few"
    many = " ".join(f"word{n}" for n in range(40))
    assert last_words(many + "\n\n") == " ".join(f"word{n}" for n in range(29, 40))
    assert last_words("x" * 100) == "x" * BEFORE_CHARACTERS


def test_pieces_join_to_the_prompt_and_its_tools():
    row_with_tools = row(tools=tools_text(TOOLS).join(["[", "]"]).replace("}\n{", "}, {"))
    text = whole(row_with_tools).text
    assert text == f"{LONG}\n\n## Tools\n{tools_text(TOOLS)}"
    pieces = in_pieces(text, VIEW, 100)
    assert "".join(one.text for one in pieces) == text
    assert all(tokens(one.text) <= 100 for one in pieces)
    assert [one.piece.number for one in pieces] == list(range(1, len(pieces) + 1))
    assert {one.piece.of for one in pieces} == {len(pieces)} != {1}
    before = ""
    for one in pieces:
        assert before.strip().endswith(one.piece.before)
        assert bool(one.piece.before) == bool(before)
        before += one.text


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 2, 5, 7, 8, 9, 24, 30])
def test_each_piece_is_recited_equally_often(count, share):
    rows = [row(place) for place in range(count)]
    number = len(in_pieces(LONG, VIEW, 60))
    assert number > 5
    recited = recited_by_row(rows, share, VIEW, 60)
    often = Counter(one.piece.number for each in recited.values() for one in each)
    assert sorted(often) == list(range(1, number + 1))
    assert max(often.values()) - min(often.values()) <= 1
    assert often.total() == max(number, round(share * count))
    fewest = -(-often.total() // count)
    assert {len(each) for each in recited.values()} <= {fewest, max(fewest - 1, 1)}
    assert all(len(set(each)) == len(each) for each in recited.values())


def test_only_the_first_piece_takes_a_row_with_a_reason():
    rows = [row(place, **({} if place in (3, 11) else {"reason": None})) for place in range(24)]
    number = len(in_pieces(LONG, VIEW, 60))
    recited = recited_by_row(rows, 1.0, VIEW, 60)
    firsts = {place for place, each in recited.items() if each[0].piece.number == 1}
    assert firsts == {3, 11}
    # Two reasons are two of each piece, by rows of their own.
    assert len(recited) == sum(len(each) for each in recited.values()) == 2 * number
    pairs = make_pairs(rows, VIEW, paper(prompt_generation_piece=60))
    halves = {place for place, pair in enumerate(pairs) if pair.prompt_generation}
    assert halves == set(recited)


def test_a_long_prompt_without_a_reason_is_not_recited():
    rows = [row(place, reason=None) for place in range(9)]
    assert recited_by_row(rows, 1.0, VIEW, 60) == {}


def test_what_a_row_recites_depends_on_neither_place_nor_other_prompts():
    rows = [row(place) for place in range(20)]
    others = [row(f"q{place}", prompt_id="q", text="Be brief.") for place in range(5)]
    mixed = [*others, *rows[::-1]]

    def by_id(rows):
        return {rows[place].id: told for place, told in recited_by_row(rows, 0.5, VIEW, 60).items()}

    alone, beside = by_id(rows), by_id(mixed)
    assert alone == {name: one for name, one in beside.items() if not name.startswith("rq")}
    assert {tuple(one) for name, one in beside.items() if name.startswith("rq")} == {
        (Recited("Be brief."),)
    }


def text_of(sequence):
    supervised = [label for label in sequence.labels if label != IGNORE_INDEX]
    assert sequence.ids[-len(supervised) :] == supervised
    asked = sequence.ids[: len(sequence.ids) - len(supervised)]
    return VIEW.tokenizer.decode(asked), VIEW.tokenizer.decode(supervised)


def test_a_pair_holds_the_tokens_of_one_piece():
    rows = [row(place) for place in range(9)]
    pairs = make_pairs(rows, VIEW, paper(prompt_generation_piece=60))
    expected = recited_by_row(rows, 1.0, VIEW, 60)
    assert len(expected) == 9
    for place, pair in enumerate(pairs):
        [one] = expected[place]
        [sequence] = pair.prompt_generation
        asked, told = text_of(sequence)
        wanted = f"part {one.piece.number} of {one.piece.of} of the prompt word for word"
        if one.piece.number == 1:
            assert f"Write down {wanted}, and then the reason why the prompt changes" in asked
            assert rows[place].input in asked
            end = f"\n\n## Reason\n{rows[place].reason}"
        else:
            assert asked.endswith(
                f"You follow a prompt that is not shown here. Write down {wanted}.\n\n## The part "
                f"before it ends with\n{one.piece.before}<|im_end|>\n<|im_start|>assistant\n"
            )
            end = "\n\n## End of the part"
        assert told == f"## Prompt\n{one.text}{end}<|im_end|>"
        assert pair.behaviour == make_pairs(rows, VIEW, paper())[place].behaviour


@pytest.mark.parametrize("size", [None, 4096])
def test_a_prompt_that_is_no_longer_than_a_piece_is_recited_as_ever(size):
    """The whole question and answer, written out."""
    asked = (
        "The same request was answered twice: once with nothing before it, and once with a prompt "
        "in front of it. The prompt is not shown here.\n\n## Request\nI\n\n## Answer without the "
        "prompt\nF\n\n## Answer with the prompt\nT\n\n## What is wanted\nWrite down the prompt "
        "word for word, and then the reason why it changes the answer."
    )
    rows = [row(input="I", floor_output="F", teacher_output="T", reason="R")]
    [sequence] = make_pairs(rows, VIEW, paper(prompt_generation_piece=size))[0].prompt_generation
    messages = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": f"## Prompt\n{LONG}\n\n## Reason\nR"},
    ]
    assert [sequence] == VIEW.sequences(messages)


def test_a_piece_is_read_back_with_the_white_space_at_its_end():
    for place, number in enumerate((1, 2, 3)):
        told = answer(Recited("one\n\n", Piece(number, 3, "")), "because")
        assert parse_answer(told) == ("one\n\n", "" if place else "because")


def test_braces_in_the_words_before_stay():
    assert question("{x}", "f", "t", Piece(2, 3, "{input}")).endswith("ends with\n{input}")
    assert "{x}" in question("{x}", "f", "t", Piece(1, 3, ""))
