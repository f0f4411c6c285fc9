"""Zero-shot classification against open_clip's own recipe, and lists of labels."""

from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from text2latent.apps.evaluation.classification import classify, embed_labels, known_labels, read_labels
from text2latent.common.errors import InputError, UsageError
from text2latent.inference.images import from_pil, to_pil
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import load_generator


@pytest.fixture(scope="module")
def pictures(tiny_world: Path) -> list[Image.Image]:
    generator = load_generator(str(tiny_world))
    return to_pil(generator.synthesize(generator.map(generator.sample_latents(3, 0))))


def test_probabilities_are_those_of_open_clips_recipe(tiny_world: Path, pictures: list[Image.Image]) -> None:
    """As in open_clip's README: normalised features, their product times the logit scale, softmax."""
    folder = f"local-dir:{tiny_world / 'clip'}"
    model, preprocess = open_clip.create_model_from_pretrained(folder)
    tokenizer, labels = open_clip.get_tokenizer(folder), read_labels("cifar100")
    templates = ["a photo of a {}", "a drawing of the {}"]
    model.eval()
    with torch.no_grad():
        images = model.encode_image(torch.stack([preprocess(picture) for picture in pictures]), normalize=True)
        texts = open_clip.build_zero_shot_classifier(
            model, tokenizer, labels, [template.format for template in templates]
        )
        expected = (model.logit_scale.exp() * images @ texts).softmax(dim=-1)
    clip = ClipEncoder.from_pretrained(str(tiny_world))
    # The pictures have the size that this CLIP takes, so that nothing is resized, which open_clip rounds to 8 bits.
    batch = torch.stack([from_pil(picture) for picture in pictures])
    got = classify(clip, batch, embed_labels(clip, labels, templates))
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(got.sum(dim=1), torch.ones(3))
    assert expected.max() > 1.5 / len(labels)


def test_several_templates_give_their_mean_direction(tiny_world: Path) -> None:
    clip = ClipEncoder.from_pretrained(str(tiny_world))
    embedded = clip.encode_text(["a dog", "one dog"])
    expected = embedded.mean(dim=0) / embedded.mean(dim=0).norm()
    torch.testing.assert_close(embed_labels(clip, ["dog"], ["a {}", "one {}"])[0], expected)


def test_lists_that_ship_with_the_package() -> None:
    from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights

    assert known_labels() == ["cifar100", "voc"]
    cifar = read_labels("cifar100")
    assert (len(cifar), len(set(cifar)), cifar[0], cifar[-1]) == (100, 100, "apple", "worm")
    assert cifar == sorted(cifar)
    assert read_labels("voc")[1:] == DeepLabV3_ResNet50_Weights.DEFAULT.meta["categories"][1:]


def test_labels_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("\n 眼鏡 \n\na dog\n", encoding="utf-8")
    assert read_labels(file) == ["眼鏡", "a dog"]


@pytest.mark.parametrize("text", ["", "one\n", "a\nb\na\n"])
def test_files_without_labels_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "labels.txt"
    file.write_text(text)
    with pytest.raises(InputError, match="expected at least two different labels"):
        read_labels(file)


def test_unknown_lists_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--labels: expected cifar100, voc, or a file"):
        read_labels("imagenet")
    (tmp_path / "x").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match="not UTF-8"):
        read_labels(tmp_path / "x")


def test_a_template_needs_a_place(tiny_world: Path) -> None:
    with pytest.raises(UsageError, match=r"--template: expected \{\}"):
        embed_labels(ClipEncoder.from_pretrained(str(tiny_world)), ["dog"], ["a photo"])
