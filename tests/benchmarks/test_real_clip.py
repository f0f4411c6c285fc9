"""The bench on embeddings of a real CLIP, on made ones of the same form: a gap, and what only images or texts have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from text2latent.benchmarks import real_clip
from text2latent.benchmarks.priors.report import Results
from text2latent.benchmarks.real_clip_data import Question, make_pairs, read_images, read_texts
from text2latent.benchmarks.real_clip_measuring import bootstrap, judge, retrieve
from text2latent.benchmarks.real_clip_report import NAME
from text2latent.benchmarks.tables import marks

E, ATTRIBUTES, IMAGES = 24, 6, 240
NAMES = [f"attribute {index}" for index in range(ATTRIBUTES)]
Array = NDArray[Any]


def unit(rows: Array) -> Array:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of each kind. Attributes have a direction each; images and texts sit apart, each about a mean of its own.

    Texts lie so that, uncorrected, each of them looks to images like the opposite of the first two attributes.
    """
    folder, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(E, E)))[0]
    shown, image_mean = directions[:ATTRIBUTES], 3 * directions[-1]
    text_mean = 3 * directions[-2] - 1.5 * shown[0] - 1.5 * shown[1]

    def about(mean: Array, codes: Array, loudness: float) -> Array:
        return unit(mean + loudness * codes @ shown + 0.15 * rng.normal(size=(len(codes), E)))

    labels = rng.random((IMAGES, ATTRIBUTES)) < 0.4
    images = about(image_mean, labels - 0.4, 1.0)
    texts = about(text_mean, np.vstack([np.eye(ATTRIBUTES), rng.normal(size=(60, ATTRIBUTES)) / 3]), 1.0)
    codes = rng.normal(size=(100, ATTRIBUTES)) / 2
    names = [f"a {name}" for name in NAMES] + [f"text {index}" for index in range(60)]
    np.savez(folder / "images.npz", embeddings=images, attributes=labels, names=NAMES)
    np.savez(folder / "texts.npz", embeddings=texts, texts=names)
    np.savez(folder / "pairs.npz", images=about(image_mean, codes, 1), texts=about(text_mean, codes, 1))
    questions = [{"text": f"a {name}", "attribute": name, "sign": 1} for name in NAMES]
    (folder / "questions.json").write_text(json.dumps(questions), encoding="utf-8")
    return {file.stem: file for file in folder.iterdir()}


def run(made: dict[str, Path], folder: Path, *further: str, **files: Path) -> int:
    where = {**made, **files}
    words = [word for flag, name in FLAGS.items() for word in (flag, str(where[name]))]
    return real_clip.main([*words, "--json", str(folder / "out.json"), "--work", str(folder / "work"), *further])


FLAGS = {"--embeddings": "images", "--texts": "texts", "--questions": "questions", "--pairs": "pairs"}
QUICK = ["--seeds", "1", "--steps", "150", "--num-samples", "8", "--width", "64", "--depth", "1"]


@pytest.mark.slow
def test_a_known_good_correction_comes_before_none(made: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = marks(NAME)
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n", encoding="utf-8")
    assert run(made, tmp_path, *QUICK, "--only", "recipe", "--only", "gap", "--page", str(page)) == 0
    lines = page.read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[-1], "old" in lines) == ("before", "after", False)
    assert any(line.startswith("| default | 100 (100 to 100) |") for line in lines)
    rows = {row.name: row.figures for row in Results.load(tmp_path / "out.json").rows}
    good, none = rows["default"], rows["embeddings not centred"]
    assert good["right_sign"].value == 1 > none["right_sign"].value
    for name in ("top5", "worst", "lift"):
        assert good[name].value > none[name].value, name
    before, after = rows["as they are"], rows["both centred"]
    assert after["text_cosine"].low > before["text_cosine"].high
    assert after["text_r_at_1"].value > before["text_r_at_1"].value
    assert set(rows) >= {"clip2latent", "clip2latent, embeddings centred"}


def test_what_is_trained_is_taken_again(made: dict[str, Path], tmp_path: Path) -> None:
    few = ["--seeds", "1", "--steps", "2", "--num-samples", "2", "--only", "recipe"]
    assert run(made, tmp_path, *few) == 0
    first, kept = (
        (tmp_path / "out.json").read_text(),
        {file: file.stat().st_mtime_ns for file in (tmp_path / "work").iterdir()},
    )
    assert len(kept) == 4
    assert run(made, tmp_path, *few) == 0
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "work").iterdir()} == kept
    assert json.loads((tmp_path / "out.json").read_text())["rows"] == json.loads(first)["rows"]


def test_answers_are_what_moves_and_by_how_much() -> None:
    """Of seven attributes, the first moves rightly but six others further, the second wrongly, the last most."""
    questions = [Question("x", "0", 1), Question("x", "1", -1), Question("y", "6", -1)]
    moved = torch.tensor([0.1, 0.5, 0.2, 0.3, -0.4, 0.6, -2.0])
    answers = judge([torch.stack([moved] * 3)], questions, [str(index) for index in range(7)])
    np.testing.assert_allclose(answers.moves, [[0.1, -0.5, 2.0]], atol=1e-6)
    assert answers.among_top.tolist() == [[0, 0, 1]]
    figures = answers.figures()
    assert figures["right_sign"].value == pytest.approx(2 / 3)
    assert figures["top5"].value == pytest.approx(1 / 3)
    assert (figures["worst"].value, figures["lift"].value) == (pytest.approx(-0.5), pytest.approx(1.6 / 3))


def test_questions_of_one_text_are_drawn_together() -> None:
    """With two texts of two questions each, resampled means are those of both texts or of one of them, never others."""
    values, texts = np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([0, 0, 1, 1])
    seen = set()
    bootstrap(values, texts, lambda drawn: seen.add(float(np.mean(drawn))) or 0.0)
    assert seen == {0.0, 0.5, 1.0}
    estimate = bootstrap(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([0, 1]), np.mean)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.0, 1.0)


def test_retrieval_counts_the_nearest() -> None:
    own = torch.eye(3)
    cosines, first = retrieve(torch.tensor([[2.0, 0, 0], [0, 1, 1.1], [0, 0, 1]]), own)
    np.testing.assert_allclose(cosines, [1, 1 / np.sqrt(1 + 1.1**2), 1], atol=1e-6)
    assert first.tolist() == [1, 0, 1]


def test_pairs_are_those_that_training_reads(made: dict[str, Path]) -> None:
    images = read_images(str(made["images"]))
    pairs = make_pairs(images.attributes, images.embeddings, 10)
    latents, embeddings = pairs.tensors
    torch.testing.assert_close(latents[:, 0].float(), images.attributes[10:], atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(embeddings.float(), images.embeddings[10:], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(images.attributes.mean(dim=0), torch.zeros(ATTRIBUTES), atol=1e-5, rtol=0)


def test_texts_of_the_first_file_are_the_general_ones(made: dict[str, Path]) -> None:
    texts = read_texts([str(made["texts"]), str(made["texts"])])
    assert (texts.num_general, len(texts.names), texts.general.shape) == (66, 132, (66, E))


BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "no npz file": ("images", {}, "expected an npz file with embeddings, attributes, names"),
    "other attributes": ("images", {"attributes": np.zeros((IMAGES, 2))}, r"expected attributes \[N, A\] and names"),
    "constant attributes": ("images", {"attributes": np.ones((IMAGES, ATTRIBUTES))}, "expected attributes that differ"),
    "fewer embeddings": ("images", {"embeddings": np.ones((3, E))}, r"embeddings: expected floats \[240, 'E'\]"),
    "not a number": ("texts", {"embeddings": np.full((66, E), np.nan)}, "expected finite rows that aren't zero"),
    "another CLIP": (
        "texts",
        {"embeddings": np.ones((66, 3))},
        "--texts: expected embeddings of the images' 24 channels",
    ),
    "odd pairs": ("pairs", {"texts": np.ones((99, E))}, r"texts: expected floats \[100, 24\], got \[99, 24\]"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_damaged_files_are_told_in_a_line(
    case: str, made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, change, message = BROKEN[case]
    file = tmp_path / "broken.npz"
    with np.load(made[name]) as arrays:
        np.savez(file, **({**arrays, **change} if change else {"nothing": np.zeros(1)}))
    assert run(made, tmp_path, *QUICK, **{name: file}) == 1
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert re.search(message, error), error
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"text": "a house", "attribute": NAMES[0], "sign": 1}, "'a house': expected a text that --texts"),
        ({"text": f"a {NAMES[0]}", "attribute": "wings", "sign": 1}, "'wings': expected an attribute"),
        ({"text": f"a {NAMES[0]}", "attribute": NAMES[0], "sign": 2}, "expected the sign 1 or -1, got 2"),
        ({"attribute": NAMES[0]}, "expected a list of objects with text, attribute and sign"),
    ],
)
def test_questions_without_an_answer_are_refused(
    question: dict[str, Any], message: str, made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "asked.json"
    file.write_text(json.dumps([question]), encoding="utf-8")
    assert run(made, tmp_path, *QUICK, questions=file) == 1
    assert message in capsys.readouterr().err


def test_unknown_groups_are_a_wrong_use(
    made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made, tmp_path, *QUICK, "--only", "nonsense") == 2
    assert "--only: expected one of recipe" in capsys.readouterr().err
