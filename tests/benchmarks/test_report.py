"""Figures: their verdicts, how they are printed, and how they are kept."""

import importlib
import json
import os
from argparse import Namespace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2latent import benchmarks
from text2latent.benchmarks.report import (
    Figure,
    add_report_flags,
    keep_part,
    machine,
    measure_parts,
    read_parts,
    scores,
    table,
)
from text2latent.common.command import CommandParser
from text2latent.common.errors import InputError, UsageError

ROOT = Path(benchmarks.__file__).parents[1]
SCRIPTS = [
    path
    for path in sorted(Path(benchmarks.__file__).parent.rglob("*.py"))
    if "def build_parser(" in path.read_text(encoding="utf-8")
]
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(FINITE, FINITE)
def test_a_figure_is_ok_on_one_side_of_its_target(value, target):
    least = Figure("x", value, target=target).verdict
    most = Figure("x", value, target=target, at_most=True).verdict
    assert (least == "ok") == (value >= target)
    assert {least, most} == ({"ok"} if value == target else {"ok", "short"})


def test_what_could_not_be_measured_is_short():
    assert Figure("x", float("nan"), target=0.5).verdict == "short"
    assert Figure("x", float("nan"), target=0.5, at_most=True).verdict == "short"


def test_without_a_target_there_is_no_verdict():
    assert (Figure("x", 1.0).verdict, Figure("x", 1.0).goal) == ("", "")


def test_table_shows_value_target_and_verdict_in_columns():
    figures = [Figure("a", 0.98765, target=0.9), Figure("long name", 1234.5, "images/s", 300), Figure("b", 1.25, "s")]
    assert table("part", figures).splitlines() == [
        "part",
        "  a          0.988           >= 0.900         ok",
        "  long name  1,234 images/s  >= 300 images/s  ok",
        "  b          1.25 s",
    ]


def test_scores_sum_up_to_mean_and_lowest():
    mean, lowest, *each = scores("accuracy", {"age": 0.5, "hat": 1.0, "skin": 0.9}, mean=0.85, each=0.6)
    assert (mean.value, mean.verdict) == (pytest.approx(0.8), "short")
    assert (lowest.name, lowest.value, lowest.verdict) == ("accuracy, lowest (age)", 0.5, "short")
    assert [(figure.value, figure.verdict, figure.detail) for figure in each] == [
        (0.5, "short", True),
        (1.0, "ok", True),
        (0.9, "ok", True),
    ]


def a_parser() -> CommandParser:
    parser = CommandParser("x")
    parser.prog = "benchmarks/x.py"
    parser.add_argument("--num-images", type=int, default=4)
    add_report_flags(parser, ("one", "two"))
    return parser


def measured(*arguments: str, parts=None, default=None) -> None:
    parser = a_parser()
    known = {"one": lambda config: [Figure("a", config.num_images)], "two": lambda config: [Figure("b", 2.0)]}
    measure_parts(parts or known, parser, parser.parse(arguments), default)


def test_all_parts_are_measured_and_kept_with_their_commands(tmp_path, capsys):
    file = tmp_path / "new" / "figures.json"
    measured("--num-images", "7", "--json", str(file))
    assert capsys.readouterr().out == "one\n  a  7.000\ntwo\n  b  2.000\n"
    parts = read_parts(file)
    assert [(name, part["figures"]) for name, part in parts.items()] == [
        ("one", [Figure("a", 7)]),
        ("two", [Figure("b", 2.0)]),
    ]
    assert parts["one"]["command"] == "python benchmarks/x.py --only one --num-images 7"
    assert parts["one"]["machine"] == machine()


def test_measuring_one_part_again_keeps_the_others(tmp_path):
    file = tmp_path / "figures.json"
    measured("--json", str(file))
    measured("--json", str(file), "--only", "one", "--num-images", "9")
    assert {name: part["figures"][0].value for name, part in read_parts(file).items()} == {"one": 9, "two": 2.0}


def test_an_interruption_keeps_the_parts_before(tmp_path):
    def interrupt(config: Namespace) -> list[Figure]:
        raise KeyboardInterrupt

    file = tmp_path / "figures.json"
    with pytest.raises(KeyboardInterrupt):
        measured("--json", str(file), parts={"one": lambda config: [Figure("a", 1.0)], "two": interrupt})
    assert list(read_parts(file)) == ["one"]
    assert os.listdir(tmp_path) == ["figures.json"]


def test_default_parts_and_chosen_parts(capsys):
    measured(default=["two"])
    assert capsys.readouterr().out.splitlines()[0] == "two"
    measured("--only", "one", default=["two"])
    assert capsys.readouterr().out.splitlines()[0] == "one"


def test_unknown_part_is_refused_before_any_work(capsys):
    with pytest.raises(UsageError, match="--only: expected one of one, two, got 'three'"):
        measured("--only", "one", "--only", "three")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", ["", "[]", '{"parts": 1}', '{"parts": {"one": {}}}', "picture"])
def test_foreign_file_is_refused_before_any_work_and_stays(tmp_path, capsys, content):
    file = tmp_path / "figures.json"
    file.write_text(content)
    with pytest.raises(InputError, match="expected figures"):
        measured("--json", str(file))
    assert file.read_text() == content
    assert capsys.readouterr().out == ""


def test_kept_figures_are_plain_json(tmp_path):
    keep_part(tmp_path / "f.json", "one", "python x", [Figure("a", 0.5, "s", 1.0, True, True)])
    [kept] = json.loads((tmp_path / "f.json").read_text())["parts"]["one"]["figures"]
    assert kept == {"name": "a", "value": 0.5, "unit": "s", "target": 1.0, "at_most": True, "detail": True}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_called_as_its_file_so_that_printed_commands_run(path):
    module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts[1:])
    assert importlib.import_module(f"text2latent.{module}").build_parser().prog == path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [path for path in SCRIPTS if "run_parts(" in path.read_text(encoding="utf-8")])
def test_a_script_refuses_a_part_that_it_has_not(path, capsys):
    module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts[1:])
    assert importlib.import_module(f"text2latent.{module}").main(["--only", "nothing"]) == 2
    assert "--only: expected one of" in capsys.readouterr().err
