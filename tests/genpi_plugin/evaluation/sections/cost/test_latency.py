"""Times of the settings in this process."""

from __future__ import annotations

from genpi_plugin.evaluation.sections.cost.latency import measure_in_process
from tests.genpi_plugin.evaluation.sections.cost.cost_made import (
    USER,
)


def test_in_process_requests_are_the_subjects_own(subjects):
    teacher, floor, student = subjects
    seen = measure_in_process(teacher, floor, student, {1: USER}, 3, lambda n: None, repeats=2)
    for run in seen.runs:
        subject = teacher if run.setting.startswith("prompt") else floor
        assert run.request_tokens == len(subject.request(USER))
        assert len(run.ttft_seconds) == len(run.latency_seconds) == 2
