"""What the page's scripts ask of the server: answers line by line, and pictures that come back as their latents."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from text2latent.apps.serving.engine import Engine
from text2latent.inference.latents_file import load_latents
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.tests.apps.serving.conftest import serving
from text2latent.tests.apps.serving.drawing import farthest

httpx = pytest.importorskip("httpx")
pytest.importorskip("gradio", reason="gradio of the extra [serve] is not installed")

START_FIELDS = ("model", "label", "text", "negative", "seed", "guidance_scale", "steps", "truncation", "rerank",
    "latents", "is_of_text")  # fmt: skip
DRAW = {"prompt": "a man", "n": 2, "seed": 5, "steps": 4}


@pytest.fixture(scope="module")
def site(engine: Engine) -> Iterator[Any]:
    with serving(engine) as address, httpx.Client(base_url=address, timeout=300, trust_env=False) as client:
        yield client


def lines(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def result(answer: Any) -> dict[str, Any]:
    return lines(answer)[-1]["result"]


def picture(served: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(served["png"])))


def start_of(served: dict[str, Any]) -> dict[str, Any]:
    return {name: served[name] for name in START_FIELDS}


@pytest.fixture(scope="module")
def drawn(site: Any) -> list[dict[str, Any]]:
    return result(site.post("/page/draw", json=DRAW))["pictures"]


def test_draws_what_the_pipeline_draws(drawn: list[dict[str, Any]], pipeline: Text2LatentPipeline) -> None:
    expected = pipeline("a man", 2, 4, seeds=[5, 6])
    for served, image, latents in zip(drawn, expected.images, expected.latents, strict=True):
        assert farthest(picture(served), image) <= 1
        kept = np.frombuffer(base64.b64decode(served["latents"]), "<f4").reshape(latents.shape)
        np.testing.assert_allclose(kept, latents.numpy(), rtol=0, atol=1e-6)
    assert picture(drawn[0]).info["prompt"] == "a man"
    assert "--seed 6" in drawn[1]["command"]


def test_a_picture_that_came_back_is_what_it_was(site: Any, drawn: list[dict[str, Any]], tmp_path: Any) -> None:
    changes = [{"source": "a man", "target": "a woman", "strength": 0}]
    (same,) = result(site.post("/page/adjust", json={"start": start_of(drawn[1]), "changes": changes}))["pictures"]
    assert farthest(picture(same), picture(drawn[1])) <= 1
    assert (same["seed"], same["latents"]) == (drawn[1]["seed"], drawn[1]["latents"])
    (tmp_path / "w.npz").write_bytes(site.post("/page/latents", json=start_of(drawn[0])).content)
    saved = load_latents(tmp_path / "w.npz", (8, 16)).numpy()
    assert np.array_equal(saved[0, 0], np.frombuffer(base64.b64decode(drawn[0]["latents"]), "<f4"))


def test_refining_says_how_far_it_is_and_its_command_draws_first(site: Any, drawn: list[dict[str, Any]]) -> None:
    *progress, last = lines(site.post("/page/refine", json={"start": start_of(drawn[0]), "iterations": 2}))
    assert [line["share"] for line in progress] == [0.5, 1.0]
    assert {line["what"] for line in progress} == {"refining"}
    (refined,) = last["result"]["pictures"]
    assert "--text 'a man'" in refined["command"]
    assert "--refine 2" in refined["command"]


def test_a_picture_without_a_text_is_refined_towards_itself(site: Any, drawn: list[dict[str, Any]]) -> None:
    file = base64.b64decode(drawn[0]["png"])
    asked = {"asked": json.dumps({"n": 1, "steps": 2, "image_name": "mine"})}
    (varied,) = result(site.post("/page/vary", data=asked, files={"picture": ("a.png", file)}))["pictures"]
    assert varied["text"] is None
    assert not varied["is_of_text"]
    start = {**start_of(varied), "png": varied["png"]}
    assert result(site.post("/page/refine", json={"start": start, "iterations": 1}))["pictures"]
    bare = site.post("/page/refine", json={"start": start_of(varied), "iterations": 1})
    assert bare.status_code == 400


def test_a_mix_comes_with_its_animation(site: Any) -> None:
    mixed = result(site.post("/page/mix", json={**DRAW, "prompt": None, "start": "a", "end": "b", "frames": 3}))
    assert len(mixed["pictures"]) == 3
    with Image.open(io.BytesIO(base64.b64decode(mixed["gif"]))) as moving:
        assert moving.n_frames == 4


def test_a_comparison_gives_the_prior_first_and_then_the_way(site: Any) -> None:
    first, *way, last = lines(site.post("/page/compare", json={**DRAW, "iterations": 3}))
    points = [point for line in way for point in line.get("points", [])]
    assert len(points) == 4
    assert points == last["result"]["points"]
    assert first["amortised"]["latents"] == last["result"]["amortised"]["latents"]
    assert any("png" in line for line in way)
    scores = [score for _, score in points]
    assert last["result"]["optimised"]["clip_score"] == pytest.approx(max(scores), abs=1e-4)


def test_a_picture_is_found(site: Any, drawn: list[dict[str, Any]]) -> None:
    asked = {"asked": json.dumps({"image_name": "mine"})}
    file = base64.b64decode(drawn[0]["png"])
    # The limits of this server allow fewer steps than the search takes.
    answer = site.post("/page/find", data=asked, files={"picture": ("a.png", file)})
    assert answer.status_code == 400
    assert "iterations" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"prompt": " "}, 400, "prompt"),
        ({"prompt": "a man |"}, 400, "prompt"),
        ({"prompt": "x" * 300}, 400, "prompt"),
        ({"n": 5}, 400, "n"),
        ({"seed": 2**63}, 400, "seed"),
        ({"steps": "many"}, 400, "steps"),
        ({"negative_prompt": " |"}, 400, "negative_prompt"),
        ({"model": "nobody"}, 404, "model"),
        ({"unknown": 1}, 400, "unknown"),
    ],
)
def test_what_is_wrong_is_named(site: Any, change: dict[str, Any], status: int, field: str) -> None:
    answer = site.post("/page/draw", json={**DRAW, **change})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, field)


@pytest.mark.parametrize("asked", ["", "[]", '{"n": "x"}', '{"what": 1}'])
def test_what_comes_with_a_picture_is_checked(site: Any, drawn: list[dict[str, Any]], asked: str) -> None:
    files = {"picture": ("a.png", base64.b64decode(drawn[0]["png"]))}
    assert site.post("/page/vary", data={"asked": asked}, files=files).status_code == 400


def test_the_page_and_its_files_are_there_and_checked_for_changes(site: Any) -> None:
    page = site.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    script = site.get("/page/page.js")
    assert script.headers["content-type"].startswith("text/javascript")
    again = site.get("/page/page.js", headers={"If-None-Match": script.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert site.head("/").status_code == 200
    for name in ("index.html", "none.js", "../app.py", "%2e%2e/app.py"):
        assert site.get(f"/page/{name}").status_code == 404


def test_settings_and_worlds_are_told(site: Any, engine: Engine) -> None:
    settings = site.get("/page/settings.json").json()
    assert settings["models"] == ["tiny"]
    assert settings["limits"]["max_images"] == engine.limits.max_images
    assert site.get("/page/worlds/tiny").json() == {"examples": []}
    assert site.get("/page/worlds/nobody").status_code == 404
