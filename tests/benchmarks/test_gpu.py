"""The measurement of a GPU, at small sizes on the CPU; and the wheels that it needs beside torch."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from text2latent.benchmarks import gpu
from text2latent.benchmarks.gpu import MODES, PARTS, build_parser, figures_of_tests, main
from text2latent.benchmarks.gpu_networks import OURS, PAPER, REAL, TINY, build_prior, recipe
from text2latent.benchmarks.gpu_timing import Clock, timed
from text2latent.benchmarks.report import Figure, read_parts

ROOT = Path(gpu.__file__).resolve().parents[1]
WHEELS = ROOT / "benchmarks" / "gpu_wheels.txt"
QUICK = ("--size", "tiny", "--device", "cpu", "--repeats", "1", "--seconds", "300")
CPU = torch.device("cpu")


def figures(file: Path, *flags: str) -> dict[str, Figure]:
    assert main(["--json", str(file), *QUICK, *flags]) == 0
    return {figure.name: figure for part in read_parts(file).values() for figure in part["figures"]}


def test_pictures_in_each_mode_that_a_cpu_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = figures(tmp_path / "gpu.json", "--only", "stylegan2", "--only", "correctness")
    for mode in ("float32", "bf16", "float16 in the last layers"):
        for count in TINY.batches:
            p50, p95 = (measured[f"{mode}, {count} at once: {name}"].value for name in ("p50", "p95"))
            assert 0 < p50 <= p95
            rate = measured[f"{mode}, {count} at once: rate"].value
            assert rate == pytest.approx(count / p50 * 1000)
        parts = [measured[f"{mode}, 1 at once: {part}"].value for part in ("text", "prior", "generator", "to the CPU")]
        assert measured[f"{mode}, 1 at once: share of the prior"].value == pytest.approx(parts[1] / sum(parts))
    assert all(figure.target is None for figure in measured.values()), "targets are those of a GPU"
    printed = capsys.readouterr().out.splitlines()
    assert len([line for line in printed if "are measured on CUDA devices" in line]) == 1
    assert "  omitted: correctness: tests/test_cuda.py needs a CUDA device" in printed


def test_the_paper_is_measured_beside_ours_and_a_million_is_told(tmp_path: Path) -> None:
    measured = figures(tmp_path / "gpu.json", "--only", "baseline", "--only", "sampling", "--only", "training")
    for steps in TINY.paper_steps:
        what = f"the paper's transformer, {steps} steps, float32"
        ours = measured["ours, 8 steps, float32: p50"].value
        assert measured[f"{what}: time of a picture over ours"].value == pytest.approx(
            measured[f"{what}: p50"].value / ours
        )
    for way in ("float32", "bf16"):
        rate = measured[f"{way}: pairs per second"].value
        assert measured[f"{way}: a million pairs"].value == pytest.approx(1e6 / rate / 3600)
        shares = [figure.value for name, figure in measured.items() if name.startswith(f"{way}: share of")]
        assert sum(shares) == pytest.approx(1)
    for name in ("ours", "the paper's size"):
        for batch in TINY.trained:
            steps = measured[f"{name}, batch of {batch}: steps per second"].value
            assert steps > 0
            assert measured[f"{name}, batch of {batch}: pairs per second"].value == pytest.approx(steps * batch)


def test_what_is_long_is_cut_short_and_the_rest_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    file = tmp_path / "gpu.json"
    assert main(["--json", str(file), *QUICK[:-1], "0.001", "--only", "training"]) == 0
    assert capsys.readouterr().out.count("cut short: training") == 2 * len(TINY.trained)
    assert read_parts(file) == {}
    assert time.monotonic() - started < 60


def test_a_clock_knows_what_it_has_time_for() -> None:
    clock = Clock(10)
    assert clock.has_time_for("an image", 64)
    clock.note("an image", 1.0, 0.02)
    assert clock.has_time_for("an image", 64), "a second to start, and four times 1.28 s"
    assert not clock.has_time_for("an image", 128)
    assert not Clock(0).has_time_for("anything", 1)
    seconds, first = timed(lambda: time.sleep(0.01), CPU, 50, Clock(0))
    assert len(seconds) == 3
    assert min(first, *seconds) >= 0.01


def test_a_part_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(config: object, clock: object) -> object:
        yield Figure("before", 1.0)
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setitem(PARTS, "vit-l", (breaks, 1.0))
    measured = figures(tmp_path / "gpu.json", "--only", "vit-l", "--only", "correctness")
    assert list(measured) == ["before"]
    printed = capsys.readouterr().out
    assert "  failed: CUDA error: an illegal memory access" in printed
    assert "omitted: correctness" in printed


def test_priors_are_of_the_recipes_sizes() -> None:
    """The paper's is clip2latent's: 12 blocks of 512 channels, in a million steps of 512 pairs."""
    ours, paper = recipe(REAL, OURS), recipe(REAL, PAPER)
    assert (paper.prior.network, paper.prior.depth, paper.prior.num_heads) == ("transformer", 12, 12)
    assert (paper.data.batch_size, ours.data.batch_size) == (512, 512)
    prior = build_prior(paper, 512, 512, CPU)
    assert prior.latent_shape == (1, 512)
    assert 3e7 < sum(parameter.numel() for parameter in prior.parameters()) < 6e7


def test_tests_are_counted_as_pytest_writes_them() -> None:
    output = (
        "..F.s.                 [ 60%]\n.E..                  [100%]\n=== FAILURES ===\nFAILED a\n1 failed, 7 passed\n"
    )
    found = {figure.name: figure.value for figure in figures_of_tests(output)}
    assert found == {"tests/test_cuda.py: passed": 7, "tests/test_cuda.py: failed": 2}


def test_the_run_fits_into_eight_minutes_and_modes_differ() -> None:
    assert build_parser().parse([]).seconds <= 440
    assert len({mode.name for mode in MODES}) == len(MODES)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--size", "huge"], "--size: expected one of real, tiny, got 'huge'"),
        (["--only", "speed"], "--only: expected one of stylegan2, "),
    ],
)
def test_mistakes_are_told_in_a_line(flags: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*flags, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def requirements_of_torch() -> set[str]:
    found, todo = set[str](), ["torch"]
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        todo += [re.match(r"[\w.-]+", need)[0] for need in needs if "extra ==" not in need]  # type: ignore[index]
    return found


@pytest.mark.slow
def test_the_wheels_beside_torch_are_all_that_it_needs(tmp_path: Path) -> None:
    """They are installed into an empty folder; beside it there is torch with what comes with it, and nothing else."""
    wheels, beside = tmp_path / "wheels", tmp_path / "torch"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--target",
        str(wheels),
    ]
    installed = subprocess.run([*pip, "-r", str(WHEELS)], capture_output=True, text=True, check=False)
    if "ConnectionError" in installed.stderr or "Could not find a version" in installed.stderr:
        pytest.skip("needs a package index")
    assert installed.returncode == 0, installed.stderr
    beside.mkdir()
    for name in requirements_of_torch():
        for file in importlib.metadata.files(name) or ():
            top = Path(str(file)).parts[0]
            place = Path(str(importlib.metadata.distribution(name).locate_file(top)))
            if top not in ("..", "__pycache__") and not (beside / top).exists():
                (beside / top).symlink_to(place)
    (tmp_path / "text2latent").symlink_to(ROOT)
    site = Path(str(importlib.metadata.distribution("text2latent").locate_file("")))
    for record in (*site.glob("text2latent-*.dist-info"), *site.glob("text2latent.egg-info")):
        (tmp_path / record.name).symlink_to(record)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (wheels, beside, tmp_path)))}
    command = [sys.executable, "-S", "benchmarks/gpu.py", *QUICK, "--json", str(tmp_path / "gpu.json")]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "failed" not in ran.stdout, ran.stdout
    assert set(json.loads((tmp_path / "gpu.json").read_text())["parts"]) == set(PARTS) - {"correctness"}
    collected = [sys.executable, "-S", "-m", "pytest", "-q", "-o", "addopts=--import-mode=importlib"]
    tests = subprocess.run(
        [*collected, "-p", "no:cacheprovider", "tests/test_cuda.py"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout + tests.stderr
