"""Ranges and the argument types made from them."""

import argparse
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2latent.common import constraints
from text2latent.common.constraints import Filled, Range


@given(st.floats(), st.floats(-10, 10), st.floats(-10, 10))
def test_range_is_the_intersection_of_its_bounds(value, low, high):
    inside = math.isfinite(value) and low < value <= high
    assert Range(above=low, at_most=high).allows(value) == inside


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", None])
def test_range_without_bounds_wants_a_finite_number(value):
    assert not Range().allows(value)


def test_open_and_closed_ends_differ():
    assert Range(at_least=0, below=1).allows(0)
    assert not Range(at_least=0, below=1).allows(1)
    assert not Range(above=0, at_most=1).allows(0)
    assert Range(above=0, at_most=1).allows(1)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Range(), ""),
        (Range(above=0), "> 0"),
        (Range(at_least=0, at_most=1), ">= 0 and <= 1"),
        (Range(at_least=0, below=2**63), ">= 0 and < 2^63"),
    ],
)
def test_range_is_put_into_words(bounds, words):
    assert bounds.describe() == words


@pytest.mark.parametrize(("text", "allowed"), [("a", True), ("", False), (" \t\n", False), ("　", False), (3, False)])
def test_filled_refuses_blank_text(text, allowed):
    assert Filled().allows(text) == allowed


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("positive_int", "12", 12),
        ("non_negative_int", "0", 0),
        ("seed", str(2**63 - 1), 2**63 - 1),
        ("finite_float", "-2.5e-3", -0.0025),
        ("positive_float", "1", 1.0),
        ("non_negative_float", "0", 0.0),
        ("unit_interval", "0.7", 0.7),
        ("positive_int", 12, 12),
    ],
)
def test_argument_types_read_values(name, text, value):
    parsed = getattr(constraints, name)(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("positive_int", "0"),
        ("positive_int", "-3"),
        ("positive_int", "2.0"),
        ("positive_int", "many"),
        ("positive_int", ""),
        ("non_negative_int", "-1"),
        ("seed", str(2**63)),
        ("finite_float", "nan"),
        ("finite_float", "inf"),
        ("positive_float", "0"),
        ("positive_float", "nan"),
        ("non_negative_float", "-inf"),
        ("unit_interval", "1.01"),
        ("unit_interval", "half"),
    ],
)
def test_argument_types_refuse_and_say_what_was_expected(name, text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"^expected .* number.*, got") as error:
        getattr(constraints, name)(text)
    assert repr(text) in str(error.value)


def test_long_values_are_cut_in_messages():
    with pytest.raises(argparse.ArgumentTypeError) as error:
        constraints.positive_int("9" * 4000 + "x")
    assert len(str(error.value)) < 150
