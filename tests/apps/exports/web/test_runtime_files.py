"""Where onnxruntime-web's files are taken from, and what is no such package."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from text2latent.apps.exports.web import runtime_files
from text2latent.apps.exports.web.runtime_files import DEVICES, find_runtime, read_runtime
from text2latent.common.errors import InputError
from text2latent.models.sources import downloads

FILES = {name: name.encode() for names in DEVICES.values() for name in names}
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a package's folder; `without` is a file that it lacks."""

    def save(folder: Path = tmp_path / "package", name: str = "onnxruntime-web", without: str = "") -> Path:
        (folder / "dist").mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"name": name, "version": "9.9.9"}))
        for file, content in FILES.items():
            if file != without:
                (folder / "dist" / file).write_bytes(content)
        return folder

    return save


def test_a_folder_and_an_archive_give_the_same(save: Save, tmp_path: Path) -> None:
    folder = save()
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        archive.add(folder, "package")
    for path in (folder, tmp_path / "package.tgz"):
        found = read_runtime(path)
        assert (found.version, found.files) == ("9.9.9", FILES)


def test_what_npm_installed_here_or_above_is_found(save: Save, tmp_path: Path) -> None:
    save(tmp_path / "node_modules" / "onnxruntime-web")
    (tmp_path / "work" / "deep").mkdir(parents=True)
    assert find_runtime(None, tmp_path / "work" / "deep").version == "9.9.9"


@pytest.mark.parametrize("how", [{"name": "left-pad"}, {"without": "ort-wasm-simd-threaded.wasm"}])
def test_other_packages_are_refused(save: Save, how: dict[str, str]) -> None:
    expected = r"--onnxruntime-web: .*package: expected the npm package onnxruntime-web of version 1\.30\.0 or later: "
    with pytest.raises(InputError, match=expected) as refused:
        read_runtime(save(**how))
    assert how.get("name", how.get("without", "")) in str(refused.value)


def test_what_is_nowhere_or_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--onnxruntime-web: .*nowhere: no such file or folder") as refused:
        find_runtime(str(tmp_path / "nowhere"), tmp_path)
    assert refused.value.exit_code == 2
    (tmp_path / "text.tgz").write_text("hello")
    with pytest.raises(InputError, match=r"text\.tgz: expected the npm package"):
        find_runtime(str(tmp_path / "text.tgz"), tmp_path)


def test_links_in_an_archive_are_no_files(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "links.tgz", "w:gz") as archive:
        link = tarfile.TarInfo("package/package.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("package/other"), io.BytesIO())
    with pytest.raises(InputError, match=r"links\.tgz: expected the npm package"):
        read_runtime(tmp_path / "links.tgz")


def test_without_a_network_one_line_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_files, "ADDRESS", "http://127.0.0.1:9/onnxruntime-web-1.30.0.tgz")
    monkeypatch.setattr(downloads, "BACKOFF_SECONDS", 0)
    monkeypatch.setenv("TEXT2LATENT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"--format web needs onnxruntime-web, which cannot be fetched: .*") as refused:
        find_runtime(None, tmp_path)
    assert "expected a network, or --onnxruntime-web with what `npm pack onnxruntime-web` wrote" in str(refused.value)
    assert "\n" not in str(refused.value)
