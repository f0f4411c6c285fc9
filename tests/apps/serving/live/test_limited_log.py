"""The log of what others send: the first lines of a flood, and one that says there is more."""

from __future__ import annotations

import pytest

from text2latent.apps.serving.live.limited_log import LimitedLog


def test_a_flood_is_a_few_lines_and_later_ones_are_seen_again() -> None:
    now, lines = 0.0, list[str]()
    log = LimitedLog(lines=2, seconds=10, clock=lambda: now, write=lines.append)
    for number in range(1000):
        log.warn(f"number {number}")
    warning = "text2latent serve: warning:"
    flood = [f"{warning} number 0", f"{warning} number 1", f"{warning} further lines are left out for 10 s"]
    assert lines == flood
    now = 10.0
    log.warn("later")
    assert lines == [*flood, f"{warning} later"]


def test_it_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    LimitedLog().warn("osc: no")
    assert capsys.readouterr() == ("", "text2latent serve: warning: osc: no\n")
