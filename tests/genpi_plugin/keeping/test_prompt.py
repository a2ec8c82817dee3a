"""The prompt that `keep: teacher` reads before requests, noted with the training rows."""

from __future__ import annotations

import pytest

from genpi_plugin.data.rows import parse
from genpi_plugin.errors import ConfigError, GenPIError
from genpi_plugin.keeping.prompt import record_prompt, recorded_prompt
from tests.genpi_plugin.rows_made import PROMPT, our_row

ASKED = [{"role": "user", "content": "What is the time?"}]


def rows(*changes):
    return [parse(our_row(id=f"r{n}", **one), "w") for n, one in enumerate(changes)]


def test_the_teacher_reads_the_prompt_before_a_request(tmp_path):
    record_prompt(str(tmp_path), rows({}, {}))
    record_prompt(str(tmp_path), rows({}))  # another dataset of the same prompt
    prompt = recorded_prompt(str(tmp_path))
    assert prompt.student_request(0, ASKED) == ASKED
    assert prompt.teacher_request(0, ASKED) == [*PROMPT, *ASKED]


def test_slots_take_the_values_of_rows_in_turn(tmp_path):
    text = [{"role": "system", "content": "Serve {{ name }}."}]

    def of(name):
        kept = [{"role": "system", "content": f"name: {name}"}]
        return {"prompt": text, "slots": {"name": name}, "kept": kept}

    record_prompt(str(tmp_path), rows(of("Ada"), of("Bob"), of("Ada")))
    prompt = recorded_prompt(str(tmp_path))
    told = [prompt.teacher_request(number, ASKED)[0]["content"] for number in range(3)]
    assert told == ["Serve Ada.", "Serve Bob.", "Serve Ada."]
    assert prompt.student_request(1, ASKED) == [{"role": "system", "content": "name: Bob"}, *ASKED]


def test_several_prompts_are_refused_by_name(tmp_path):
    other = {"prompt_id": "travel", "prompt": [{"role": "system", "content": "Book trips."}]}
    with pytest.raises(ConfigError, match=r"(?s)one prompt.*2 \(shop, travel\).*`keep: floor`"):
        record_prompt(str(tmp_path), rows({}, other))
    record_prompt(str(tmp_path), rows({}))
    with pytest.raises(ConfigError, match="shop, travel"):
        record_prompt(str(tmp_path), rows(other))


def test_a_folder_without_its_prompt_is_refused(tmp_path):
    with pytest.raises(GenPIError, match=r"(?s)not their prompt.*remove the folder"):
        recorded_prompt(str(tmp_path))
