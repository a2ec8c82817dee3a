import pytest

from synth.quality.end_marker import ends_conversation
from tests.synth.scripted import make_task
from tests.synth.stages.test_conversations import counting, talk, told

MARKER = "[END_CONVERSATION]"


@pytest.mark.parametrize(
    "turn",
    [
        "[END_CONVERSATION]",
        "[END_CONVERSATION] and more",
        "Thanks! **[END_CONVERSATION]**",
        "Thank you, bye. END_CONVERSATION",
        "Bye.\nEnd conversation.",
        "[end_conversation]",
        "Thanks [End Conversation].",
        "Perfect.\n**END CONVERSATION**",
        "_END_CONVERSATION_",
        "Thank you (END CONVERSATION)!",
        "done [ END_CONVERSATION ]",
        "END-CONVERSATION",
    ],
)
def test_a_marker_ends_the_conversation_in_whatever_form_it_is_written(turn):
    assert ends_conversation(turn, MARKER)


@pytest.mark.parametrize(
    "turn",
    [
        "How do I end conversation?",
        "I want to end the conversation",
        "please don't write END_CONVERSATION yet, I have more",
        "I'm at the end. conversation was nice",
        "WEEKEND_CONVERSATION",
        "The end conversation was fine",
    ],
)
def test_words_that_only_resemble_it_do_not(turn):
    assert not ends_conversation(turn, MARKER)


def test_a_marker_that_is_a_word_is_told_from_the_word():
    assert ends_conversation("Thanks, DONE.", "DONE")
    assert ends_conversation("Thanks\ndone", "DONE")
    assert not ends_conversation("I'm done.", "DONE")
    assert not ends_conversation("nothing", "###")


def test_a_bold_marker_without_brackets_ends_a_conversation(tmp_path):
    task = make_task(tmp_path)
    row, _, _ = talk(task, counting("act"), lambda m, s: "Thanks! **END_CONVERSATION**")
    assert told(row.conversation) == [("assistant", "act 2")]
    assert row.conversation_end == "end marker"
