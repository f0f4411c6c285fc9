"""Where the networks of a record are looked for: at their absolute path, beside the record, then where a flag says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from text2latent import infer, sample, train
from text2latent.common.errors import InputError, UsageError
from text2latent.models.priors.folder import load_prior
from text2latent.models.sources.identity import Identity
from text2latent.models.sources.whereabouts import RELATIVE, from_record, load_recorded, to_record, with_absolute_path
from text2latent.tests.train_runs import arguments

DIGEST = 64 * "0"


def identity(source: str) -> Identity:
    return Identity("a network", source, DIGEST)


@pytest.mark.parametrize(
    "source",
    [
        *("faces", "biggan-deep-128", "hf://org/repo/net.pkl", "https://host/net.pkl", "my_package.MyGenerator"),
        *("hf-hub:org/name", "ViT-B-32/openai", "ViT-L-14/https://host/net.safetensors", "not-there.pkl"),
    ],
)
def test_names_and_addresses_stay_as_they_are(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "biggan-deep-128").mkdir()  # a published name wins over a folder
    assert with_absolute_path(identity(source)) == identity(source)
    assert to_record(identity(source), tmp_path) == identity(source).to_dict()
    assert from_record(to_record(identity(source), tmp_path), tmp_path) == identity(source).to_dict()


@pytest.mark.parametrize("prefix", ["", "local-dir:", "ViT-B-32/"])
def test_paths_are_found_again_where_they_were_and_beside_the_record(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "runs/one").mkdir(parents=True)
    (before / "net.pt").write_bytes(b"net")
    monkeypatch.chdir(before)
    kept = to_record(identity(f"{prefix}net.pt"), Path("runs/one"))
    assert kept["source"] == f"{prefix}{before / 'net.pt'}"
    assert kept[RELATIVE] == "../../net.pt"
    monkeypatch.chdir(tmp_path)
    assert from_record(kept, before / "runs/one") == kept
    before.rename(after)
    assert from_record(kept, after / "runs/one")["source"] == f"{prefix}{after / 'net.pt'}"
    assert from_record(kept, Path("after/runs/one"))["source"] == f"{prefix}{after / 'net.pt'}"
    (after / "net.pt").unlink()
    assert from_record(kept, after / "runs/one") == kept


@pytest.mark.parametrize("kept", [None, 3, {}, {"source": 3, RELATIVE: "a"}, {"source": "/a", RELATIVE: 3}])
def test_what_a_damaged_record_holds_is_left_to_others(kept: object, tmp_path: Path) -> None:
    assert from_record(kept, tmp_path) == kept


def test_only_what_is_not_there_is_blamed_on_its_place() -> None:
    def fail(source: str) -> None:
        raise (UsageError if source == "gone" else InputError)("said by the loader")

    with pytest.raises(InputError, match=r"^CLIP a network \(0+\): nothing is at gone any more.*; pass --clip and"):
        load_recorded(fail, identity("gone"), "CLIP", "--clip")
    with pytest.raises(InputError, match=r"^said by the loader$"):
        load_recorded(fail, identity("damaged"), "CLIP", "--clip")


@pytest.fixture
def project(tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with networks, pairs and a run, all made with relative paths; another folder is the current one."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    elsewhere.mkdir()
    project.mkdir()
    monkeypatch.chdir(project)
    shutil.copytree(tiny_world / "generator", "ffhq")
    shutil.copytree(tiny_world / "clip", "clip")
    words = ["--generator", "ffhq", "--clip", "clip", "--output", "runs/pairs", "--num-pairs", "40", "--device", "cpu"]
    assert sample.main(words) == 0
    assert train.main(arguments("runs/pairs", Path("runs/train"), "--max-steps", "2")) == 0
    monkeypatch.chdir(elsewhere)
    return project


def test_a_run_draws_from_any_folder_and_where_it_was_moved(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(run: Path, *flags: str) -> int:
        words = ["--text", "a man", "--steps", "1", "--device", "cpu", "--overwrite", "--output", "a.png"]
        return infer.main(["--model", str(run), *words, *flags])

    assert draw(project / "runs/train") == 0
    moved = project.rename(tmp_path / "moved")
    for model in ("runs/train", "runs/train/prior", "runs/train/checkpoints/last.ckpt"):
        assert draw(moved / model) == 0
        assert load_prior(moved / model).generator.source == str(moved / "ffhq")
    # Training looks at both places, too: the pairs know the absolute path alone.
    capsys.readouterr()
    assert train.main(arguments(moved / "runs/pairs", moved / "runs/train", "--max-steps", "3")) == 1
    assert "pass --clip and where it is now" in capsys.readouterr().err
    for name, flag in (("clip", "--clip"), ("ffhq", "--generator")):
        (moved / name).rename(moved / f"other-{name}")
        assert draw(moved / "runs/train") == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"pass {flag} and where it is now" in error
        assert draw(moved / "runs/train", flag, str(moved / f"other-{name}")) == 0
        (moved / f"other-{name}").rename(moved / name)
