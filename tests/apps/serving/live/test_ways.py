"""Ways: they begin and end where they should, never jump, and depend on time alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from text2latent.apps.serving.live.ways import MOST_LEGS, SAME_SHARE, Way, along_line, along_sphere

NUMBERS = st.floats(-10, 10)
SECONDS = st.floats(0.01, 10)
SHARES = st.floats(0, 1)
TURNS = st.lists(st.tuples(NUMBERS, st.floats(0, 3), st.one_of(st.just(0.0), SECONDS)), max_size=12)
"""Targets, the time since the turn before, and how long each takes."""
UNITS = st.integers(0, 2**32 - 1).map(
    lambda seed: normalize(torch.randn(16, generator=torch.Generator().manual_seed(seed)), dim=0)
)
STEEPEST = 1.5
"""Greatest slope of smoothstep."""


def walked(start: float, turns: list[tuple[float, float, float]]) -> tuple[Way[float], float]:
    way, now = Way.at_rest(start, along_line), 0.0
    for target, pause, seconds in turns:
        now += pause
        way = way.turn(target, now, seconds)
    return way, now


@given(NUMBERS, TURNS, NUMBERS, SECONDS)
def test_a_turn_begins_where_the_way_is_and_ends_at_its_target(start, turns, target, seconds) -> None:
    way, now = walked(start, turns)
    turned = way.turn(target, now + 0.5, seconds)
    # A target that comes hardly after another one takes its place, which moves by less than a sight.
    assert turned.at(now + 0.5) == pytest.approx(way.at(now + 0.5), abs=20 * 3 * SAME_SHARE**2 + 1e-9)
    late = now + 0.5 + seconds + 1e-6
    assert turned.at(late + SAME_SHARE * seconds) == target
    assert not turned.is_moving(late + SAME_SHARE * seconds)


@given(NUMBERS, NUMBERS, SECONDS, SHARES)
def test_one_leg_is_a_smoothstep(start, target, seconds, share) -> None:
    way = Way.at_rest(start, along_line).turn(target, 0.0, seconds)
    expected = np.interp(share, [0, 1], [0, 1]) ** 2 * (3 - 2 * share)
    assert way.at(share * seconds) == pytest.approx(start + (target - start) * expected, abs=1e-6)


@given(NUMBERS, TURNS, st.floats(0, 3), st.floats(0, 0.02))
def test_values_never_jump(start, turns, after, step) -> None:
    slow = [(target, pause, max(seconds, 1.0)) for target, pause, seconds in turns]
    way, now = walked(start, slow)
    legs = len(way.legs)
    difference = abs(way.at(now + after + step) - way.at(now + after))
    assert difference <= 20 * STEEPEST * step * legs + 1e-9


@given(NUMBERS, TURNS, st.lists(st.floats(0, 5), max_size=5))
def test_values_depend_on_time_and_not_on_who_looks(start, turns, looks) -> None:
    way, now = walked(start, turns)
    seen = [way.at(now + look) for look in looks]
    assert [way.at(now + look) for look in reversed(looks)] == seen[::-1]
    targets = [start, *(target for target, _, _ in turns)]
    assert all(min(targets) - 1e-9 <= value <= max(targets) + 1e-9 for value in seen)


def test_a_target_at_once_is_there_at_once() -> None:
    way = Way.at_rest(0.0, along_line).turn(1.0, 0.0, 5.0).turn(7.0, 1.0, 0.0)
    assert (way.at(1.0), way.is_moving(1.0)) == (7.0, False)


@pytest.mark.parametrize("rate", [10, 60, 1000, 100_000])
def test_a_slider_that_sends_all_the_time_is_followed(rate: int) -> None:
    """It rises by 1 a second; what follows it comes along, whatever the rate, and remembers few legs."""
    way = Way.at_rest(0.0, along_line)
    count = min(2 * rate, 3000)
    for number in range(count):
        way = way.turn(number / rate, number / rate, 1.0)
    end = (count - 1) / rate
    assert len(way.legs) <= 1 / SAME_SHARE + 2 < MOST_LEGS
    if end > 1.5:
        assert end - 0.5 < way.at(end) <= end


@given(UNITS, UNITS, SHARES)
def test_a_sphere_is_kept(start, end, share) -> None:
    assume(abs(float(start @ end)) < 0.99)
    point = along_sphere(start, end, share)
    assert float(point.norm()) == pytest.approx(1, abs=1e-5)
    angle = torch.arccos(start @ end)
    assert float(torch.arccos((point @ start).clamp(-1, 1))) == pytest.approx(float(share * angle), abs=2e-3)


@given(UNITS, UNITS, st.floats(0.5, 3), st.floats(0.5, 3), SHARES)
def test_lengths_go_from_one_to_the_other(start, end, first, second, share) -> None:
    assume(abs(float(start @ end)) < 0.99)
    point = along_sphere((first * start).view(4, 4), (second * end).view(4, 4), share)
    assert point.shape == (4, 4)
    assert float(point.norm()) == pytest.approx(first + share * (second - first), rel=1e-4)


@given(UNITS, UNITS, UNITS, SHARES, SHARES)
def test_a_way_of_many_targets_stays_on_the_sphere(one, two, three, early, late) -> None:
    assume(max(abs(float(a @ b)) for a, b in ((one, two), (one, three), (two, three))) < 0.9)
    way = Way.at_rest(one, along_sphere).turn(two, 0.0, 2.0)
    turned = way.turn(three, 2 * early, 2.0)
    assert float((turned.at(2 * early) - way.at(2 * early)).norm()) < 0.01
    assert float(turned.at(2 * early + 2 * late).norm()) == pytest.approx(1, abs=1e-4)
    assert torch.equal(turned.at(10.0), three)
