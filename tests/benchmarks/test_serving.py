"""The load test of the server, on a tiny model: what it prints is what the clients saw, and failures are reported."""

from __future__ import annotations

import asyncio
import time

import pytest

from text2latent.apps.serving.engine import Engine
from text2latent.benchmarks.report import read_parts
from text2latent.benchmarks.serving import Load, load, main
from text2latent.tests.apps.serving.conftest import serving

pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")
pytest.importorskip("httpx")


@pytest.mark.slow
def test_both_ways_are_measured_and_kept(tmp_path, tiny_model, capsys):
    file = tmp_path / "serving.json"
    flags = ("--model", str(tiny_model), "--device", "cpu", "--clients", "6", "--requests", "2", "--json", str(file))
    started = time.perf_counter()
    assert main(list(flags)) == 0
    spent = time.perf_counter() - started
    (part,) = read_parts(file).values()
    values = {figure.name: figure.value for figure in part["figures"]}
    for way in ("joined into batches", "one image at a time"):
        name = f"6 clients at once, {way}"
        assert values[name] >= 12 / spent
        assert 0 < values[f"{name}, median latency"] <= values[f"{name}, 95th percentile of latency"] < 1000 * spent
    rates = [values[f"6 clients at once, {way}"] for way in ("joined into batches", "one image at a time")]
    assert values["batches against one at a time, images per second"] == pytest.approx(rates[0] / rates[1])
    assert values["requests that failed"] == 0
    assert "requests that failed" in capsys.readouterr().out


def test_every_client_gets_its_images(tiny_model):
    with Engine([f"tiny={tiny_model}"], "cpu") as engine, serving(engine, page=False) as address:
        started = time.perf_counter()
        measured = asyncio.run(load(address, clients=6, requests=2, max_seconds=600))
        spent = time.perf_counter() - started
        stopped = asyncio.run(load(address, clients=2, requests=1000, max_seconds=0.5))
    assert (len(measured.latencies), measured.failures) == (12, 0)
    assert 0 < min(measured.latencies) <= max(measured.latencies) <= measured.seconds <= spent
    assert 0 < len(stopped.latencies) < 2000


def test_percentiles_and_rate():
    measured = Load(2.0, [0.001 * value for value in range(1, 102)], failures=0)
    assert measured.images_per_second == 50.5
    assert measured.milliseconds(50) == pytest.approx(51)
    assert measured.milliseconds(95) == pytest.approx(96)


def test_requests_without_an_answer_are_failures():
    measured = asyncio.run(load("http://127.0.0.1:9", clients=2, requests=3, max_seconds=60))
    assert (len(measured.latencies), measured.failures) == (0, 6)


def test_a_server_that_does_not_start_is_one_line(tmp_path, capsys):
    assert main(["--model", str(tmp_path / "nothing")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "which isn't there" in error
