"""Which steps are on policy, and which of them share the student's answers."""

from __future__ import annotations

import pytest

from genpi_plugin.on_policy.schedule import Schedule


def test_windows_end_with_an_epoch_and_cover_each_step_once():
    schedule = Schedule.of(epochs=1.5, refresh=6, last=30, per_epoch=10)
    assert schedule.first == 15
    assert all(schedule.window(step) is None for step in range(15))
    windows = [schedule.window(step) for step in range(15, 30)]
    assert list(dict.fromkeys(windows)) == [
        range(15, 20), range(20, 21), range(21, 27), range(27, 30)
    ]  # fmt: skip
    assert all(step in window for step, window in enumerate(windows, start=15))


@pytest.mark.parametrize(
    ("epochs", "last", "per_epoch", "first"),
    [
        (1, 30, 10, 20),
        (3, 30, 10, 0),
        (0.01, 30, 10, 29),  # at least one step
        (0.25, 30, 10, 27),  # two and a half steps are three
        (0.3, 30, 10, 27),  # rounding of a float is no further step
        (2, 15, 10, 0),  # `max_steps` ends the run earlier
    ],
)
def test_the_last_epochs_are_on_policy(epochs, last, per_epoch, first):
    assert Schedule.of(epochs, 4, last, per_epoch).first == first
