"""The errors that docs/generators.md lists are those that such files give, word for word."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from text2latent.apps import convert
from text2latent.common.errors import InputError, UsageError
from text2latent.models.generators import load_generator
from text2latent.models.generators.stylegan2 import StyleGAN2Generator

ROOT = Path(__file__).resolve().parents[4]
DATA = ROOT / "tests" / "data" / "generators"
PAGE = (ROOT / "docs" / "generators.md").read_text(encoding="utf-8")
DOCUMENTED = re.findall(r"^\| `(.+?)` \|", PAGE[PAGE.index("## Errors") :], re.MULTILINE)


class System:
    def __reduce__(self) -> object:
        return os.system, ("true",)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where the files of the page are to be made, which it names without a folder."""
    monkeypatch.chdir(tmp_path)


def small() -> StyleGAN2Generator:
    sizes = {"z_dim": 8, "w_dim": 8, "img_resolution": 8, "num_mapping_layers": 2, "channel_base": 64}
    return StyleGAN2Generator(**sizes, channel_max=8).requires_grad_(False)


def assert_documented(path: str) -> None:
    with pytest.raises((InputError, UsageError)) as caught:
        load_generator(path)
    rows = [row for row in DOCUMENTED if row.startswith(f"{path}: ") or f"'{path}'" in row]
    assert len(rows) == 1
    pattern = re.escape(rows[0]).replace(r"\.\.\.", ".*")
    assert re.fullmatch(pattern, str(caught.value)), str(caught.value)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    Path("page.pkl").write_text("<!DOCTYPE html>")
    Path("odd.pkl").write_bytes(pickle.dumps([1, 2]))
    Path("evil.pkl").write_bytes(pickle.dumps(System()))
    Path("cut.pkl").write_bytes((DATA / "sg2ada-64.pkl").read_bytes()[:100_000])
    torch.save({"g_ema": torch.nn.Linear(2, 2).state_dict()}, "ckpt.pt")
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr("ffhq.pkl", b"")
    for path in ("fhq.pkl", "page.pkl", "odd.pkl", "evil.pkl", "cut.pkl", "ckpt.pt", "a.zip"):
        assert_documented(path)


def test_networks_that_are_not_ours(write_official, write_tensorflow) -> None:
    write_tensorflow(Path("old.pkl"), small(), version=3)
    write_official(Path("fork.pkl"), small(), edit=lambda state: state["_init_kwargs"].update(self_attention=True))
    write_official(Path("net.pkl"), small(), edit=lambda state: state["_init_kwargs"].update(z_dim=9))
    for path in ("old.pkl", "fork.pkl", "net.pkl"):
        assert_documented(path)


def test_a_folder_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(DATA / "sg2ada-cond-32.pkl", "ffhq.pkl")
    assert convert.main(["ffhq.pkl", "generators/ffhq"]) == 0
    assert convert.main(["ffhq.pkl", "generators/ffhq"]) == 1
    error = capsys.readouterr().err
    assert [row for row in DOCUMENTED if row in error] == [
        "generators/ffhq exists already; expected a new name, or --overwrite"
    ]
