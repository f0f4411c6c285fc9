"""Recipes: the command and the Python under an image draw it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from text2latent import __main__
from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.operations import CompareRequest, EditRequest, MixRequest, RefineRequest
from text2latent.apps.serving.projections import ProjectRequest
from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.results import Recipe, ServedImage
from text2latent.tests.apps.serving.drawing import JAPANESE, REQUESTS, TEXT, farthest, variations_of


def all_kinds(engine: Engine) -> Iterator[tuple[str, ServedImage, ServedImage | None]]:
    """Name, image, and the image that it was made of, if any, for each way in which images come about."""
    for number in (0, 4, 5, 6):
        yield f"draw {number}", engine.submit_draw(REQUESTS[number]).result().images[-1], None
    start = engine.submit_draw(REQUESTS[2]).result().images[1]
    yield "variation", engine.submit_draw(variations_of(start, 2, seed=3)).result().images[1], start
    yield (
        "mixed with an image",
        engine.submit_draw(replace(REQUESTS[8], image=start.picture, image_name=start.stem)).result().images[0],
        start,
    )
    yield (
        "mix",
        engine.submit_mix(MixRequest("a 'sad' child", JAPANESE, 4, DrawRequest(seed=4, negative_prompt="hat")))
        .result()
        .frames[2],
        None,
    )
    edited = engine.submit_edit(EditRequest((start,), "a woman", "a man", -1.5)).result().after[0]
    yield "edit", edited, start
    yield (
        "refined",
        engine.submit_refine(RefineRequest(engine.submit_draw(REQUESTS[5]).result().images[0], 3)).result().after,
        None,
    )
    yield "refined edit", engine.submit_refine(RefineRequest(edited, 3)).result().after, edited
    found = engine.submit_project(ProjectRequest(start.picture, start.stem, 3, DrawRequest(seed=2))).result().images[0]
    yield "found", found, start
    yield "optimised", engine.submit_compare(CompareRequest(TEXT, 3, DrawRequest(seed=6))).result().optimised, None


def follow(recipe: Recipe, way: str) -> None:
    if way == "command":
        words = shlex.split(recipe.command)
        assert words[0] == "text2latent"
        assert __main__.main([*words[1:], "--device", "cpu"]) == 0
    else:
        exec(compile(recipe.python, "recipe", "exec"), {})


def drawn_picture(folder: Path) -> Image.Image:
    """The picture that a recipe drew into a folder; of a GIF the third frame, of a run the best image."""
    files = {file for file in folder.rglob("*") if file.suffix in (".png", ".gif")}
    files = {file for file in files if file.name == "best.png"} or files
    (path,) = files
    picture = Image.open(path)
    if path.suffix == ".gif":
        picture.seek(2)
    return picture.convert("RGB")


def test_recipes_draw_the_same_images(
    engine: Engine,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for kind, image, start in all_kinds(engine):
        for way in ("command", "python"):
            if way == "command" and not image.recipe.command:
                assert kind == "refined edit"
                continue
            folder = tmp_path / way / kind / "drawn"
            folder.mkdir(parents=True)
            monkeypatch.chdir(folder.parent)
            Path("tiny").symlink_to(tiny_model)
            if start is not None:
                assert start.stem in image.recipe.needs
                Path(f"{start.stem}.png").write_bytes(start.png())
                Path(f"{start.stem}.npz").write_bytes(start.npz())
            else:
                assert image.recipe.needs == ""
            before = set(Path().rglob("*"))
            follow(image.recipe, way)
            for file in set(Path().glob("*")) - before:
                file.rename(folder / file.name)
            difference = farthest(drawn_picture(folder), image.picture)
            # A GIF has 256 colours for all its frames.
            assert difference <= (100 if kind == "mix" and way == "command" else 1), (kind, way, image.recipe)


def test_recipes_name_no_path_of_the_server(engine: Engine, tiny_model: Path) -> None:
    for _, image, _ in all_kinds(engine):
        text = image.recipe.command + image.recipe.python + json.dumps(image.description)
        assert str(tiny_model.parent) not in text
