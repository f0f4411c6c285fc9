"""The measurements of live pictures: frames are counted when they are whole and new, and latencies are found."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.live.changes import Change
from text2latent.apps.serving.live.stage import Stage
from text2latent.benchmarks.live import Watcher, _first, _levels, main
from text2latent.benchmarks.report import read_parts
from text2latent.tests.apps.serving.conftest import serving

pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")
pytest.importorskip("httpx")
pytest.importorskip("pythonosc", reason="python-osc of the extra [live] is not installed")


def test_a_watcher_keeps_whole_new_files() -> None:
    watcher = Watcher("http://127.0.0.1:9")
    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\r\n"
    data = head + b"one." + head + b"one." + head + b"tw"
    rest = watcher._take(data[:60])
    for place in range(60, len(data)):
        rest = watcher._take(rest + data[place : place + 1])
    assert watcher.files == [b"one."]
    assert watcher._take(rest + b"o.") == b""
    assert watcher.files == [b"one.", b"two."]
    assert len(watcher.times) == 2
    assert _first(watcher, 0, lambda file: file == b"two.") == watcher.times[1]


def test_a_watcher_sees_changes(tiny_model: Path) -> None:
    with Engine([f"tiny={tiny_model}"], "cpu") as engine, Stage(engine).closing() as stage:
        shared = stage.share(Change("a man", ease=0.0), pytest.fail)
        with serving(engine, page=False, stage=stage) as address, Watcher(address) as watcher:
            begun, before = len(watcher.files), watcher.files[-1]
            stage.submit_change(shared, Change(seed=9)).result()
            assert _first(watcher, begun, lambda file: file != before) == watcher.times[begun]
            assert _levels(watcher.files[begun]).shape == (32, 32, 3)


def test_levels_are_those_of_the_file() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (10, 200, 30)).save(file, "jpeg", quality=100)
    assert np.abs(_levels(file.getvalue()) - [10, 200, 30]).max() <= 3


@pytest.mark.slow
def test_all_is_measured_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "live.json"
    assert main(["--device", "cpu", "--seconds", "1", "--messages", "3", "--json", str(file)]) == 0
    parts = read_parts(file)
    assert list(parts) == ["frames", "latency", "beside"]
    figures = [figure for part in parts.values() for figure in part["figures"]]
    assert all(figure.value > 0 for figure in figures if figure.unit != "requests")
    assert [figure.verdict for figure in figures if figure.target is not None] == ["ok"]


def test_a_server_that_does_not_start_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "nothing")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "which isn't there" in error
