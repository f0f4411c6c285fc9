"""The API over HTTP: what it draws, what it reports, what it refuses, and how it behaves when many call."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from text2latent import __version__
from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.limits import Batching
from text2latent.apps.serving.requests import DrawRequest
from text2latent.tests.apps.serving.conftest import SMALL_LIMITS, serving
from text2latent.tests.apps.serving.drawing import JAPANESE, TEXT, farthest

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")

from starlette.testclient import TestClient  # noqa: E402

from text2latent.apps.serving.app import build_app  # noqa: E402

PATIENCE = 300.0
AS_JSON = {"Content-Type": "application/json"}
IMAGES, VARIATIONS = "/v1/images", "/v1/images/variations"


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "PNG"
    return picture


def png(picture: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return file.getvalue()


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return body["error"]


def test_images_are_told_with_addresses(client: httpx.Client, engine: Engine, address: str) -> None:
    wanted = {"prompt": TEXT, "n": 3, "seed": 7, "guidance_scale": 2.0, "steps": 4}
    answer = client.post(IMAGES, json=wanted)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert (report["model"], report["size"], report["output_format"]) == ("tiny", "32x32", "png")
    assert abs(report["created"] - time.time()) < PATIENCE
    assert report["seconds"] >= max(image["seconds"] for image in report["data"]) > 0
    assert report["out_of_domain"] is None
    expected = engine.submit_draw(DrawRequest(TEXT, n=3, seed=7, guidance_scale=2.0, steps=4)).result().images
    assert [image["seed"] for image in report["data"]] == [7, 8, 9]
    for image, other in zip(report["data"], expected, strict=True):
        assert set(image) == {"url", "seed", "clip_score", "seconds"}
        assert image["url"].startswith(f"{address}/v1/images/files/")
        assert image["clip_score"] == pytest.approx(other.clip_score, abs=1e-3)
        file = client.get(image["url"])
        assert (file.headers["content-type"], file.headers["x-content-type-options"]) == ("image/png", "nosniff")
        assert farthest(opened(file.content), other.picture) <= 1


@pytest.mark.parametrize("path", [IMAGES, "/v1/images/generations"])
def test_images_can_be_in_the_answer(client: httpx.Client, path: str) -> None:
    wanted = {"prompt": JAPANESE, "seed": 3, "response_format": "b64_json", "size": "64x64", "model": "tiny"}
    answer = client.post(path, json={**wanted, "negative_prompt": "hat", "truncation": 0.8, "rerank": 2, "user": "me"})
    assert answer.status_code == 200, answer.text
    (image,) = answer.json()["data"]
    assert set(image) == {"b64_json", "seed", "clip_score", "seconds"}
    picture = opened(base64.b64decode(image["b64_json"], validate=True))
    assert picture.size == (64, 64)
    assert (picture.info["prompt"], picture.info["seed"]) == (JAPANESE, "3")
    assert '"negative_text": "hat"' in picture.info["text2latent"]


def test_whole_numbers_may_be_written_with_a_point(client: httpx.Client) -> None:
    answer = client.post(IMAGES, content=b'{"prompt": "a", "n": 2.0, "seed": 1e3}', headers=AS_JSON)
    assert [image["seed"] for image in answer.json()["data"]] == [1000, 1001]
    assert error_of(client.post(IMAGES, json={"prompt": "a", "n": 1.5}), 400)["param"] == "n"


def test_without_a_seed_each_image_has_its_own(client: httpx.Client) -> None:
    seeds = [client.post(IMAGES, json={"prompt": TEXT}).json()["data"][0]["seed"] for _ in range(2)]
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("prompt", None, "string"),
        ("prompt", "", "at least 1 character"),
        ("prompt", " \t", "expected"),
        ("prompt", "x" * 201, "at most 200"),
        ("prompt", "a\0b", "control characters"),
        ("prompt", "a | b:-1", "positive"),
        ("n", 0, "greater than or equal to 1"),
        ("n", 5, "less than or equal to 4"),
        ("n", "2", "integer"),
        ("n", True, "integer"),
        ("steps", 9, "less than or equal to 8"),
        ("rerank", 4, "less than or equal to 3"),
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**63, "less than 9223372036854775808"),
        ("guidance_scale", 21, "less than or equal to 20"),
        ("truncation", -0.1, "greater than or equal to 0"),
        ("negative_prompt", "x" * 201, "at most 200"),
        ("size", "31x32", "proportions of 32x32"),
        ("size", "512x512", "at most 256 pixels"),
        ("size", "big", "pattern"),
        ("size", "64x64\n", "pattern"),
        ("response_format", "jpeg", "b64_json"),
        ("stream", True, "False"),
        ("output_format", "gif", "'png', 'jpeg' or 'webp'"),
        ("mask", "x", "Extra inputs"),
    ],
)
def test_fields_that_are_wrong_are_named(client: httpx.Client, field: str, value: Any, expected: str) -> None:
    error = error_of(client.post(IMAGES, json={"prompt": TEXT, field: value}), 400)
    assert error["param"] == field
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(field)
    assert expected in error["message"]
    assert "\n" not in error["message"]


def test_bodies_that_are_no_json_objects_are_refused(client: httpx.Client) -> None:
    for body in (b"", b"{", b"[]", b"nonsense", b'{"prompt": NaN}', b"\xff\xfe", b"[" * 10_000):
        error_of(client.post(IMAGES, content=body, headers=AS_JSON), 400)
    unpaired = client.post(IMAGES, content=b'{"prompt": "\\ud800"}', headers=AS_JSON)
    assert error_of(unpaired, 400)["param"] == "prompt"
    infinite = client.post(IMAGES, content=b'{"prompt": "a", "guidance_scale": 1e999}', headers=AS_JSON)
    assert error_of(infinite, 400)["param"] == "guidance_scale"


def test_unknown_models_and_addresses_are_404(client: httpx.Client) -> None:
    error = error_of(client.post(IMAGES, json={"prompt": TEXT, "model": "dall-e-3"}), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")
    assert "expected one of tiny" in error["message"]
    error_of(client.get("/v1/images/files/none.png"), 404)


@pytest.mark.parametrize("page", [False, True])
@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/v1/nothing", 404, None),
        ("POST", "/v1/nothing", 404, None),
        ("GET", "/nothing", 404, None),
        ("POST", "/nothing", 404, None),
        ("GET", "/v1/images/files", 404, None),
        ("GET", IMAGES, 405, "POST"),
        ("DELETE", VARIATIONS, 405, "POST"),
        ("DELETE", "/v1/models/tiny", 405, "GET"),
        ("PUT", "/health", 405, "GET"),
    ],
)
def test_wrong_addresses_and_methods_are_told_alike_with_and_without_a_page(
    apps: dict[bool, TestClient], page: bool, method: str, path: str, status: int, allowed: str | None
) -> None:
    answer = apps[page].request(method, path)
    error = error_of(answer, status)
    assert error["message"].endswith(f", got {method} {path}")
    assert error["type"] == "invalid_request_error"
    assert answer.headers.get("allow") == allowed


@pytest.fixture(scope="module")
def apps(engine: Engine) -> dict[bool, TestClient]:
    pytest.importorskip("gradio")
    return {page: TestClient(build_app(engine, page=page, allowed_hosts=["testserver"])) for page in (False, True)}


def test_endpoints_of_the_page_answer_its_clients_in_their_words(apps: dict[bool, TestClient]) -> None:
    error_of(apps[False].get("/gradio_api/nothing"), 404)
    answer = apps[True].get("/gradio_api/file=/etc/passwd")
    assert answer.status_code == 404
    assert isinstance(answer.json()["detail"], str)


def test_models_and_health_are_told(client: httpx.Client) -> None:
    client.post(IMAGES, json={"prompt": TEXT})
    report = client.get("/v1/models").json()
    (model,) = report["data"]
    assert (report["object"], model["object"]) == ("list", "model")
    assert (model["id"], model["owned_by"], model["is_loaded"], model["image_size"]) == ("tiny", "folder", True, 32)
    assert client.get("/v1/models/tiny").json() == model
    assert client.get("/health").json() == {"status": "ok", "version": __version__, "waiting": 0}


def test_variations_follow_an_upload(client: httpx.Client, engine: Engine) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    form = {"n": "2", "seed": "5", "response_format": "b64_json", "prompt": TEXT, "image_weight": "0.7"}
    files = {"image": ("C:\\secret\\me.png", png(picture), "image/png")}
    answer = client.post(VARIATIONS, data=form, files=files)
    assert answer.status_code == 200, answer.text
    expected = engine.submit_draw(DrawRequest(TEXT, n=2, seed=5, image=picture, image_weight=0.7)).result().images
    for image, other in zip(answer.json()["data"], expected, strict=True):
        drawn = opened(base64.b64decode(image["b64_json"]))
        assert farthest(drawn, other.picture) <= 1
        assert "secret" not in str(drawn.info)


def test_uploads_are_turned_as_their_exif_says(client: httpx.Client) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: 90 degrees clockwise
    turned = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_270)
    drawn = []
    for data in (png(Image.fromarray(pixels), exif=exif), png(turned), png(Image.fromarray(pixels))):
        form = {"seed": "1", "response_format": "b64_json"}
        answer = client.post(VARIATIONS, data=form, files={"image": data}).json()
        drawn.append(opened(base64.b64decode(answer["data"][0]["b64_json"])))
    assert farthest(drawn[0], drawn[1]) <= 1 < farthest(drawn[0], drawn[2])


def bomb() -> bytes:
    """A small PNG file that declares 60000 x 60000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100_000))


@pytest.mark.parametrize(
    ("data", "status", "expected"),
    [
        (b"no picture", 400, "image: expected a whole PNG, JPEG, WEBP, GIF, BMP file"),
        (b"", 400, "image: expected a whole PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400, "image: expected a whole PNG"),
        (bomb(), 413, "image: expected at most 1 megapixels"),
        (b"x" * 300_001, 413, "image: expected at most"),
        (b"x" * 3_000_000, 413, "body: expected at most"),
    ],
)
def test_uploads_that_are_no_pictures_or_too_large_are_refused(
    client: httpx.Client, data: bytes, status: int, expected: str
) -> None:
    answer = client.post(VARIATIONS, data={"seed": "1"}, files={"image": ("/etc/passwd", data)})
    assert error_of(answer, status)["message"].startswith(expected)
    assert "passwd" not in answer.text


def test_a_body_that_does_not_tell_its_length_is_bounded_too(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 2**16

    try:
        answer = client.post(IMAGES, content=endless(), headers=AS_JSON)
    except httpx.TransportError:  # the server has hung up before all was sent
        return
    assert answer.status_code == 413


@dataclass
class Held:
    """A server that draws nothing before `go_on`; `drawn` are the seeds of what it has begun to draw."""

    address: str
    engine: Engine
    go_on: threading.Event
    drawn: list[int]


@pytest.fixture
def hold(tiny_model: Path) -> Iterator[Callable[[Batching], Held]]:
    with contextlib.ExitStack() as stack:

        def make(batching: Batching) -> Held:
            engine = stack.enter_context(Engine([f"tiny={tiny_model}"], "cpu", SMALL_LIMITS, batching))
            run, held = engine._draws._run, Held("", engine, threading.Event(), [])

            def wait_and_run(tasks: list[Any]) -> Any:
                held.drawn.extend(task.seed for task in tasks)
                assert held.go_on.wait(PATIENCE)
                return run(tasks)

            engine._draws._run = wait_and_run
            held.address = stack.enter_context(serving(engine, page=False))
            stack.callback(held.go_on.set)
            return held

        yield make


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def post(address: str, timeout: float = PATIENCE, **fields: Any) -> httpx.Response:
    return httpx.post(f"{address}{IMAGES}", json={"prompt": TEXT, **fields}, timeout=timeout, trust_env=False)


def test_a_full_queue_answers_429_and_says_when_to_come_again(hold) -> None:
    held = hold(Batching(1, 0.0, max_waiting=2))
    with ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(post, held.address, seed=0)]
        wait_until(lambda: held.drawn == [0])
        accepted += [pool.submit(post, held.address, seed=seed) for seed in (1, 2)]
        wait_until(lambda: held.engine.num_waiting == 2)
        refused = post(held.address)
        health = httpx.get(f"{held.address}/health", trust_env=False).json()
        held.go_on.set()
        assert [future.result().json()["data"][0]["seed"] for future in accepted] == [0, 1, 2]
    error = error_of(refused, 429)
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert int(refused.headers["retry-after"]) >= 1
    assert health["waiting"] == 2
    assert post(held.address).status_code == 200


def test_what_nobody_waits_for_any_more_is_not_drawn(hold) -> None:
    held = hold(Batching(1, 0.0))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, held.address, seed=1)
        wait_until(lambda: held.drawn == [1])
        third = pool.submit(post, held.address, seed=3)
        wait_until(lambda: held.engine.num_waiting == 1)
        with pytest.raises(httpx.ReadTimeout):
            post(held.address, timeout=1.0, seed=2)
        wait_until(lambda: held.engine.num_waiting == 1)
        held.go_on.set()
        assert [future.result().status_code for future in (first, third)] == [200, 200]
    assert held.drawn == [1, 3]


def test_requests_of_one_moment_share_passes(tiny_model: Path) -> None:
    with Engine([f"tiny={tiny_model}"], "cpu", SMALL_LIMITS, Batching(16, 5.0)) as engine:
        passes: list[int] = []
        run = engine._draws._run
        engine._draws._run = lambda tasks: passes.append(len(tasks)) or run(tasks)
        with serving(engine, page=False) as address, ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda seed: post(address, seed=seed), range(16)))
    assert [answer.json()["data"][0]["seed"] for answer in answers] == list(range(16))
    # A batch of 16 is full and starts at once; clients that are late make further ones.
    assert sum(passes) == 16
    assert len(passes) < 8


def test_bugs_and_broken_models_tell_nothing_of_the_server(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "secret" / "broken"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text("{}", encoding="utf-8")
    models = [f"tiny={tiny_model}", f"broken={broken}"]
    with Engine(models, "cpu", SMALL_LIMITS) as engine, serving(engine, page=False) as address:
        unavailable = post(address, model="broken")
        engine._draws._run = lambda tasks: (tmp_path / "secret" / "file").read_bytes()
        failed = post(address)
    assert error_of(unavailable, 503)["message"].startswith("model: 'broken' can't be loaded")
    assert error_of(failed, 500)["message"] == "the server failed; its log says why"
    assert "secret" not in unavailable.text + failed.text
    # Whoever runs the server learns more.
    assert capsys.readouterr().err.count("secret") >= 2


def test_no_file_of_the_server_can_be_asked_for(client: httpx.Client) -> None:
    places = ("/../../etc/passwd", "/..%2f..%2fetc%2fpasswd.png", "/%2e%2e/%2e%2e/etc/passwd.png", "/a%00.png")
    for place in places:
        answer = client.get(f"/v1/images/files{place}")
        assert answer.status_code == 404
        assert "root:" not in answer.text
