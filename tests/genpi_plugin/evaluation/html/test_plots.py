"""Scales of the plots."""

from __future__ import annotations

from genpi_plugin.evaluation.html.plots import bar, scale_for
from tests.genpi_plugin.evaluation.report_made import (
    interval,
)


def test_scales_hold_everything_and_tick_roundly():
    scale = scale_for([0.0, 1.075, 1.21], high=1.0)
    assert (scale.low, scale.high) == (0.0, 1.5)
    assert scale_for([-0.2, 0.4]).low <= -0.2
    assert scale_for([0.0]).high > 0.0
    assert scale.place(0.75) == 50.0
    below = scale_for([-0.5, 0.5])
    assert 'x="25.0%"' in bar(interval(-0.25), below, "s-0", "x")
