"""The verb: its table, its JSON and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from text2latent.apps.evaluation import classify
from text2latent.apps.evaluation.classification import classify as probabilities
from text2latent.apps.evaluation.classification import embed_labels, read_labels
from text2latent.inference.images import from_pil
from text2latent.models.clip.encoder import ClipEncoder

Classify = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_classify(
    tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Classify:
    """Runs classify in a folder with two images; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), "red").save("red.png")
    Image.new("L", (64, 64), 128).save("grey.png")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = classify.main([*arguments, "--clip", str(tiny_world), "--device", "cpu"])
        return code, *capsys.readouterr()

    return run


def test_table_of_the_likeliest_labels(run_classify: Classify, tiny_world: Path) -> None:
    code, out, err = run_classify("red.png", "grey.png", "--top", "3")
    assert code == 0, err
    tables = out.strip().split("\n\n")
    assert [table.splitlines()[0] for table in tables] == ["red.png", "grey.png"]
    clip, labels = ClipEncoder.from_pretrained(str(tiny_world)), read_labels("cifar100")
    expected = probabilities(clip, from_pil(Image.open("red.png"))[None], embed_labels(clip, labels))[0]
    best = torch.topk(expected, 3)
    lines = [line.split(": ") for line in tables[0].splitlines()[1:]]
    assert [label.strip() for label, _ in lines] == [labels[i] for i in best.indices]
    assert [float(share.rstrip("%")) for _, share in lines] == pytest.approx((100 * best.values).tolist(), abs=0.01)


def test_json_with_own_labels_and_templates(run_classify: Classify) -> None:
    Path("labels.txt").write_text("dog\nman\n")
    arguments = ("--labels", "labels.txt", "--template", "a {}", "--template", "one {}", "--json")
    code, out, err = run_classify("grey.png", *arguments)
    assert code == 0, err
    (report,) = json.loads(out)
    assert report["file"] == "grey.png"
    assert {found["label"] for found in report["labels"]} == {"dog", "man"}
    assert sum(found["probability"] for found in report["labels"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "IMAGE: expected at least one image file"),
        (("none.png",), 1, "none.png: no such file"),
        (("red.png", "labels.txt"), 1, "labels.txt: expected an image file"),
        (("red.png", "--labels", "imagenet"), 2, "--labels: expected"),
        (("red.png", "--labels", "labels.txt"), 1, "expected at least two different labels"),
        (("red.png", "--template", "a photo"), 2, "--template: expected {}"),
        (("red.png", "--top", "0"), 2, "--top"),
    ],
)
def test_refusals(run_classify: Classify, arguments: tuple[str, ...], code: int, message: str) -> None:
    Path("labels.txt").write_text("dog\n")
    got, out, err = run_classify(*arguments)
    assert (got, out, err.count("\n")) == (code, "", 1), err
    assert message in err
