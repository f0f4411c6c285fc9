"""Files of networks that aren't read are named by what they are, by convert and by inspect, in one line."""

from __future__ import annotations

import gzip
import pickle
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from text2latent.apps import convert
from text2latent.apps.exports import inspect
from text2latent.tests.models.generators.conftest import _stand_in
from text2latent.tests.models.generators.formats.test_formats import argue
from text2latent.tests.models.generators.originals import small

OWN_CLASS = "in a class of your own"


def superres(state: dict[str, Any]) -> None:
    state["_modules"]["SuperresGenerator"] = state["_modules"].pop("synthesis")


def saved_whole(path: Path) -> Path:
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)), path)
    return path


def script(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))
    return path


def progan(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(sys.modules, "tfutil", types.ModuleType("tfutil"))
    network = _stand_in("tfutil", "Network", type("Network", (), {}))()
    path.write_bytes(pickle.dumps((network,) * 3, 2))
    return path


def weights(path: Path, name: str) -> Path:
    torch.save({"g_ema": {name: torch.zeros(2, 2)}}, path)
    return path


Writer = Callable[[Path], Path]


@pytest.fixture
def writers(write_official: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, Writer]:
    def fork(edit: Callable[[dict[str, Any]], None]) -> Writer:
        return lambda path: write_official(path, small(), edit=edit)

    def zipped(path: Path) -> Path:
        write_official(path, small())
        path.write_bytes(gzip.compress(path.read_bytes()))
        return path

    return {
        "StyleGAN-XL": fork(superres),
        "EG3D": fork(argue(decoder="OSGDecoder")),
        "projected-gan's FastGAN": fork(argue(synthesis="FastganSynthesis")),
        "StyleGAN-T": fork(argue(train_mode="all", conditional=True)),
        "ProGAN": lambda path: progan(path, monkeypatch),
        "swagan": lambda path: weights(path, "iwt.ll"),
        "StyleSwin": lambda path: weights(path, "layers.0.attn.relative_position_bias_table"),
        "a TorchScript archive": script,
        "compressed by gzip": zipped,
        "a network saved whole": saved_whole,
    }


KINDS = (
    *("StyleGAN-XL", "EG3D", "projected-gan's FastGAN", "StyleGAN-T", "ProGAN", "swagan", "StyleSwin"),
    *("a TorchScript archive", "compressed by gzip", "a network saved whole"),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", ["convert", "inspect"])
def test_the_kind_is_named_with_what_to_do(kind, verb, writers, tmp_path, capsys, recwarn):
    path = writers[kind](tmp_path / "net.pkl")
    recwarn.clear()
    main = convert.main if verb == "convert" else inspect.main
    assert main([str(path), *([str(tmp_path / "out")] if verb == "convert" else [])]) == 1
    error = capsys.readouterr().err
    assert f"net.pkl: {kind}" in error
    assert "is not allowed" not in error
    assert (OWN_CLASS in error) or ("unpack it first" in error) or ("a class of your own" in error)
    assert error.count("\n") == 1
    assert not recwarn.list
    assert not (tmp_path / "out").exists()


def test_a_command_is_told_even_beside_a_known_name(tmp_path, capsys):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(["SuperresGenerator", print]))
    assert convert.main([str(tmp_path / "evil.pkl"), str(tmp_path / "out")]) == 1
    assert "global builtins.print is not allowed" in capsys.readouterr().err


def test_inspect_tells_what_a_generators_file_holds(write_official, tmp_path, capsys):
    assert inspect.main([str(write_official(tmp_path / "net.pkl", small()))]) == 0
    found = capsys.readouterr().out.splitlines()
    assert found[:2] == ["kind: generator", "network: StyleGAN2Generator"]
    assert "img_resolution: 16" in found
