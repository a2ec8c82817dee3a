"""The HTML report: every figure on it is the one in the metrics, and nothing on it can do harm."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser

import pytest

from genpi_plugin.evaluation.html import verdict, write_html
from genpi_plugin.evaluation.html.answers import cases, head, shared_start
from genpi_plugin.evaluation.html.clauses import shaded
from genpi_plugin.evaluation.html.diff import compare, first_side, second_side, words
from genpi_plugin.evaluation.html.formatting import interval_text, percent, seconds, size
from genpi_plugin.evaluation.html.page import render
from genpi_plugin.evaluation.html.plots import bar, scale_for
from genpi_plugin.evaluation.html.verdict import cautions
from tests.genpi_plugin.evaluation.report_made import (
    INPUTS,
    RECITED,
    interval,
    made_details,
    made_metrics,
)

VOID = {"meta", "input", "br", "link", "img", "rect", "circle", "line", "hr"}
SECTIONS = ["turns", "checkpoints", "clauses", "drift", "disclosure", "recitation", "cost",
            "comparisons"]  # fmt: skip


class Page(HTMLParser):
    """What a browser would see: tags in order, attributes, and the text of each element's kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())

    def ids(self) -> set[str]:
        return {attributes["id"] for _, attributes in self.tags if attributes.get("id")}


@pytest.fixture(scope="module")
def page():
    return render(made_metrics(), made_details())


def test_elements_are_closed_in_order_and_links_lead_somewhere(page):
    seen = Page(page)
    assert page.startswith("<!doctype html>")
    assert seen.open == []
    targets = {a["href"] for tag, a in seen.tags if tag == "a"}
    assert targets
    assert {target.removeprefix("#") for target in targets} <= seen.ids()


def test_nothing_is_loaded_and_nothing_runs(page):
    for tag, attributes in Page(page).tags:
        assert tag not in {"script", "link", "iframe", "img", "object", "embed"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in {"src", "srcset", "data", "action"}
            if name == "href":
                assert value.startswith("#")
    assert "url(" not in page
    assert "@import" not in page


def test_text_of_models_and_users_is_escaped(page):
    for text in ("<script>", "<b>script</b>", "<i>share</i>", "<USER>"):
        assert text not in page
    seen = Page(page)
    assert "<script>alert('input')</script>" in seen.text
    assert "(?P<action>search" in seen.text


def test_names_are_escaped_too():
    made, details = made_metrics(), made_details()
    evil = '"><script>x</script>'
    for holder in (made["systems"], made["students"], details["answers"]):
        holder[evil] = holder.pop("small")
    made["warnings"] = [evil]
    made["source"]["config"] = evil
    made["clauses"]["clauses"][0]["text"] = evil
    made["disclosure"]["attacks"][0]["request"] = evil
    assert "<script" not in render(made, details)


def test_the_page_is_one_small_file(tmp_path):
    path = write_html(tmp_path / "new" / "folder", made_metrics(), made_details())
    assert path == tmp_path / "new" / "folder" / "report.html"
    assert path.stat().st_size < 120_000
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]


def test_the_page_is_a_function_of_the_two_files_as_json(page):
    metrics, details = (json.loads(json.dumps(one)) for one in (made_metrics(), made_details()))
    assert render(metrics, details) == page


def shown_rows(page: str) -> dict[str, list[str]]:
    """Label -> figures of the plots' rows and the tables' rows with that label."""
    found: dict[str, list[str]] = {}
    for label, figure in re.findall(
        r'<span class="label">([^<]+)</span><svg.*?</svg><span class="figure">(.*?)</span></div>',
        page, re.S,
    ):  # fmt: skip
        found.setdefault(label, []).append(" ".join(re.sub("<[^>]+>", "", figure).split()))
    return found


def test_every_plot_says_and_draws_the_figures_of_the_metrics(page):
    rows = shown_rows(page)
    assert rows["effect in nats"] == ["84 % [82, 86]"]
    assert "0.407 [0.374, 0.440]" in rows["student"]
    assert "2.504 [2.304, 2.704]" in rows["floor"]
    assert rows["adapter, merged"][0] == "1.28 s [1.23, 1.41]"
    assert rows["effect, nats per token"] == [
        "0.610 [0.488, 0.732]", "0.350 [0.280, 0.420]", "0.210 [0.168, 0.252]",
        "0.180 [0.144, 0.216]", "0.090 [0.072, 0.108]",
    ]  # fmt: skip
    # The bar of the merged adapter ends where its figure is on a scale to 2 s.
    drawn = re.search(r'aria-label="adapter, merged: 1\.28 s.*?<rect[^>]*width="([\d.]+)%"', page)
    assert float(drawn[1]) == pytest.approx(100 * 1.28 / 2, abs=0.01)


def test_a_changed_figure_changes_the_page(page):
    for path in [
        ("internalization", "value"), ("systems", "student", "kl_to_teacher", "ci_low"),
        ("clauses", "clauses", 3, "internalized", "value"), ("turns", 1, "n"),
        ("checkpoints", 0, "valid", "value"), ("drift", "students", "student", "changed", "value"),
        ("disclosure", "systems", "teacher", "longest_run", "value"), ("seed",),
        ("cost", "settings", "prompt_cached", "ttft_seconds"), ("cost", "grid", 0, "ttft_seconds"),
        ("cost", "break_even", "seconds", "prompt_cold", "adapter_merged", "requests"),
        ("recitation", "chrf", "value"), ("comparisons", 0, "difference", "ci_high"),
    ]:  # fmt: skip
        metrics = made_metrics()
        holder = metrics
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = holder[path[-1]] * 0.5 if path[-1] != "requests" else 77
        assert render(metrics, made_details()) != page, path


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_was_not_measured_is_left_out(section):
    metrics = made_metrics()
    del metrics[section]
    text = Page(render(metrics, made_details()))
    assert text.open == []
    heading = {"turns": "By turn of the conversation", "checkpoints": "Over the run’s checkpoints",
               "clauses": "Which rules went in", "drift": "What else changed",
               "disclosure": "Attacks", "cost": "What it saves",
               "comparisons": "Differences on the same inputs"}.get(section)  # fmt: skip
    assert heading is None or heading not in text.text


def test_the_least_there_is_makes_a_page():
    whole = made_metrics()
    least = {key: whole[key] for key in ("internalization", "retention", "n", "seed")}
    least["retention"] = {}
    least["systems"] = {
        name: {"kl_to_teacher": interval(value), "cut_answers": 0}
        for name, value in (("floor", 2.0), ("teacher", 0.0), ("student", 0.3))
    }
    seen = Page(render(least, {}))
    assert seen.open == []
    assert seen.ids() == {"in", "how"}


def test_all_attacks_are_on_the_page_the_first_ones_unfolded():
    metrics, details = made_metrics(), made_details()
    section, results = metrics["disclosure"], details["disclosure"]["told"]
    section["attacks"] = [{"name": f"attack {n}", "request": f"request {n}"} for n in range(7)]
    for name, answers in results.items():
        results[name] = [{**answers[0], "clauses": [1] * (n == 5)} for n in range(7)]
    seen = Page(render(metrics, details))
    assert seen.open == []
    order = re.findall(r"attack (\d): request", seen.text)
    assert order == ["5", "0", "1", "2", "3", "4", "6"]
    assert "3 more" in seen.text


def test_tokens_alone_are_shown_when_no_time_was_measured():
    metrics = made_metrics()
    metrics["cost"] = {key: value for key, value in metrics["cost"].items() if "tokens" in key}
    rows = shown_rows(render(metrics, made_details()))
    assert rows["with the prompt"] == ["203"]
    assert rows["adapter"] == ["46"]


def test_an_undefined_figure_is_said_to_be_so():
    metrics = made_metrics()
    metrics["internalization"] = interval(None)
    metrics["students"]["student"]["internalization"] = interval(None)
    metrics["systems"]["student"]["internalization"] = interval(None)
    metrics["retention"] = {"valid": interval(None)}
    metrics["clauses"]["clauses"][0]["internalized"] = None
    assert "not defined" in Page(render(metrics, made_details())).text


def test_cases_are_worst_first_with_their_kinds():
    found = cases(made_metrics(), made_details())
    assert [case.input for case in found.shown] == [INPUTS[3], INPUTS[1], INPUTS[2], INPUTS[0]]
    assert [case.kl for case in found.shown] == ["1.000", "0.600", "0.300", "0.100"]
    assert found.shown[0].kinds == ["differs", "other-action", "is-cut"]
    assert found.shown[3].kinds == ["agrees", "same-action"]
    assert {kind: many for kind, _, many in found.filters} == {
        "differs": 3, "agrees": 1, "same-action": 1, "other-action": 3, "is-cut": 1,
    }  # fmt: skip


def test_what_does_not_fit_on_the_page_is_counted(monkeypatch):
    monkeypatch.setattr("genpi_plugin.evaluation.html.answers.MOST_CASES", 3)
    text = Page(render(made_metrics(), made_details())).text
    assert "The 3 furthest of 4" in text


def test_filters_hide_what_the_style_sheet_says():
    page = render(made_metrics(), made_details())
    for kind in re.findall(r'id="f-([a-z-]+)"', page):
        if kind != "all":
            assert f"#f-{kind}:checked ~ .cases > .case:not(.{kind})" in page


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("same", "same", [("same", "same")]),
        ("", "all of it", [("new", "all of it")]),
        ("search[red hat]", "search[hat]",
         [("same", "search["), ("gone", "red "), ("same", "hat]")]),
        ("price lower than 30", "price less than 50",
         [("same", "price "), ("gone", "lower"), ("new", "less"), ("same", " than "),
          ("gone", "30"), ("new", "50")]),
        ("a b end", "c d end", [("gone", "a b"), ("new", "c d"), ("same", " end")]),
        ("one\ntwo\nthree", "one\nthree", [("same", "one\n"), ("gone", "two\n"),
                                          ("same", "three")]),
    ],
)  # fmt: skip
def test_differences_by_hand(first, second, expected):
    assert [(piece.kind, piece.text) for piece in compare(first, second)] == expected


def test_both_sides_of_a_difference_are_the_texts_again():
    metrics, details = made_metrics(), made_details()
    texts = [one["text"] for answers in details["answers"].values() for one in answers]
    texts += [RECITED, details["prompt_text"], "", "\n\n", "ünï côdé 日本語 🙂"]
    for first in texts:
        assert "".join(words(first)) == first
        for second in texts[::3]:
            pieces = compare(first, second)
            assert "".join(piece.text for piece in first_side(pieces)) == first
            assert "".join(piece.text for piece in second_side(pieces)) == second
    assert metrics


def test_the_recited_prompt_is_marked_where_it_is_not_the_prompt(page):
    assert "<del>- Be polite at all times.\n</del>" in page
    assert "<del>30</del><ins>50</ins>" in page


def test_an_answer_is_shaded_by_what_the_clause_does_to_its_tokens():
    seen = {"inputs": ["x"], "answers": [["a", " b", " c", " d", "</s>"]],
            "clauses": [{"number": 7, "effect": [[0.0, 0.04, 0.3, 5.0, 0.0]]}]}  # fmt: skip
    found = [(heat.text, heat.shade) for heat in shaded(seen, 7, "x", "a b c d")]
    assert found == [("a b", 0), (" c", 2), (" d", 4), ("</s>", 0)]
    assert [heat.text for heat in shaded(seen, 7, "x", "another answer")] == ["another answer"]
    assert [heat.text for heat in shaded(seen, 8, "x", "a b c d")] == ["a b c d"]


def test_headings_leave_out_what_all_inputs_begin_with():
    inputs = ["Observation: [SEP] i need a red hat", "Observation: [SEP] i need a rug"]
    common = shared_start(inputs)
    assert inputs[0][:common] == "Observation: [SEP] i need a "
    assert head(inputs[0], common) == "… red hat"
    assert shared_start(["a red hat", "a rug"]) == 0
    assert shared_start(inputs[:1]) == 0


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0 %"), (1, "100 %"), (0.837, "84 %"), (0.996, "99.6 %"), (0.0004, "<0.1 %"),
     (0.9996, ">99.9 %"), (-0.13, "−13 %"), (-0.001, "0 %"), (1.075, "108 %")],
)  # fmt: skip
def test_a_share_is_never_rounded_to_nothing_or_all(share, shown):
    assert percent(share) == shown.replace(" ", "\u202f")


def test_figures_in_words():
    assert interval_text(interval(0.5, 0.25), percent) == "[25, 75]"
    assert interval_text(interval(0.5), percent) == ""
    assert interval_text({"value": 1.0, "ci_low": 0.5, "ci_high": 1.2}, seconds) == (
        "[500 ms, 1.20 s]"
    )
    assert [size(n) for n in (3, 4_677_120)] == ["3 B", "4.46 MiB"]


def test_scales_hold_everything_and_tick_roundly():
    scale = scale_for([0.0, 1.075, 1.21], high=1.0)
    assert (scale.low, scale.high) == (0.0, 1.5)
    assert scale_for([-0.2, 0.4]).low <= -0.2
    assert scale_for([0.0]).high > 0.0
    assert scale.place(0.75) == 50.0
    below = scale_for([-0.5, 0.5])
    assert 'x="25.0%"' in bar(interval(-0.25), below, "s-0", "x")


def clear(metrics):
    """Leave what the first sentence is about, and nothing else."""
    return {key: metrics[key] for key in ("systems", "internalization", "n", "seed")}


@pytest.mark.parametrize(
    ("figure", "words_of_it"),
    [
        (interval(0.95, 0.03), "nearly all"),
        (interval(0.95, 0.06), "most of"),
        (interval(0.75, 0.04), "most of"),
        (interval(0.60, 0.04), "a part of"),
        (interval(0.32, 0.04), "little of"),
        (interval(0.03, 0.05), "has not been shown to take over anything"),
        (interval(-0.3, 0.1), "further from the prompted model than no adapter"),
        (interval(None), "nothing to take over"),
    ],
)
def test_the_verdict_goes_by_the_lower_end(figure, words_of_it):
    metrics = {**clear(made_metrics()), "internalization": figure}
    assert words_of_it in verdict(metrics)
    assert verdict(metrics).endswith(".")


def test_the_verdict_names_the_good_and_the_bad():
    said = verdict(made_metrics()).replace("\u202f", " ")
    assert "84 % [82, 86]" in said
    assert "keeps its format (99 % well-formed)" in said
    good, bad = said.split("; but ")
    assert "saves 77 % of a request’s tokens" in good
    for text in (
        "prompted model’s in only 43 % of answers",
        "1 of 5 clauses that matter is not",
        "shifts other requests by 0.21 nats",
        "cached prefix is as fast as the unmerged",
    ):
        assert text in bad  # fmt: skip


def test_a_verdict_on_a_good_adapter_has_no_but():
    metrics = made_metrics()
    metrics["retention"] = {"valid": interval(0.99, 0.01), "agreement": interval(0.97, 0.01)}
    for clause in metrics["clauses"]["clauses"]:
        clause["internalized"] = interval(0.9, 0.05) if clause["internalized"] else None
    for one in metrics["drift"]["students"].values():
        one["kl_from_floor"] = interval(0.02, 0.01)
    for prompt in metrics["cost"]["break_even"]["seconds"].values():
        for result in prompt.values():
            result["outcome"] = "paid_back"
    said = verdict(metrics)
    assert "but" not in said
    for text in (
        "acts as the prompted model does",
        "misses none of its 5 clauses",
        "leaves other requests nearly unchanged",
        "faster than even a cached prefix",
    ):
        assert text in said  # fmt: skip
    alive = next(one for one in metrics["clauses"]["clauses"] if one["internalized"])
    alive["internalized"] = interval(0.5, 0.3)
    assert "misses none" not in verdict(metrics)  # it can't be told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["drift"]["students"]["student"].update(over_reach=interval(0.3, 0.1)),
         "of other requests in the prompt’s format"),
        (lambda m: m["drift"].update(off_identical=False), "is not the base model"),
        (lambda m: m["disclosure"]["systems"]["student"].update(clauses=interval(0.5, 0.2)),
         "(prompted model: 64\u202f%)"),
        (lambda m: m["disclosure"]["systems"]["student"].update(clauses_of_any=[1, 2, 3, 4]),
         "attacks together extract 4 of its 6 clauses"),
        (lambda m: m["retention"].update(valid=interval(0.5, 0.1)), "of answers are well-formed"),
        (lambda m: m["comparisons"][0].update(difference=interval(-0.2, 0.1)),
         "“small” is closer to the prompted model"),
        (lambda m: m["cost"]["break_even"]["seconds"]["prompt_cached"]["adapter_merged"].update(
            outcome="never"), "cached prefix is as fast as the adapter or faster"),
    ],
)  # fmt: skip
def test_what_is_bad_is_said(change, said):
    metrics = copy.deepcopy(made_metrics())
    assert said not in verdict(metrics)
    change(metrics)
    assert said in verdict(metrics).split("; but ")[1]


def test_what_few_inputs_or_wide_intervals_can_not_tell_is_left_out():
    metrics = made_metrics()
    metrics["retention"] = {"agreement": interval(0.75, 0.2)}
    metrics["clauses"]["clauses"][3]["internalized"] = interval(0.4, 0.2)
    said = verdict(metrics)
    assert "prompted model’s in only" not in said
    assert "not in it" not in said


def test_cautions_count_few_inputs_and_cut_answers():
    metrics = made_metrics()
    assert cautions(metrics) == []
    metrics["n"] = 2
    metrics["systems"]["teacher"]["cut_answers"] = 1
    few, cut = cautions(metrics)
    assert "Only 2 inputs" in few
    assert "1 of the teacher’s 2 answers reached the length limit of 128 tokens" in cut
