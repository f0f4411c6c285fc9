"""CLIPs of one's own: the documented example, its identity, its whole route, and classes that break the contract."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from text2latent.common.errors import InputError, UsageError
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.tests.documented_code import importable_example
from text2latent.tests.models.clip.small_transformers import TEXTS, save

transformers = pytest.importorskip("transformers")
MODULE = "my_clips_of_the_docs"


@pytest.fixture(scope="module")
def japanese(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("clips") / "japanese"
    return folder, save(folder, "vision-text-dual-encoder")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The documented example as a module that can be imported."""
    return importable_example("clip.md", MODULE, tmp_path, monkeypatch)


def spec(folder: Path, **more: Any) -> dict[str, Any]:
    return {"class_path": f"{MODULE}.JapaneseClip", "init_args": {"folder": str(folder), **more}}


def test_the_example_embeds_as_its_recipe(module, japanese):
    folder, model = japanese
    encoder = ClipEncoder.from_pretrained(spec(folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text, found in zip(TEXTS, encoder.encode_text(TEXTS), strict=True):
        ids = [tokenizer.cls_token_id, *tokenizer(text, add_special_tokens=False).input_ids]
        tokens, places = torch.tensor([ids]), torch.arange(len(ids))[None]
        with torch.no_grad():
            pooled = model.text_model(input_ids=tokens, position_ids=places)[1]
            expected = normalize(model.text_projection(pooled), dim=-1)[0]
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    pixels = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        expected = normalize(model.visual_projection(model.vision_model(pixel_values=pixels)[1]), dim=-1)
    torch.testing.assert_close(encoder.encode_image(pixels), expected, atol=1e-6, rtol=0)
    assert encoder.encode_image(torch.rand(2, 3, 50, 40)).shape == expected.shape


def test_the_identity_is_of_class_arguments_weights_and_settings(module, japanese):
    folder = japanese[0]
    first, again = (ClipEncoder.from_pretrained(spec(folder)).identity for _ in range(2))
    assert first.differences(again) == []
    assert (first.name, first.source) == ("JapaneseClip", f"{MODULE}.JapaneseClip")
    assert first.settings["context_length"] == "77"
    assert first.sha256 != ClipEncoder.from_pretrained(spec(folder, length=20)).identity.sha256


def test_the_route_from_pairs_to_pictures(module, japanese, tiny_world, tmp_path, capsys):
    from text2latent import infer, sample, train
    from text2latent.tests.train_runs import arguments

    (tmp_path / "japanese.yaml").write_text(json.dumps(spec(japanese[0])), encoding="utf-8")
    named = ("--clip", str(tmp_path / "japanese.yaml"))
    pairs = ["--generator", str(tiny_world), "--num-pairs", "40", "--shard-size", "20", "--device", "cpu"]
    assert sample.main([*pairs, *named, "--output", str(tmp_path / "pairs")]) == 0
    training = arguments(tmp_path / "pairs", tmp_path / "run")
    assert train.main(training) == 1
    assert f"expected --clip {MODULE}.JapaneseClip" in capsys.readouterr().err
    assert train.main([*training, *named]) == 0
    picture = tmp_path / "a.png"
    wanted = ["--model", str(tmp_path / "run"), "--text", "女性", "--device", "cpu", "--output", str(picture)]
    capsys.readouterr()
    assert infer.main(wanted) == 1
    assert f"imported only when you name it yourself; expected --clip {MODULE}.JapaneseClip" in capsys.readouterr().err
    assert infer.main([*wanted, *named]) == 0
    assert picture.stat().st_size > 0


def test_a_record_that_names_a_class_runs_no_code(module, japanese):
    module.write_text("import pathlib; pathlib.Path('CANARY').touch()", encoding="utf-8")
    for source in (f"{MODULE}.JapaneseClip", spec(japanese[0])):
        with pytest.raises(InputError, match="imported only when you name it yourself"):
            ClipEncoder.from_pretrained(source, allow_import=False)
    assert MODULE not in sys.modules


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("no_such_package.Clip", None, "--clip no_such_package.Clip: no module no_such_package"),
        ("json.JSONDecoder", None, "json.JSONDecoder: expected a subclass of text2latent's ClipModel"),
        ({"class_path": f"{MODULE}.JapaneseClip", "init_args": {"depth": 3}}, None, "init_args: .*argument"),
        ({"class_path": f"{MODULE}.JapaneseClip", "weights": 3}, None, "clip: weights: expected the keys class_path"),
        (f"{MODULE}.JapaneseClip", {"quick_gelu": True}, "--clip-args: expected none with a class of your own"),
    ],
)
def test_what_is_no_clip_is_a_usage_error(module, source, arguments, message):
    with pytest.raises(UsageError, match=message):
        ClipEncoder.from_pretrained(source, arguments)


PROJECTED = "return self.model.text_projection(found[1])"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("import torch\n", "import no_such_library\n", "cannot be imported: ModuleNotFoundError"),
        ("self.length = length\n", "raise RuntimeError('none')\n", "its constructor failed: RuntimeError: none"),
        (PROJECTED, "return found[1]", r"encode_image: expected 32 channels, as of texts, got 24"),
        (PROJECTED, "return found[0]", r"encode_text: expected features \[2, D\]"),
        (PROJECTED, "return float('nan') * found[1]", "encode_text: expected finite features"),
        ("attention_mask=mask.to(device), ", "", "expected the same features of a text alone and beside another"),
        ("self.image_size = ", "self.size = ", "image_size"),
    ],
)
def test_classes_that_break_the_contract_are_told_in_one_line(module, japanese, before, after, message):
    code = module.read_text(encoding="utf-8")
    assert before in code
    module.write_text(code.replace(before, after), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        ClipEncoder.from_pretrained(spec(japanese[0]))
    assert "\n" not in str(caught.value)
