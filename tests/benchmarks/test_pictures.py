"""The pictures of the documents: drawn from the README's texts, and what they show is what the documents show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from text2latent.benchmarks import pictures
from text2latent.benchmarks.browsing import find_browser
from text2latent.benchmarks.pictures import FOLDER, NUM_IMAGES, TEXTS, main

ROOT = Path(__file__).resolve().parents[2]
SHOTS = {pictures.file_name(shot): shot for shot in pictures.SHOWN}
DOCUMENTS = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/serving.md")]
WORDS = re.compile(r"<!-- (.+) -->")
IN_DOCUMENTS = sorted({name for text in DOCUMENTS for name in re.findall(r"images/(page-[\w-]+\.webp)", text)})


def test_a_row_of_images_per_text(tmp_path: Path, tiny_model: Path) -> None:
    assert main(["--only", "texts", "--model", str(tiny_model), "--output", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png" for name in TEXTS}
    for name, (_, text) in TEXTS.items():
        with Image.open(tmp_path / f"{name}.png") as picture:
            width, height = picture.size
            assert width // height == NUM_IMAGES
            assert picture.info["prompt"] == text


def test_readme_shows_every_text_with_its_picture() -> None:
    cells = (ROOT / "README.md").read_text(encoding="utf-8").split("<td>")
    for name, (_, text) in TEXTS.items():
        assert any(f"docs/images/{name}.png" in cell and cell.startswith(text) for cell in cells)


def test_unknown_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "no-such-model", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_unknown_kind_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "text", "--output", str(tmp_path)]) == 2
    assert "--only: expected one of texts, priors, page, got 'text'" in capsys.readouterr().err


def test_the_plot_is_drawn_of_the_results_that_are_kept(tmp_path: Path) -> None:
    assert main(["--only", "priors", "--output", str(tmp_path)]) == 0
    drawn, shown = ((folder / "priors.svg").read_text(encoding="utf-8") for folder in (tmp_path, FOLDER))
    assert drawn.startswith("<?xml")
    assert WORDS.findall(drawn) == WORDS.findall(shown) != []


def test_pictures_of_both_widths_and_schemes_are_shown() -> None:
    shown = [SHOTS[name] for name in IN_DOCUMENTS]
    assert {width for _, width, _ in shown} == set(pictures.SIZES)
    assert {scheme for _, _, scheme in shown} == set(pictures.SCHEMES)


@pytest.mark.parametrize("name", IN_DOCUMENTS)
def test_pictures_are_as_wide_as_they_say(name: str) -> None:
    _, width, _ = SHOTS[name]
    with Image.open(ROOT / "docs" / "images" / name) as picture:
        assert picture.size == (width, pictures.SIZES[width])


def test_no_picture_lies_about_that_no_document_shows() -> None:
    assert {path.name for path in (ROOT / "docs" / "images").glob("page-*")} == set(IN_DOCUMENTS)


def test_a_browser_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("playwright", reason="playwright of the extra [dev] is not installed")
    code = main(["--only", "page", "--browser", str(tmp_path / "none"), "--output", str(tmp_path / "out")])
    error = capsys.readouterr().err.strip()
    assert code == 1
    assert "--browser" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(find_browser() is None, reason="no Chromium here; apt-get install chromium")
def test_a_model_that_is_not_there_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for module in ("playwright", "gradio", "uvicorn"):
        pytest.importorskip(module)
    assert main(["--only", "page", "--model", str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 1
    assert "--model" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
