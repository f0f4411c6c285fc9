"""Every mistake of a configuration is reported, with its key, its value and what was expected."""

import math
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2latent.common.constraints import FilledText, Fraction, PositiveFloat, PositiveInt
from text2latent.common.errors import InputError, UsageError
from text2latent.common.validation import (
    Given,
    check_arguments,
    expectation,
    find_mistake,
    leaves,
    option_name,
    read_yaml,
    required,
    spell_out,
)


@dataclass(frozen=True)
class Optimizer:
    """An optimizer.

    Args:
        lr: Rate.
        betas: Decays.
        schedule: Shape.
    """

    lr: PositiveFloat = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    schedule: Literal["cosine", "constant"] = "cosine"


@dataclass(frozen=True)
class Run:
    """A run.

    Args:
        output: Folder.
        steps: Steps.
        minutes: Limit.
        prompts: Texts.
        keep_all: Keep.
        cached: Cache.
        optimizer: Section.
    """

    output: FilledText
    steps: PositiveInt = 10
    minutes: PositiveFloat | None = None
    prompts: list[FilledText] = field(default_factory=list)
    keep_all: bool = False
    cached: bool | None = None
    optimizer: Optimizer = field(default_factory=Optimizer)


def mistakes(*arguments: str) -> list[str]:
    try:
        check_arguments(spell_out(arguments, Run), Run)
    except UsageError as error:
        return str(error).split("\n  ")
    return []


def test_leaves_are_the_dotted_keys():
    keys = ["output", "steps", "minutes", "prompts", "keep_all", "cached"]
    assert list(leaves(Run)) == [*keys, "optimizer.lr", "optimizer.betas", "optimizer.schedule"]
    assert required(Run) == ["output"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--output", "o"],
        ["--output=o", "--steps=3", "--minutes", "null"],
        ["--output", "o", "--optimizer.lr", "1e-4", "--optimizer.betas", "[0.5, 0.9]"],
        ["--output", "o", "--prompts", "[a, 眼鏡]", "--prompts+", "b"],
        ["--output", "o", "--keep-all", "--cached", "null"],
        ["--output", "o", "--optimizer", "{lr: 2.0}"],
    ],
)
def test_right_arguments_pass(arguments):
    assert mistakes(*arguments) == []


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("steps", "0", "a whole number >= 1"),
        ("steps", "1.5", "a whole number >= 1"),
        ("steps", "true", "a whole number >= 1"),
        ("minutes", "-1", "a finite number > 0 or null"),
        ("minutes", ".nan", "a finite number > 0 or null"),
        ("minutes", ".inf", "a finite number > 0 or null"),
        ("optimizer.lr", "nan", "a finite number > 0"),
        ("optimizer.lr", "fast", "a finite number > 0"),
        ("optimizer.betas", "[0.9]", "a list of 2 finite numbers >= 0 and < 1"),
        ("optimizer.betas", "[0.9, 1]", "a list of 2 finite numbers >= 0 and < 1"),
        ("optimizer.schedule", "linear", "one of cosine, constant"),
        ("prompts", "[a, '']", "a list of texts other than blank"),
        ("keep_all", "perhaps", "true or false"),
        ("output", " ", "text other than blank"),
    ],
)
def test_each_mistake_names_key_value_and_expectation(key, value, wanted):
    assert find_mistake(Given(key, value, f"--{key}"), leaves(Run)) == f"--{key}: expected {wanted}, got {value!r}"
    assert expectation(leaves(Run)[key]) == wanted


def test_all_mistakes_of_file_and_flags_come_at_once(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("steps: -1\nstep: 3\noptimizer:\n  lr: 0\n  betas: [0.9, 2]\n")
    found = mistakes("--config", str(path), "--keep-all", "maybe", "--optimizer.lrate", "1", "--minutes")
    assert found == [
        "8 mistakes",
        f"{path}: steps: expected a whole number >= 1, got -1",
        f"{path}: step: unknown key, did you mean steps?; got 3",
        f"{path}: optimizer.lr: expected a finite number > 0, got 0",
        f"{path}: optimizer.betas: expected a list of 2 finite numbers >= 0 and < 1, got [0.9, 2]",
        "--keep-all: expected true or false, got 'maybe'",
        "--optimizer.lrate: unknown key, did you mean optimizer.lr?; got '1'",
        "--minutes: expected a finite number > 0 or null, got nothing",
        "--output: missing, expected text other than blank",
    ]


def test_a_file_may_give_what_is_required(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("output: o\n")
    assert mistakes("--config", str(path)) == []


def test_a_section_may_be_a_file_of_its_own(tmp_path):
    path = tmp_path / "optimizer.yaml"
    path.write_text("lr: -1\n")
    assert mistakes("--output", "o", "--optimizer", str(path)) == [
        f"{path}: optimizer.lr: expected a finite number > 0, got -1"
    ]


def test_a_section_wants_keys(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("output: o\noptimizer: 3\n")
    assert mistakes("--config", str(path)) == [f"{path}: optimizer: expected a section of keys and values, got 3"]


def test_words_without_dashes_are_refused():
    assert mistakes("--output", "o", "more") == ["unexpected argument 'more'; expected flags such as --output"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a: [1", "expected YAML"), ("- 1\n- 2\n", "expected keys and values"), ("", "expected keys and values")],
)
def test_broken_yaml_is_an_input_error_of_one_line(tmp_path, text, reason):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=reason) as error:
        read_yaml(str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 1


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00bad"])
def test_unreadable_yaml_is_an_input_error(tmp_path, content):
    path = tmp_path / "run.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*run\.yaml.*expected a YAML file"):
        read_yaml(str(path))


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_rate_is_right_exactly_when_positive_and_finite(value):
    right = math.isfinite(value) and value > 0
    assert (find_mistake(Given("optimizer.lr", value, "--lr"), leaves(Run)) is None) == right


@given(st.integers(-(2**40), 2**40))
def test_a_count_is_right_exactly_when_positive(value):
    for form in (value, str(value)):
        assert (find_mistake(Given("steps", form, "--steps"), leaves(Run)) is None) == (value >= 1)


def test_spelling_gives_booleans_a_value_and_words_underscores():
    spelled = spell_out(["--keep-all", "--optimizer.lr", "1", "--keep-all", "false", "--output=a-b", "--cached"], Run)
    expected = ["--keep_all=true", "--optimizer.lr", "1", "--keep_all", "false", "--output=a-b", "--cached"]
    assert spelled == expected


def test_option_names_have_dashes_and_values_keep_theirs():
    text = "--data.batch_size BATCH_SIZE of a_b"
    assert option_name(text) == "--data.batch-size BATCH_SIZE of a_b"
