"""Published weights by name and by hub id, from servers on this machine; what was downloaded needs no network."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors.torch import load_file

from text2latent.common.errors import InputError
from text2latent.models.generators import load_generator
from text2latent.models.generators.base import Generator
from text2latent.models.generators.formats import published
from text2latent.tests.hub_server import serve_hub

DATA = Path(__file__).resolve().parents[3] / "data"
LOAD = """
import json, sys
from text2latent.models.generators import load_generator
for source in sys.argv[1:]:
    try:
        generator = load_generator(source)
        print(json.dumps([float(generator.synthesize(generator.sample_w(1, 0)).mean()), None]))
    except Exception as error:
        print(json.dumps([str(error), type(error).__name__]))
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the published files that a server on this machine has under their addresses; an empty cache."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    shutil.copy(DATA / "biggan" / "config.json", folder / "biggan-deep-128-config.json")
    torch.save(load_file(DATA / "biggan" / "model.safetensors"), folder / "biggan-deep-128-pytorch_model.bin")
    shutil.copy(DATA / "dalle" / "decoder.pkl", folder / "decoder.pkl")
    monkeypatch.setenv("TEXT2LATENT_CACHE", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(published, "BIGGAN_ADDRESS", f"{address}/{{name}}-{{file}}")
        monkeypatch.setattr(published, "DALLE_ADDRESS", f"{address}/decoder.pkl")
        yield folder
        server.shutdown()


def image(generator: Generator) -> torch.Tensor:
    return generator.synthesize(generator.sample_w(1, 0))


def test_addresses_are_those_of_the_publishers() -> None:
    address = published.BIGGAN_ADDRESS.format(name="biggan-deep-512", file="pytorch_model.bin")
    assert address == "https://s3.amazonaws.com/models.huggingface.co/biggan/biggan-deep-512-pytorch_model.bin"
    assert published.DALLE_ADDRESS == "https://cdn.openai.com/dall-e/decoder.pkl"


@pytest.mark.parametrize(("name", "source"), [("biggan-deep-128", "biggan"), ("dalle-dvae", "dalle/decoder.pkl")])
def test_names_are_downloaded_once(shelf: Path, name: str, source: str) -> None:
    generator, expected = load_generator(name), image(load_generator(DATA / source))
    torch.testing.assert_close(image(generator), expected, atol=1e-5, rtol=1e-4)
    assert generator.identity is not None
    assert (generator.identity.name, generator.identity.source) == (name, name)
    for file in shelf.iterdir():
        file.unlink()
    assert torch.equal(image(load_generator(name)), image(generator))


def test_what_cannot_be_downloaded_is_told_in_one_line(shelf: Path) -> None:
    with pytest.raises(InputError, match=r"biggan-deep-256-config\.json") as caught:
        load_generator("biggan-deep-256")
    assert "\n" not in str(caught.value)


def test_biggan_comes_from_the_hub_by_its_id(shelf: Path, tmp_path: Path) -> None:
    files = {
        "config.json": (shelf / "biggan-deep-128-config.json").read_bytes(),
        "pytorch_model.bin": (shelf / "biggan-deep-128-pytorch_model.bin").read_bytes(),
        "converted/config.json": (DATA / "biggan" / "config.json").read_bytes(),
        "converted/model.safetensors": (DATA / "biggan" / "model.safetensors").read_bytes(),
        "empty/config.json": (DATA / "biggan" / "config.json").read_bytes(),
    }
    addresses = ["hf://org/net", "hf://org/net/pytorch_model.bin@v1", "hf://org/net@v1/converted", "hf://org/net/empty"]
    with serve_hub(files) as environment:
        done = subprocess.run(
            [sys.executable, "-c", LOAD, *addresses],
            env={**os.environ, **environment, "HF_HOME": str(tmp_path / "hub")},
            capture_output=True, text=True, check=True, timeout=300,
        )  # fmt: skip
    *loaded, (message, kind) = [json.loads(line) for line in done.stdout.splitlines()]
    expected = float(image(load_generator(DATA / "biggan")).mean())
    assert [error for _, error in loaded] == [None] * 3, loaded
    assert [mean for mean, _ in loaded] == pytest.approx([expected] * 3, abs=1e-4)
    assert kind == "NotInRepository"
    assert "pytorch_model.bin: the repository has no such file" in message
