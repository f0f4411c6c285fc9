"""The speed figures, on tiny parts: the commands run, and what is printed is what was measured."""

import time

import pytest

from text2latent.benchmarks.report import read_parts
from text2latent.benchmarks.speed import BY_DEFAULT, PARTS, START_RATIO, main


def figures(tmp_path, *arguments: str) -> dict[str, float]:
    file = tmp_path / "figures.json"
    assert main(["--json", str(file), "--device", "cpu", *arguments]) == 0
    return {figure.name: figure.value for part in read_parts(file).values() for figure in part["figures"]}


def test_renderer_and_warm_images(tmp_path, tiny_model):
    flags = ("--only", "renderer", "--only", "infer", "--model", str(tiny_model), "--num-renders", "20")
    started = time.perf_counter()
    measured = figures(tmp_path, *flags, "--repeats", "4")
    spent = time.perf_counter() - started
    assert 20 / spent < measured["renderer, one core"] < 20_000
    assert 0 < measured["one image, warm"] < 1000 * spent / 4


def test_new_process_and_its_imports(tmp_path, tiny_model):
    flags = ("--only", "process", "--only", "imports", "--model", str(tiny_model), "--processes", "1")
    started = time.perf_counter()
    measured = figures(tmp_path, *flags)
    assert 0 < measured["infer.py, new process"] < time.perf_counter() - started
    assert 0 < measured[START_RATIO] < 20
    assert 0.05 < measured["infer.py, memory"] < 8
    assert 0 < measured["imports: torch"] < measured["infer.py, all imports"]


@pytest.mark.slow
def test_pairs(tmp_path, tiny_world):
    measured = figures(tmp_path, "--only", "sample", "--world", str(tiny_world), "--num-pairs", "4000")
    assert measured["sample.py, start not counted"] > measured["sample.py, 4000 pairs with its start"] > 0


def test_failing_command_is_one_line(tmp_path, capsys):
    assert main(["--only", "process", "--model", str(tmp_path / "nothing")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "exit code 2" in error


def test_long_parts_are_measured_on_request_only():
    assert set(PARTS) - set(BY_DEFAULT) == {"demo", "test"}
