"""What a run says that makes (almost) no row."""

from synth.progress.progress import Tally
from synth.quality.thoughts import OFF_CURE
from synth.running.limits import DETAIL, brief, no_rows
from synth.store.rows import Rejection
from synth.store.store import Store


def test_what_was_the_matter_is_told_in_whole_sentences(tmp_path):
    said = "The answer of row 3 begins with 'Let me think about it'."
    detail = f"{said}\n{OFF_CURE} {OFF_CURE}"
    assert len(detail) > DETAIL
    assert brief("It is short: a.b") == "It is short: a.b"
    assert brief("word " * 100) == " ".join(["word"] * (DETAIL // 5)) + " ..."
    shown = brief(detail)
    assert shown.startswith(said)
    assert shown.endswith(".")
    assert shown in " ".join(detail.split())
    store, tally = Store(":memory:"), Tally(1)
    tally.follow(("inputs", "outputs"), {})
    store.add_rejection(Rejection("outputs", 0, "thinks", detail, {}))
    tally.stages["outputs"].rejected["thinks"] += 1
    assert f"1 x thinks ({shown})" in no_rows(tally, store, None).cause
    store.close()
