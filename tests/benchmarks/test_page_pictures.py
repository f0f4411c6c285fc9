"""The script that takes pictures of the page: what it shows is what the documents show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from text2latent.benchmarks import page_pictures
from text2latent.benchmarks.browsing import find_browser

ROOT = Path(__file__).resolve().parents[2]
SHOTS = {page_pictures.file_name(shot): shot for shot in page_pictures.SHOWN}
TEXTS = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/serving.md")]
IN_DOCUMENTS = sorted({name for text in TEXTS for name in re.findall(r"images/(page-[\w-]+\.webp)", text)})


def test_pictures_of_both_widths_and_schemes_are_shown() -> None:
    shown = [SHOTS[name] for name in IN_DOCUMENTS]
    assert {width for _, width, _ in shown} == set(page_pictures.SIZES)
    assert {scheme for _, _, scheme in shown} == set(page_pictures.SCHEMES)


@pytest.mark.parametrize("name", IN_DOCUMENTS)
def test_pictures_are_as_wide_as_they_say(name: str) -> None:
    _, width, _ = SHOTS[name]
    with Image.open(ROOT / "docs" / "images" / name) as picture:
        assert picture.size == (width, page_pictures.SIZES[width])


def test_no_picture_lies_about_that_no_document_shows() -> None:
    assert {path.name for path in (ROOT / "docs" / "images").glob("page-*")} == set(IN_DOCUMENTS)


def test_a_browser_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("playwright", reason="playwright of the extra [dev] is not installed")
    code = page_pictures.main(["--browser", str(tmp_path / "none"), "--output", str(tmp_path / "out")])
    told = capsys.readouterr().err.strip()
    assert code == 1
    assert "--browser" in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(find_browser() is None, reason="no Chromium here; apt-get install chromium")
def test_a_model_that_is_not_there_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for module in ("playwright", "gradio", "uvicorn"):
        pytest.importorskip(module)
    assert page_pictures.main(["--model", str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 1
    assert "--model" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
