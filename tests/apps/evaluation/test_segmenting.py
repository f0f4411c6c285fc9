"""`evaluate --segmentation` on files and on drawn images, with a small network of torchvision at random weights."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.models import get_model

from text2latent.apps.evaluation import command as evaluate
from text2latent.apps.evaluation.segmenting import cut_grids
from text2latent.inference.images import make_grid

NETWORK = "lraspp_mobilenet_v3_large"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("weights") / "lraspp.pth"
    torch.save(get_model(NETWORK, weights=None, weights_backbone=None, num_classes=21).state_dict(), file)
    return str(file)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, size in (("a red one", (30, 20)), ("b", (16, 16))):
        Image.new("RGB", size, "red").save(f"{name}.png")
    return tmp_path


def test_files(folder: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--segmentation",
        NETWORK,
        "--weights",
        weights,
        "--images",
        "a red one.png",
        "b.png",
        "--output",
        "out",
    ]
    assert evaluate.main([*arguments, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    results = json.loads((folder / "out/segmentation.json").read_text(encoding="utf-8"))
    assert [result["name"] for result in results] == ["0000-a-red-one", "0001-b"]
    for result, size in zip(results, ((30, 20), (16, 16)), strict=True):
        assert sum(found["share"] for found in result["found"]) <= 1 + 1e-9
        sheet = Image.open(folder / f"out/segmentation/{result['name']}.png")
        # The picture stands over a legend with a line for each class found.
        assert sheet.width >= size[0]
        assert (sheet.height > size[1]) == bool(result["found"])
        shares = ", ".join(f"{found['label']} {100 * found['share']:.1f}%" for found in result["found"])
        assert sheet.text["Description"] == (shares or "nothing found")
        assert f"{result['name']}: {shares or 'nothing found'}" in out
    assert evaluate.main([*arguments, "--device", "cpu"]) == 1
    assert "segmentation.json exists already" in capsys.readouterr().err


def test_drawn_images(folder: Path, weights: str, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.txt").write_text("a man\na dog\na boat\na hat\na child")
    arguments = ["--model", str(tiny_model), "--prompts", "p.txt", "--num-images", "2", "--num-own", "12"]
    extra = ["--segmentation", NETWORK, "--weights", weights, "--output", "out", "--device", "cpu", "--json"]
    assert evaluate.main([*arguments, *extra]) == 0
    output = json.loads(capsys.readouterr().out)["segmentation"]
    assert len(output) == len(list(Path("out/segmentation").glob("*.png"))) == 10
    assert output[3]["name"] == "0001-a-dog-1"


def test_grids_are_cut_where_their_pictures_are(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (8, 8), (10 * i, 0, 0)) for i in range(6)]
    make_grid(pictures[:4], 2).save(tmp_path / "0.png")
    make_grid(pictures[4:], 2).save(tmp_path / "1.png")
    cut = list(cut_grids([tmp_path / "0.png", tmp_path / "1.png"], (8, 8), ["a", "b", "c"], [5, 6]))
    assert [name for name, _ in cut] == ["0000-a-5", "0000-a-6", "0001-b-5", "0001-b-6", "0002-c-5", "0002-c-6"]
    assert all(one.tobytes() == picture.tobytes() for (_, one), picture in zip(cut, pictures, strict=True))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--weights", "w.pth", "--images", "b.png", "--output", "o"], 2, "expected --segmentation NETWORK"),
        (["--segmentation", NETWORK, "--images", "b.png"], 2, "--images: expected --output FOLDER"),
        (["--segmentation", NETWORK, "--images", "b.png", "--output", "o"], 2, "--weights: expected the file of"),
        (["--segmentation", NETWORK, "--images", "none.png", "--output", "o"], 1, "none.png: no such file"),
    ],
)
def test_refusals(
    folder: Path, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([*arguments, "--device", "cpu"]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err
    assert not Path("o").exists()
