"""What `text2latent inspect` reports of anything that text2latent reads or writes."""

from __future__ import annotations

import json
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from text2latent import infer
from text2latent.apps.exports import command as export
from text2latent.apps.exports import inspect as inspect_
from text2latent.models.priors.folder import load_prior

Inspect = Callable[..., tuple[int, str, str]]


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str]) -> Inspect:
    """Runs the verb; gives the exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = inspect_.main([str(one) for one in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def digests(tiny_model: Path) -> dict[str, str]:
    record = json.loads((tiny_model / "text2latent.json").read_text())
    return {part: record[part]["sha256"] for part in ("generator", "clip")}


def report_of(inspect: Inspect, source: str | Path, *flags: str) -> dict[str, Any]:
    code, out, _ = inspect(source, "--json", *flags)
    assert code == 0
    return json.loads(out)


def test_exported_folder(inspect: Inspect, tiny_model: Path, digests: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    assert export.main([str(tiny_model), str(folder)]) == 0
    inspect()  # what the export printed is not of interest
    found = report_of(inspect, folder)
    assert found["kind"] == "exported folder, all files as written"
    assert {part: found[part]["sha256"] for part in digests} == digests
    assert found["export"]["versions"]["torch"] == torch.__version__.split("+")[0]
    code, out, _ = inspect(folder)
    assert code == 0
    assert all(digest in out for digest in digests.values())
    (folder / "sample.png").write_bytes(b"other")
    code, _, error = inspect(folder)
    assert code == 1
    assert "sample.png: expected" in error


def test_prior_folder_and_zoo_name(inspect: Inspect, tiny_model: Path, digests: dict[str, str]) -> None:
    found = report_of(inspect, tiny_model)
    assert found["kind"] == "prior folder"
    assert found["generator"]["sha256"] == digests["generator"]
    assert report_of(inspect, "faces")["kind"] == "zoo world"
    assert report_of(inspect, "faces")["dataset"]["num_pairs"] > 0


def test_checkpoint(inspect: Inspect, tiny_model: Path, tmp_path: Path) -> None:
    trained = load_prior(tiny_model)
    record = {**trained.record, "prior": dict(trained.prior.config), "scheduler": dict(trained.scheduler.config)}
    state = {f"prior.{name}": weight for name, weight in trained.prior.state_dict().items()}
    torch.save({"state_dict": state, "text2latent": record}, tmp_path / "last.ckpt")
    found = report_of(inspect, tmp_path / "last.ckpt")
    assert found["kind"] == "checkpoint of text2latent train"
    assert found["generator"] == trained.record["generator"]


def test_networks_and_dataset(inspect: Inspect, tiny_world: Path, tiny_pairs: Path, digests: dict[str, str]) -> None:
    for part, config in (("generator", "w_dim"), ("clip", "model_cfg")):
        found = report_of(inspect, tiny_world / part)
        assert digests[part] in [file["sha256"] for file in found["files"].values()]
        assert config in found["config"]
    found = report_of(inspect, tiny_pairs)
    assert found["kind"] == "dataset of pairs"
    assert found["num_pairs"] == 50


def test_picture(inspect: Inspect, tiny_model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "cat.png"
    flags = ["--model", str(tiny_model), "--device", "cpu", "--output", str(picture)]
    assert infer.main(["--text", "a cat", *flags]) == 0
    inspect()
    found = report_of(inspect, picture)
    assert found["images"][0]["prompt"] == "a cat"
    Image.new("RGB", (2, 2)).save(tmp_path / "foreign.png")
    assert inspect(tmp_path / "foreign.png")[0] == 1


def save_onnx(path: Path, properties: dict[str, str]) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([], "g", [value], [value]))
    helper.set_model_props(model, properties)
    onnx.save(model, path)


def test_graphs_and_programs(inspect: Inspect, tmp_path: Path) -> None:
    record = {"generator": {"name": "faces"}}
    save_onnx(tmp_path / "a.onnx", {"text2latent": json.dumps(record)})
    assert report_of(inspect, tmp_path / "a.onnx") == {"kind": "ONNX graph", **record}
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, tmp_path / "a.pt2", extra_files={"text2latent.json": json.dumps(record)})
    assert report_of(inspect, tmp_path / "a.pt2") == {"kind": "torch.export program", **record}
    with zipfile.ZipFile(tmp_path / "b.pt2", "w") as archive:
        metadata = {"AOTI_DEVICE_KEY": "cpu", "text2latent": json.dumps(record)}
        archive.writestr("data/aotinductor/model/c.wrapper_metadata.json", json.dumps(metadata))
    assert report_of(inspect, tmp_path / "b.pt2") == {"kind": "AOTInductor package", **record}


def bomb(path: Path) -> None:
    """An archive whose record claims to be larger than a record can be."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("extra/text2latent.json", b" " * (65 << 20))


def damaged_archive(path: Path) -> None:
    """An archive whose packed record has been written over."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("extra/text2latent.json", json.dumps({str(i): i for i in range(1000)}))
        start = archive.infolist()[0].header_offset
    data = bytearray(path.read_bytes())
    data[start + 60 : start + 160] = b"\xff" * 100
    path.write_bytes(data)


def compiled_package(path: Path, metadata: object) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model_metadata.json", json.dumps(metadata))


def huge_picture(path: Path) -> None:
    Image.new("L", (1, 1)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 10**6, 10**6)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.onnx", lambda path: path.write_bytes(b"\xff" * 50), "expected an ONNX file"),
        ("b.onnx", lambda path: save_onnx(path, {}), "found nothing of it"),
        ("c.onnx", lambda path: save_onnx(path, {"text2latent": "[" * 9999}), "found nothing of it"),
        ("a.pt2", lambda path: path.write_bytes(b"PK"), "expected an archive of torch.export"),
        ("b.pt2", bomb, "found nothing of it"),
        ("c.pt2", damaged_archive, "expected an archive of torch.export"),
        ("d.pt2", lambda path: compiled_package(path, {"text2latent": 3}), "found nothing of it"),
        ("e.pt2", lambda path: compiled_package(path, [3]), "found nothing of it"),
        ("a.png", lambda path: path.write_bytes(b"no picture"), "expected a PNG picture"),
        ("b.png", huge_picture, "expected a PNG picture"),
        ("a.ckpt", lambda path: path.write_bytes(b"no checkpoint"), "expected a checkpoint of text2latent train"),
        ("folder", lambda path: path.mkdir(), "found none of their files"),
    ],
)
def test_damaged_and_foreign_files_are_one_line(
    inspect: Inspect, tmp_path: Path, name: str, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / name)
    code, out, error = inspect(tmp_path / name)
    assert (code, out) == (1, "")
    assert message in error
    assert error.count("\n") == 1


def test_nothing_there_is_a_usage_error(inspect: Inspect, tmp_path: Path) -> None:
    code, _, error = inspect(tmp_path / "nowhere")
    assert code == 2
    assert "nowhere" in error


def test_standard_library_is_not_hidden(tiny_model: Path, tmp_path: Path) -> None:
    """A root module `inspect.py` would take the place of Python's own in every `python VERB.py`."""
    assert not (Path(infer.__file__).parent / "inspect.py").exists()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.txt"
    file.write_text("a hat\n眼鏡の女性\na red house\n", encoding="utf-8")
    return file


def test_diagnosis_of_pairs(inspect: Inspect, tiny_pairs: Path, texts: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    code, out, error = inspect(tiny_pairs, "--texts", texts, "--output", picture)
    assert (code, error) == (0, "")
    assert "3 texts of yours, 3 general ones" in out
    assert "pairs are few: sample 10000 or more" in out
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"
        assert min(drawn.size) > 500
    found = report_of(inspect, tiny_pairs, "--texts", str(texts))
    assert found["alignment"]["embedding_dim"] == 16
    assert [one["text"] for one in found["texts"]] == ["a hat", "眼鏡の女性", "a red house"]
    assert set(found["landing"]) == {"as_they_are", "conditions"}


def test_diagnosis_of_a_prior_sees_what_the_prior_sees(
    inspect: Inspect, tiny_run: Path, tiny_pairs: Path, texts: Path, tmp_path: Path
) -> None:
    of_prior, of_pairs = (report_of(inspect, one, "--texts", str(texts)) for one in (tiny_run, tiny_pairs))
    assert of_prior["landing"]["as_they_are"] == of_pairs["landing"]["as_they_are"]
    moved = tmp_path / "moved"
    shutil.copytree(tiny_pairs, moved)
    assert report_of(inspect, tiny_run, "--texts", str(texts), "--pairs", str(moved))["landing"] == of_prior["landing"]


def test_diagnosis_refuses_in_one_line(
    inspect: Inspect, tiny_pairs: Path, tiny_model: Path, texts: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    there = tmp_path / "there.png"
    there.write_bytes(b"mine")
    for arguments, code, message in (
        ((tiny_pairs, "--output", tmp_path / "a.png"), 2, "--output: expected --texts with it"),
        ((tiny_pairs, "--texts", tmp_path / "nowhere.txt"), 1, "--texts: cannot read"),
        ((tiny_pairs, "--texts", tmp_path / "empty.txt"), 1, "expected at least one prompt"),
        ((tiny_pairs, "--texts", texts, "--output", there), 1, "exists already"),
        ((tiny_pairs, "--texts", texts, "--clip", "faces"), 1, "CLIP: expected"),
        ((tiny_model, "--texts", texts, "--pairs", tmp_path / "gone"), 1, "--pairs: the pairs of"),
        ((tmp_path / "nothing", "--texts", texts), 2, "nothing"),
    ):
        found, out, error = inspect(*arguments)
        assert (found, out) == (code, ""), arguments
        assert message in error
        assert error.count("\n") == 1, error
    assert there.read_bytes() == b"mine"


def test_diagnosis_without_matplotlib_says_what_to_install(
    inspect: Inspect, tiny_pairs: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, error = inspect(tiny_pairs, "--texts", texts, "--output", tmp_path / "a.png")
    assert (code, out) == (1, "")
    assert "inspect --output needs matplotlib" in error
    code, out, _ = inspect(tiny_pairs, "--texts", texts)
    assert code == 0
    assert "What to change" in out
