"""What infer takes besides texts: weights, images, files of prompts, latents, edits, ways between texts, refinement."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent.inference.domain import fit_domain, save_domain
from text2latent.inference.images import to_pil
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.tests.pictures import JAPANESE, TEXT, Infer, differ, pixels

SMALL = ("--num-images", "2", "--seed", "3")


def test_weighted_and_negative_texts_are_those_of_the_pipeline(run_infer: Infer, tiny_model: Path) -> None:
    prompt = "a woman:1.0 | glasses:0.5"
    code, out, err = run_infer("--text", prompt, "--negative-text", "a man", "--output", "a.png", "--json")
    assert code == 0, err
    report = json.loads(out)["settings"]
    assert (report["negative_text"], report["guidance_scale"]) == ("a man", 2.0)
    pipe = Text2LatentPipeline.from_pretrained(str(tiny_model))
    drawn = pipe(prompt, negative_prompt="a man", seeds=[0]).images[0]
    assert differ(pixels("a.png"), drawn.tobytes()) <= 1


def test_images_are_varied_and_mixed_with_texts(run_infer: Infer, tiny_model: Path) -> None:
    picture = Image.radial_gradient("L").convert("RGB")
    picture.save("sun set.png")
    assert run_infer("--image", "sun set.png", "--output", "varied.png")[0] == 0
    code, out, _ = run_infer("--image", "sun set.png", "--text", TEXT, "--image-weight", "0.3", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["settings"]["image"], report["settings"]["image_weight"]) == (["sun set.png"], 0.3)
    assert [image["file"] for image in report["images"]] == ["blonde-woman-with-glasses-sun-set-0.png"]
    pipe = Text2LatentPipeline.from_pretrained(str(tiny_model))
    varied, mixed = (pipe(text, image=picture, image_weight=0.3, seeds=[0]).images[0] for text in (None, TEXT))
    assert differ(pixels("varied.png"), varied.tobytes()) <= 1
    assert differ(pixels(report["images"][0]["file"]), mixed.tobytes()) <= 1


def test_prompt_files_stream_and_go_on_where_they_stopped(run_infer: Infer) -> None:
    Path("p.jsonl").write_text(f'{{"text": "{TEXT}"}}\n{{"text": "{JAPANESE}", "want": {{"age": "old"}}}}\n')
    arguments = ("--prompts", "p.jsonl", *SMALL, "--output", "out/", "--batch-size", "2")
    assert run_infer(*arguments)[0] == 0
    names = sorted(os.listdir("out"))
    assert len(names) == 4
    before = {name: pixels(f"out/{name}") for name in names}
    os.remove(f"out/{names[1]}")
    Path(f"out/{names[0]}").write_text("mine")
    assert run_infer(*arguments)[0] == 1
    code, out, err = run_infer(*arguments, "--skip-existing", "--json")
    assert code == 0, err
    assert [image["file"] for image in json.loads(out)["images"]] == [f"out/{names[1]}"]
    assert differ(pixels(f"out/{names[1]}"), before[names[1]]) <= 1
    assert Path(f"out/{names[0]}").read_text() == "mine"


def test_text_files_stream_with_progress(run_infer: Infer) -> None:
    texts = [TEXT, JAPANESE, "a man | a hat:0.5"]
    Path("p.txt").write_text("\n\n".join(texts), encoding="utf-8-sig")
    code, out, err = run_infer("--prompts", "p.txt", *SMALL, "--output", "{index}.png", "--batch-size", "4", "--json")
    assert code == 0, err
    assert [image["prompt"] for image in json.loads(out)["images"]] == [text for text in texts for _ in range(2)]
    assert "6/6" in err
    assert "images" in err


def test_latents_are_kept_and_drawn_again(run_infer: Infer, tiny_model: Path) -> None:
    assert run_infer("--text", TEXT, "--text", JAPANESE, *SMALL, "--output", "a/", "--save-latents", "w.npz")[0] == 0
    with np.load("w.npz") as arrays:
        assert (arrays["w"].shape, arrays["w"].dtype) == ((4, 8, 16), np.float32)
    code, out, err = run_infer("--latents", "w.npz", "--output", "b/{index}.png", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["settings"]["latents"], report["images"][0]["clip_score"]) == ("w.npz", None)
    names = [f"a/{slug}-{seed}.png" for slug in ("blonde-woman-with-glasses", JAPANESE) for seed in (3, 4)]
    for index, name in enumerate(names):
        assert differ(pixels(f"b/{index}.png"), pixels(name)) <= 1


def test_edits_of_latents_texts_and_random_images(run_infer: Infer, tiny_model: Path) -> None:
    edit = ("--edit", "a man", "a woman")
    assert run_infer("--text", TEXT, *SMALL, "--output", "a/", "--save-latents", "w.npz")[0] == 0
    assert run_infer("--latents", "w.npz", *edit, "--output", "b/", "--save-latents", "v.npz")[0] == 0
    code, out, err = run_infer("--text", TEXT, *SMALL, *edit, "--strength", "1", "--output", "c/", "--json")
    assert code == 0, err
    assert json.loads(out)["settings"]["edit"] == ["a man", "a woman"]
    assert {image["prompt"] for image in json.loads(out)["images"]} == {f"{TEXT}, edited from 'a man' to 'a woman'"}
    assert min(os.listdir("c")) == "blonde-woman-with-glasses-edited-from-a-man-to-a-woman-3.png"
    for file, other in zip(sorted(os.listdir("b")), sorted(os.listdir("c")), strict=True):
        assert differ(pixels(f"b/{file}"), pixels(f"c/{other}")) <= 1
    with np.load("w.npz") as before, np.load("v.npz") as after:
        moved = after["w"] - before["w"]
    assert np.abs(moved - moved[:1]).max() < 1e-4 < np.abs(moved).max()
    assert run_infer(*edit, "--strength", "0", "--seed", "7", "--output", "own.png")[0] == 0
    generator = Text2LatentPipeline.from_pretrained(str(tiny_model)).generator
    own = to_pil(generator.synthesize(generator.map(generator.sample_latents(1, 7))))[0]
    assert differ(pixels("own.png"), own.tobytes()) <= 1


def test_interpolations_move_or_lie_side_by_side(run_infer: Infer) -> None:
    way = ("--interpolate", "a man", "a woman", "--frames", "4", *SMALL)
    code, out, err = run_infer(*way, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert {image["file"] for image in report["images"]} == {"a-man-to-a-woman-3.gif"}
    assert [image["seed"] for image in report["images"]] == [3, 4] * 4
    with Image.open("a-man-to-a-woman-3.gif") as moving:
        assert (moving.n_frames, moving.size) == (4, (2 * 34 - 2, 32))
    assert run_infer(*way, "--output", "way.png")[0] == 0
    assert run_infer(*way, "--grid", "--output", "grid.png")[0] == 0
    assert Image.open("way.png").size == (4 * 34 - 2, 2 * 34 - 2)
    assert pixels("way.png") == pixels("grid.png")
    run_infer("--text", "a man", "--seed", "4", "--output", "start.png")
    run_infer("--text", "a woman", "--seed", "3", "--output", "end.png")
    sheet = Image.open("way.png").convert("RGB")
    assert differ(sheet.crop((0, 34, 32, 66)).tobytes(), pixels("start.png")) <= 1
    assert differ(sheet.crop((102, 0, 134, 32)).tobytes(), pixels("end.png")) <= 1


def test_interpolation_as_a_film(run_infer: Infer) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    code, _, err = run_infer("--interpolate", "若い女性", "老いた女性", "--frames", "3", "--output", "way.mp4")
    assert code == 0, err
    reader = imageio_ffmpeg.read_frames("way.mp4")
    assert next(reader)["size"] == (32, 32)
    assert len(list(reader)) == 3


def test_refined_image_is_the_pipelines(run_infer: Infer, tiny_model: Path) -> None:
    code, out, _ = run_infer("--text", TEXT, "--refine", "8", "--output", "a.png", "--json")
    assert (code, json.loads(out)["settings"]["refine"]) == (0, 8)
    pipe = Text2LatentPipeline.from_pretrained(str(tiny_model))
    refined, plain = (pipe(TEXT, refine=k, seeds=[0]).images[0].tobytes() for k in (8, 0))
    assert differ(pixels("a.png"), refined) <= 1 < differ(refined, plain)


def test_foreign_prompts_are_warned_of_and_told(tiny_model: Path, run_infer: Infer, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    near = Text2LatentPipeline.from_pretrained(str(tiny_model)).encode_prompts(["a man", "a dog"]).repeat(50, 1)
    noise = 0.1 * torch.randn(near.shape, generator=torch.Generator().manual_seed(0))
    save_domain(model, fit_domain(near, torch.nn.functional.normalize(near + noise, dim=1)))
    foreign = "quarterly report on the price of steel"
    code, out, err = run_infer("--text", "a man", "--text", foreign, "--json", model=str(model))
    assert code == 0
    scores = [image["out_of_domain"] for image in json.loads(out)["images"]]
    assert scores == [
        {"percentile": 0.0, "threshold": 98.0, "is_outside": False},
        {"percentile": 100.0, "threshold": 98.0, "is_outside": True},
    ]
    (line,) = err.strip().splitlines()
    assert f"warning: prompt {foreign!r} seems to be beyond what this model draws (out-of-domain score 100.0" in line


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--text", "a | :2"], 2, "expected a text in each part"),
        (["--text", TEXT, "--negative-text", ""], 2, "prompt ''"),
        (["--text", TEXT, "--negative-text", "x", "--guidance-scale", "1"], 2, "--guidance-scale other than 1"),
        (["--text", TEXT, "--prompts", "p.txt"], 2, "--prompts: expected no --text"),
        (["--prompts", "none.txt"], 1, "--prompts: cannot read none.txt"),
        (["--image", "none.png"], 1, "--image: none.png: no such file"),
        (["--text", TEXT, "--image-weight", "2"], 2, "--image-weight"),
        (["--text", TEXT, "--latents", "w.npz"], 2, "--latents: expected no --text"),
        (["--latents", "w.npz"], 1, "--latents: w.npz"),
        (["--interpolate", "a", "b", "--text", "c"], 2, "--interpolate: expected no --text"),
        (["--interpolate", "a", "b", "--frames", "1"], 2, "--frames"),
        (["--interpolate", "a", "b", "--output", "a.jpg"], 2, ".png or .gif or .mp4"),
        (["--interpolate", "a", ""], 2, "prompt ''"),
        (["--edit", "a", "b", "--strength", "99"], 2, "--strength"),
        (["--edit", "a"], 2, "--edit"),
        (["--text", TEXT, "--strength", "1"], 2, "--strength: expected --edit with it"),
        (["--text", TEXT, "--refine", "-1"], 2, "--refine"),
        (["--text", TEXT, "--skip-existing", "--grid"], 2, "--skip-existing: expected no --grid"),
        (["--text", TEXT, "--save-latents", "/proc/w.npz"], 1, "/proc"),
    ],
)
def test_wrong_controls_are_one_line(run_infer: Infer, arguments: list[str], code: int, expected: str) -> None:
    ended, out, err = run_infer(*arguments)
    assert (ended, out) == (code, "")
    assert expected in err
    assert len(err.strip().splitlines()) == 1
    assert os.listdir() == []


def test_image_that_is_none_and_foreign_latents_are_refused(run_infer: Infer) -> None:
    Path("fake.png").write_text("no image")
    np.savez("w.npz", w=np.zeros((1, 3, 3)))
    for flag, name, expected in (
        ("--image", "fake.png", "expected an image file"),
        ("--latents", "w.npz", "[N, 8, 16]"),
    ):
        code, _, err = run_infer(flag, name)
        assert (code, len(err.strip().splitlines())) == (1, 1)
        assert f"{flag}: {name}" in err
        assert expected in err
    assert sorted(os.listdir()) == ["fake.png", "w.npz"]
