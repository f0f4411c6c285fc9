"""Generators of one's own: the documented example, its identity, and classes that break the contract."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from text2latent.apps import convert
from text2latent.common.errors import InputError, UsageError
from text2latent.models.generators import load_generator
from text2latent.tests.documented_code import DOCS, importable_example

MODULE = "my_generators_of_the_docs"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The documented example as a module that can be imported."""
    return importable_example("custom_generator.md", MODULE, tmp_path, monkeypatch)


def edit(module: Path, before: str, after: str) -> None:
    text = module.read_text(encoding="utf-8")
    assert before in text
    module.write_text(text.replace(before, after), encoding="utf-8")


def save_weights(folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "dcgan.pt"
    torch.save(load_generator(f"{MODULE}.DCGAN").network.state_dict(), path)
    return path


def test_the_example_has_about_thirty_lines(module):
    assert sum(bool(line.strip()) for line in module.read_text(encoding="utf-8").splitlines()) <= 32


def test_the_example_draws(module):
    generator = load_generator(f"{MODULE}.DCGAN")
    ws = generator.map(generator.sample_latents(3, seed=0))
    images = generator.synthesize(ws)
    assert (generator.latent_shape, ws.shape, images.shape) == ((1, 64), (3, 1, 64), (3, 3, 32, 32))
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())


def test_the_identity_is_of_class_arguments_and_weights(module, tmp_path):
    weights = str(save_weights(tmp_path))
    spec = {"class_path": f"{MODULE}.DCGAN", "init_args": {"weights": weights}}
    first, again = load_generator(spec).identity, load_generator(spec).identity
    assert (first.name, first.source) == ("DCGAN", f"{MODULE}.DCGAN")
    assert first.sha256 == again.sha256
    state = torch.load(weights)
    state["1.bias"][0] += 1e-3
    torch.save(state, weights)
    assert load_generator(spec).identity.sha256 != first.sha256


def test_arguments_come_from_a_yaml_file(module, tmp_path):
    path = tmp_path / "dcgan.yaml"
    path.write_text(f"class_path: {MODULE}.DCGAN\ninit_args:\n  z_dim: 7\n", encoding="utf-8")
    assert load_generator(path).latent_shape == (1, 7)


def test_pairs_are_sampled_of_it_and_a_record_imports_nothing(module, tmp_path, tiny_world, sample_arguments):
    from text2latent import sample

    config = tmp_path / "config.yaml"
    weights = save_weights(tmp_path)
    config.write_text(
        f"generator:\n  class_path: {MODULE}.DCGAN\n  init_args: {{weights: {weights}}}\n", encoding="utf-8"
    )
    arguments = sample_arguments(tiny_world, tmp_path / "pairs", "--num-pairs", "10", "--config", str(config))
    assert sample.main(arguments) == 0
    manifest = json.loads((tmp_path / "pairs" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["generator"]["source"] == f"{MODULE}.DCGAN"
    assert manifest["latent_shape"] == [1, 64]
    with pytest.raises(InputError, match=f"imported only when you name it yourself; expected --generator {MODULE}"):
        load_generator(manifest["generator"]["source"], allow_import=False)


def test_a_record_that_names_a_class_runs_no_code(module, tmp_path):
    module.write_text("import pathlib; pathlib.Path('CANARY').touch()", encoding="utf-8")
    yaml_file = tmp_path / "generator.yaml"
    yaml_file.write_text(f"class_path: {MODULE}.DCGAN\n", encoding="utf-8")
    for source in (f"{MODULE}.DCGAN", yaml_file, {"class_path": f"{MODULE}.DCGAN"}):
        with pytest.raises(InputError, match="imported only when you name it yourself"):
            load_generator(source, allow_import=False)
    assert MODULE not in sys.modules
    assert not Path("CANARY").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no_such_package.Generator", "no module no_such_package"),
        ("json.JSONDecoder", "json.JSONDecoder: expected a subclass of text2latent's Generator"),
        ("os.system", "os.system: expected a subclass"),
        (f"{MODULE}.Missing", "expected a subclass"),
        ({"class_path": f"{MODULE}.DCGAN", "init_args": {"depth": 3}}, "init_args: got an unexpected keyword argument"),
        ({"class_path": "DCGAN"}, "class_path: expected one such as my_package.MyGenerator, got 'DCGAN'"),
        ({"class_path": f"{MODULE}.DCGAN", "init_args": [1]}, r"init_args: expected keys and values, got \[1\]"),
        ({"class_path": f"{MODULE}.DCGAN", "arguments": {}}, "arguments: expected the keys class_path and init_args"),
        ("missing.pkl", "expected a name of the zoo"),
    ],
)
def test_what_is_no_generator_is_a_usage_error(module, source, message):
    with pytest.raises(UsageError, match=message):
        load_generator(source)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("import torch\n", "import no_such_library\n", "cannot be imported: ModuleNotFoundError: No module named"),
        ("super().__init__()", "raise RuntimeError('no weights')", "its constructor failed: RuntimeError: no weights"),
        ("image_size = 32", "image_size = 64", r"synthesize: expected shape \[1, 3, 64, 64\], got \[1, 3, 32, 32\]"),
        ("w_dim = 1, z_dim", "w_dim = 2, z_dim", r"map: expected shape \[2, 2, 64\], got \[2, 1, 64\]"),
        ("return psi * w", "return w[0]", "map: expected shape"),
        ("self.image_size = 32", "pass", "image_size"),
    ],
)
def test_classes_that_break_the_contract_are_told_in_one_line(module, before, after, message):
    edit(module, before, after)
    with pytest.raises(InputError, match=message) as caught:
        load_generator(f"{MODULE}.DCGAN")
    assert "\n" not in str(caught.value)


def test_a_model_of_a_class_is_drawn_with_when_the_class_is_named(module, tmp_path, tiny_model, capsys):
    from text2latent import infer

    spec = {"class_path": f"{MODULE}.DCGAN", "init_args": {"z_dim": 16, "weights": str(tmp_path / "dcgan.pt")}}
    torch.save(load_generator({**spec, "init_args": {"z_dim": 16}}).network.state_dict(), tmp_path / "dcgan.pt")
    (tmp_path / "dcgan.yaml").write_text(json.dumps(spec), encoding="utf-8")
    model = shutil.copytree(tiny_model, tmp_path / "model")
    record = json.loads((model / "text2latent.json").read_text(encoding="utf-8"))
    record["generator"] = load_generator(spec).identity.to_dict()
    (model / "text2latent.json").write_text(json.dumps(record), encoding="utf-8")
    arguments = ["--model", str(model), "--text", "a", "--device", "cpu", "--output", str(tmp_path / "a.png")]
    assert infer.main(arguments) == 1
    assert f"expected --generator {MODULE}.DCGAN" in capsys.readouterr().err
    assert infer.main([*arguments, "--generator", f"{MODULE}.DCGAN"]) == 1
    assert "the weights are not the same" in capsys.readouterr().err
    assert infer.main([*arguments, "--generator", str(tmp_path / "dcgan.yaml")]) == 0
    assert (tmp_path / "a.png").stat().st_size > 0


def test_a_class_is_converted_as_it_is_sampled(module, tmp_path, capsys):
    source = tmp_path / "mine.yaml"
    source.write_text(
        f"class_path: {MODULE}.DCGAN\ninit_args: {{weights: {save_weights(tmp_path)}}}\n", encoding="utf-8"
    )
    generator = load_generator(source)
    assert convert.main([str(source), str(tmp_path / "out")]) == 0
    assert "a class of your own" in capsys.readouterr().out
    loaded = load_generator(tmp_path / "out")
    assert loaded.identity.sha256 == generator.identity.sha256
    ws = generator.map(generator.sample_latents(2, seed=0))
    assert torch.equal(loaded.synthesize(ws), generator.synthesize(ws))
    with pytest.raises(InputError, match="imported only when you name it yourself"):
        load_generator(tmp_path / "out", allow_import=False)
    assert convert.main([str(source), str(tmp_path / "half"), "--half"]) == 2
    assert not (tmp_path / "half").exists()


def test_a_class_folder_whose_weights_are_damaged_is_refused(module, tmp_path):
    assert convert.main([f"{MODULE}.DCGAN", str(tmp_path / "out")]) == 0
    weights = tmp_path / "out" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="the weights don't fit"):
        load_generator(tmp_path / "out")


@pytest.mark.slow
def test_a_gan_from_pypi_is_sampled_trained_and_drawn_as_documented(tmp_path, monkeypatch):
    """The package's network and weights through the documented class; CLIP is the faces world's, which is here."""
    network = pytest.importorskip("gan_face_generate.models", reason="pip install --no-deps gan-face-generate")
    from text2latent import infer, sample, train
    from text2latent.inference.images import read_picture
    from text2latent.tests.train_runs import arguments

    page = (DOCS / "custom_generator.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "DCGANFaces" in block)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 32
    (tmp_path / "dcgan_faces.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    generator = load_generator("dcgan_faces.DCGANFaces")
    reference = network.Generator(1, 3, 100, 64).eval()
    weights = Path(network.__file__).parent / "weights.tar"
    reference.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu")["netG_state_dict"])
    z = generator.sample_latents(4, seed=0)
    with torch.no_grad():
        assert torch.equal(generator.synthesize(generator.map(z)), reference(z[:, :, None, None]))
    named = ["--generator", "dcgan_faces.DCGANFaces"]
    drawing = ["--clip", "faces", "--num-pairs", "60", "--shard-size", "30", "--device", "cpu", "--output", "pairs"]
    assert sample.main([*named, *drawing]) == 0
    assert train.main([*arguments("pairs", tmp_path / "run"), *named]) == 0
    wanted = ["--model", "run", "--text", "a smiling woman", "--device", "cpu", "--output", "woman.png"]
    assert infer.main([*wanted, *named]) == 0
    assert read_picture("woman.png", "IMAGE").size == (64, 64)
