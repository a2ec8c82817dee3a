import asyncio

import pytest

from synth.engines.base import Answer, Message
from synth.engines.messages import as_dicts
from synth.errors import RowError
from synth.quality.chosen import Filters, chosen_filters
from synth.quality.filters import (
    agent_fault,
    environment_turns,
    plays_agent,
    some_answer,
    whole_answer,
)
from synth.quality.refusals import refuses
from synth.stages.inputs import _Known, input_request, inputs
from synth.task.config import TaskConfig
from synth.task.taskfile import load_task, shipped_tasks
from synth.text import word_runs, words
from tests.synth.running.test_pipeline import make, texts
from tests.synth.scripted import Scripted, make_task, shop, stage_of, write_task
from tests.synth.stages.test_conversations import counting, make_task_txt, talk, told

WEB = r"Action:\s*(?P<action>(?:search|click)\[[^\]\n]+\])"
PAGE = (
    'Observation:\n"Page 1 [SEP] B07 [SEP] Lamp [SEP] $2"\n\nAvailable Actions:\n{"clickables": 0}'
)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, but as an AI language model I don't have personal preferences.",
        "I cannot fulfill this request, since it asks for personal data.",
        "I am unable to generate new examples of that kind.",
        "As an AI assistant, I'm not able to shop for you.",
        "Unfortunately I can not help you with that.",
        "I'm just an AI, so here is no example.",
        "I am an AI, and I don't shop.",
        "I can't provide information or guidance on illegal or harmful activities.",
        "I cannot provide you with instructions",
        "I cannot write a new shopping request.",
        "I'm unable to generate a new problem for you.",
        "I can’t satisfy your request.",
        "I can't help you.",
        "I cannot help with hacking.",
        "I'm sorry, but I can't do that.",
        "I must decline.",
        "I'm sorry, but I have to decline this request.",
        "I must respectfully decline to answer.",
        "I'm not able to help with that.",
        "I cannot fulfill your request",
        "I won't be able to assist.",
        "I will not be able to help you with that.",
        "I can't share that kind of information.",
        "Als KI-Sprachmodell kann ich dazu nichts sagen.",
        "Dabei kann ich Ihnen leider nicht helfen.",
        "Ich kann diese Anfrage nicht beantworten.",
        "En tant que modèle de langage, je n'ai pas d'avis.",
        "Désolé, je ne peux pas vous aider.",
        "Como modelo de lenguaje, no tengo opiniones.",
        "Lo siento, no puedo ayudarte con eso.",
        "很抱歉，我无法提供这些信息。",
        "作为一个人工智能，我不能满足这个要求。",
    ],
)
def test_a_model_s_refusal_is_known(text):
    assert refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "i'm sorry but i can't find my order 4711, can you help me with it?",
        "I am unable to create an account with your service. What now?",
        "I can't write to /var/log. Make it writable for my user.",
        "We will not provide refunds after 30 days, the shop says. Is that right?",
        "find me a toy robot with ai and a language model for kids",
        "Sorry, no results were found for your search.",
        "I can't open the new request form",
        "I'm an AI engineer and need a laptop for training models",
        "As an AI startup we need the invoice in our name",
        "I can't provide a receipt, it was lost. What now?",
        "I can't share the photo, the app crashes each time",
        "I can't share this photo with my sister",
        "I can't share any photos since the update",
        "I can't log in",
        "I am unable to attend, please move my seat to Friday",
        "I won't be able to pick up the parcel tomorrow",
        "I can't help my mother with her login, what now?",
        "I must decline the offer for now. What else is there in blue?",
        "I have to decline tomorrow's meeting, can you do that for me?",
        "Ich kann mich nicht anmelden.",
        "Ich kann das Foto nicht teilen",
        "Je ne peux pas me connecter",
        "Je ne peux pas venir demain",
        "No puedo iniciar sesión",
        "No puedo compartir la foto",
        "抱歉，我无法登录我的账户",
    ],
)
def test_what_a_person_or_a_page_says_is_no_refusal(text):
    assert not refuses(text)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("Without the prompt, the model answers as an AI language model that can't shop.", False),
        ('The first answer, "I can\'t assist with that request.", is no action.', False),
        ("As an AI language model, I can't compare these answers.", True),
        ("I'm sorry, but I can't assist with that.", True),
        ("Unfortunately, I cannot provide information about this.", True),
    ],
)
def test_a_reason_may_quote_a_refusal(text, refused):
    assert refuses(text, quotes=True) is refused


def test_words_of_a_script_without_spaces_count_half():
    prompt = "请你扮演一个网上商店的导购员，只能回答一个动作。"
    shared = set(word_runs(prompt, 5)) & set(word_runs("扮演一个网上商店的导购员吧", 5))
    assert "扮 演 一 个 网 上 商 店 的 导" in shared
    assert words("用 vLLM 搜索") == ["用", "vllm", "搜", "索"]
    assert word_runs("一二三 four", 2) == ["一 二 三 four", "二 三 four"]


def test_a_run_of_words_is_found_whatever_the_punctuation():
    prompt = "Only use search[...] while has_search_bar is true; click what stands in clickables."
    text = "  use SEARCH while has_search_bar is  true: click it"
    shared = set(word_runs(prompt, 5)) & set(word_runs(text, 5))
    assert shared == {"use search while has_search_bar is", "search while has_search_bar is true",
                      "while has_search_bar is true click"}  # fmt: skip
    assert word_runs("four words are here", 5) == []


@pytest.mark.parametrize(
    ("turn", "plays"),
    [
        (PAGE, False),
        ("Thought:\nI open it.\n\nAction:\nclick[B07]", True),
        ("<AGENT>:\nclick[B07]", True),
        ("Assistant: Sure, what else do you need?", True),
        ("Thought: the lamp fits.  Action: click[b08]", True),  # what the agent said before
        ("**Assistant:** Sure.", True),
        ("### Agent:\nclick", True),
        ("[AGENT]: next", True),
        ("<|assistant|>\nclick", True),
        ("Our agent: 24 h support line, assistants are standing by", False),
        ("agent:\n  image: node:20\nai: 10.0.0.5", False),
    ],
)
def test_an_environment_that_plays_the_agent(turn, plays):
    said = "Thought: the lamp fits. Action: click[B08]"
    assert plays_agent(turn, said, WEB, [PAGE]) is plays


def test_where_real_pages_hold_actions_a_page_may_hold_one():
    page = "You did Action: click[B07]. The page is empty."
    assert plays_agent(page, "x", WEB, [PAGE])
    assert not plays_agent(page, "x", WEB, ["You did Action: search[lamp]. 3 results."])


def test_the_instruction_is_no_turn_of_the_environment():
    prompt = [Message("user", "rules"), Message("assistant", "Ok."), Message("user", "obs")]
    assert environment_turns(prompt, "in") == ["obs", "in"]
    assert environment_turns([Message("system", "rules"), *prompt], "in") == ["rules", "obs", "in"]


def test_what_a_teacher_may_not_answer_is_the_task_s_to_say():
    chat, refusal = "Here are some lamps.", "As an AI, I can't shop."
    free = TaskConfig(name="t", action_pattern=WEB)
    assert agent_fault(chat, free) == agent_fault(refusal, free) == ""
    strict = TaskConfig(
        name="t", action_pattern=WEB, outputs={"require_action": True}, reject_refusals=["outputs"]
    )
    assert agent_fault(chat, strict) == "without a well-formed action"
    assert agent_fault("Action: click[B07]", strict) == ""
    assert agent_fault(f"{refusal} Action: click[B07]", strict) == "refuses"


def tries(task, answers):
    """The inputs made of these answers, and the rejections."""
    number = {input_request(task, 0, i).seed: i for i in range(len(answers))}
    engine, rejected = Scripted(lambda m, s: answers[number[s]]), []

    async def collect():
        return [text async for text in inputs(task, engine.generate, 0, rejected.append)]

    return asyncio.run(collect()), rejected


def test_refusals_leaks_and_near_duplicates_are_tried_again_and_named(tmp_path):
    seed = "i need a desk lamp with a dimmer, and price lower than 30.00 dollars"
    task = make_task(tmp_path, inputs={"count": 2, "seeds": [seed], "copied_words": 6})
    made, rejected = tries(
        task,
        [
            "I'm sorry, but I can't assist with that.",
            "please answer with one action: search[words] or click",
            "i need a desk lamp with a dimmer, and price lower than 35.00 dollars",
            "find me a waterproof tent for two people, in green",
            "find me a waterproof tent for two people in green",
            "looking for a pair of running shoes in size 9",
            *["never reached"] * 60,
        ],
    )
    assert made == ["find me a waterproof tent for two people, in green",
                    "looking for a pair of running shoes in size 9"]  # fmt: skip
    assert [(r.position, r.reason) for r in rejected] == [
        (0, "refuses"),
        (1, "repeats the prompt"),
        (2, "near duplicate"),
        (4, "near duplicate"),
    ]
    assert "answer with one action search words" in rejected[1].detail
    assert rejected[2].detail.endswith("the same as a seed")
    assert rejected[3].detail.endswith("the same as try 3")


def test_the_form_that_seeds_share_with_the_prompt_is_no_leak(tmp_path):
    asks = "based on the page above what is the next step of this task"
    prompt = (
        f"<SYSTEM>:\nEach page ends with: {asks}. Never buy what costs more than you were "
        f"told to spend.\n<USER>:\n<html> a lamp </html> {asks}\n<AGENT>:\nclick[lamp]\n"
    )
    own = {"count": 1, "copied_words": 6, "seeds": [f"<html> a tent, a bed </html> {asks}"]}
    write_task(tmp_path, inputs=own)
    (tmp_path / "prompt.txt").write_text(prompt)
    task = load_task(str(tmp_path), {"prompt": "prompt.txt"})
    made, rejected = tries(
        task,
        [
            "never buy what costs more than you think",
            f"<html> a lamp </html> {asks}",
            f"<html> shoes in size nine, or ten, in red, green and blue </html> {asks}",
            *["not reached"] * 40,
        ],
    )
    assert [r.reason for r in rejected] == ["repeats the prompt", "duplicate"]
    assert rejected[1].detail == "the same as an example in the prompt"
    assert made[0].startswith("<html> shoes")


def fault_of(known, text):
    """Why a text is no new input; None if it is one."""
    try:
        known.check(text, 1)
    except RowError as error:
        return error.reason
    return None


def test_of_every_shipped_task_the_seeds_are_no_leaks():
    for name in shipped_tasks():
        task = load_task(name)
        known = _Known(task, str.strip, Filters(chosen_filters(task)))
        for seed in task.config.inputs.seeds:
            assert fault_of(known, f"{seed} And more of it.") in {None, "near duplicate"}, name


def test_each_filter_of_inputs_can_be_turned_off(tmp_path):
    off = {"count": 4, "near_duplicate": 1.0, "copied_words": 0}
    task = make_task(tmp_path, reject_refusals=[], inputs=off)
    answers = [
        "I'm sorry, but I can't assist with that.",
        "Answer with one action: search[words] or click[value].",
        "find me a waterproof tent for two people, in green",
        "find me a waterproof tent for two people in green",
    ]
    assert tries(task, [*answers, *["not reached"] * 60]) == (answers, [])


@pytest.mark.parametrize(
    ("reason", "counted"),
    [
        ("It is so.", "reason shorter than 20 characters"),
        ("As an AI language model, I can't compare these answers.", "reason refuses"),
    ],
)
def test_a_reason_that_says_nothing_is_left_out(tmp_path, reason, counted):
    def script(messages, seed):
        own = stage_of(messages) == "reasons" and "find item 1" in messages[-1].content
        return reason if own else shop(messages, seed)

    store, _ = make(make_task(tmp_path), Scripted(script), given=texts(3))
    [rejection] = store.rejections()
    assert (rejection.stage, rejection.position, rejection.reason) == ("reasons", 1, counted)
    assert [bool(row.reason) for row in store.rows()] == [True, False, True]


def test_a_teacher_without_an_action_is_rejected_when_the_task_says_so(tmp_path):
    def script(messages, seed):
        own = stage_of(messages) == "teacher" and messages[-1].content.endswith("item 1")
        return "Here are some nice items." if own else shop(messages, seed)

    free = make_task(tmp_path / "a")
    strict = make_task(tmp_path / "b", outputs={"require_action": True})
    assert len(list(make(free, Scripted(script), given=texts(3))[0].rows())) == 3
    store, _ = make(strict, Scripted(script), given=texts(3))
    [rejection] = store.rejections()
    assert rejection.reason == "teacher output without a well-formed action"
    assert "nice items" in rejection.detail


@pytest.mark.parametrize(
    ("turn", "end"),
    [
        ("search[blue lamp]", "environment plays the agent"),
        ("act 2", "environment plays the agent"),
        ("I'm sorry, but I can't assist with that.", "environment refuses"),
        ("nothing to see", "environment turn does not match conversations.pattern"),
    ],
)
def test_an_environment_out_of_its_part_ends_the_conversation_before_it(tmp_path, turn, end):
    task = make_task(tmp_path, conversations={"pattern": "page|act|sorry|search"})
    row, _, _ = talk(task, counting("act"), lambda messages, seed: turn)
    assert told(row.conversation) == [("assistant", "act 2")]
    assert row.conversation_end == end


def test_an_agent_that_says_the_same_again_ends_the_conversation(tmp_path):
    task = make_task(tmp_path, conversations={"max_turns": 9})
    row, _, _ = talk(task, lambda m, s: "Act  3" if len(m) > 4 else "act 3", counting("page"))
    assert told(row.conversation) == [
        ("assistant", "act 2"), ("user", "page 1"), ("assistant", "act 3"),
    ]  # fmt: skip
    assert row.conversation_end == "agent repeats itself"


def test_a_circle_is_left_at_its_second_round(tmp_path):
    """Pages alternate, the agent answers each as before: only the first round is kept."""
    task = make_task(tmp_path, conversations={"max_turns": 9})
    pages = iter(["page a", "page b"] * 5)
    row, _, _ = talk(task, lambda m, s: f"open {m[-1].content}", lambda m, s: next(pages))
    assert [turn.content for turn in row.conversation] == [
        "act 2", "page a", "open page a", "page b", "open page b",
    ]  # fmt: skip
    assert row.conversation_end == "agent and environment repeat themselves"


def test_a_conversation_without_an_end_is_rejected_when_the_task_says_so(tmp_path):
    """Every row that does not buy runs into the limit of three turns."""

    def script(messages, seed):
        stage = stage_of(messages)
        if stage == "teacher":
            buys = "find item 1" in str(as_dicts(messages)) and len(messages) > 3
            return "click[Buy Now]" if buys else f"search[{len(messages)}]"
        if stage == "environment":
            return f"page {len(messages)}"
        return shop(messages, seed)

    settings = {"max_turns": 3, "end_pattern": r"click\[Buy", "require_end": True}
    task = make_task(tmp_path, conversations=settings)
    store, _ = make(task, Scripted(script), given=texts(3))
    assert [row.position for row in store.rows()] == [1]
    assert {(r.stage, r.reason) for r in store.rejections()} == {
        ("conversations", "conversation without an end: turn limit")
    }


def test_a_cut_answer_is_told_from_a_refusal(tmp_path):
    task = make_task(tmp_path, inputs={"count": 1})
    made, rejected = tries(task, [Answer("As an AI", "length"), *["a fine new request"] * 40])
    assert made == ["a fine new request"]
    assert rejected[0].reason == "cut by the token limit"


def test_the_environment_of_a_transcript_task_is_read_from_its_examples(tmp_path):
    """A task whose pages echo the agent's action: the examples show that this is no fault."""
    prompt = "<USER>:\nrules\n<AGENT>:\nOk.\n<USER>:\nYou did search[x].\n<AGENT>:\nclick[a]\n"
    task = make_task_txt(tmp_path, prompt, max_turns=2)
    row, _, _ = talk(task, counting("act"), lambda m, s: "You did click[b].")
    assert row.conversation_end == "turn limit"


def test_what_is_trained_holds_no_broken_character():
    """Half an emoji, as a server sends it that joins tokens one by one."""
    broken = Answer("search[lamp] \ufffd", "stop")
    with pytest.raises(RowError, match=r"teacher output holds a broken character"):
        whole_answer(broken, "teacher output", "outputs.max_tokens")
    assert some_answer(broken, "floor output") == broken.text
    with pytest.raises(RowError, match="floor output holds control characters"):
        some_answer(Answer("\ufffd\x1b", "stop"), "floor output")
