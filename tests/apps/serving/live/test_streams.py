"""Streams over HTTP, of the faces: what they show, how they are changed, who may read them, and how many."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.live.changes import Change
from text2latent.apps.serving.live.stage import Stage
from text2latent.apps.serving.requests import DrawRequest
from text2latent.tests.apps.serving.conftest import serving
from text2latent.tests.apps.serving.drawing import farthest

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")

from text2latent.tests.apps.serving.live.reading import PATIENCE, events, mjpeg, picture, until  # noqa: E402

TOKEN = "a-token-for-streams"
TEXT, OTHER = "blonde woman with glasses", "an old man with a hat"
JPEG_LOSS = 4.0
"""Levels that JPEG may be off, in the mean."""


@contextlib.contextmanager
def shown(engine: Engine, **options: Any) -> Iterator[tuple[Stage, httpx.Client]]:
    failures: list[Exception] = []
    with Stage(engine).closing() as stage:
        stage.share(Change(TEXT, seed=5, ease=0.0), failures.append)
        with (
            serving(engine, page=False, stage=stage, **options) as address,
            httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False) as client,
        ):
            yield stage, client
    assert not failures


@pytest.fixture(scope="module")
def live(faces_engine: Engine) -> Iterator[tuple[Stage, httpx.Client]]:
    with shown(faces_engine) as live:
        yield live


@pytest.fixture
def client(live: tuple[Stage, httpx.Client]) -> httpx.Client:
    return live[1]


def change(client: httpx.Client, name: str, **targets: Any) -> dict[str, Any]:
    answer = client.patch(f"/v1/stream/{name}", json=targets)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["id"] == name
    return body["state"]


def test_a_stream_begins_with_what_the_engine_draws(client: httpx.Client, faces_engine: Engine) -> None:
    drawn = faces_engine.submit_draw(DrawRequest(TEXT, seed=7, truncation=0.8)).result().images[0].picture
    with events(client, prompt=TEXT, seed=7, truncation=0.8, format="png", fps=10) as coming:
        name, about = next(coming)
        assert name == "stream"
        assert (about["model"], about["size"], about["fps"], about["format"]) == ("faces", "128x128", 10.0, "png")
        assert {"smile", "glasses"} <= set(about["edits"])
        name, frame = next(coming)
    assert (name, frame["number"], frame["is_moving"]) == ("frame", 1, False)
    assert frame["state"] == about["state"]
    assert farthest(picture(frame), drawn) <= 1


def test_an_open_stream_follows_changes_smoothly(client: httpx.Client, faces_engine: Engine) -> None:
    drawn = faces_engine.submit_draw(DrawRequest(OTHER, seed=3)).result().images[0].picture
    with events(client, prompt=TEXT, format="png", ease=0.6) as coming:
        (_, about), (_, first) = next(coming), next(coming)
        wanted = change(client, about["id"], prompt=OTHER, seed=3, edits={"smile": 1})
        assert (wanted["prompt"], wanted["seed"], wanted["edits"]) == (OTHER, 3, {"smile": 1.0})
        frames = [first]
        while frames[-1]["state"]["edits"] != {"smile": 1.0}:
            frames.append(next(coming)[1])
        strengths = [frame["state"]["edits"].get("smile", 0.0) for frame in frames]
        assert strengths == sorted(strengths)
        # Another change, at once, of one parameter: the others stay.
        change(client, about["id"], edits={"smile": 0}, ease=0)
        last = next(coming)[1]
    assert [frame["number"] for frame in frames] == sorted({frame["number"] for frame in frames})
    assert last["state"]["prompt"] == OTHER
    assert farthest(picture(last), drawn) <= 1


def test_the_shared_picture_is_the_engines_and_all_see_it(client: httpx.Client, faces_engine: Engine) -> None:
    change(client, "live", prompt=TEXT, seed=5)
    before, after = (
        np.asarray(faces_engine.submit_draw(DrawRequest(text, seed=5)).result().images[0].picture, np.int16)
        for text in (TEXT, OTHER)
    )
    with mjpeg(client) as mine, mjpeg(client) as theirs:
        for reader in (mine, theirs):
            assert np.abs(np.asarray(next(reader), np.int16) - before).mean() < JPEG_LOSS
        change(client, "live", prompt=OTHER)
        for reader in (mine, theirs):
            # What is repeated while nothing changes may still be on its way.
            distances = (np.abs(np.asarray(seen, np.int16) - after).mean() for seen in reader)
            assert next(distance for distance in distances if distance < JPEG_LOSS)


def test_the_latest_frame_is_repeated_while_nothing_changes(client: httpx.Client) -> None:
    with mjpeg(client) as reader:
        one, two, three = (next(reader) for _ in range(3))
    assert farthest(one, two) == farthest(two, three) == 0


def test_readers_who_left_are_let_go_and_nothing_is_drawn_for_nobody(live: tuple[Stage, httpx.Client]) -> None:
    stage, client = live
    with mjpeg(client) as reader, events(client, prompt=TEXT) as coming:
        next(reader)
        own = stage.find(next(coming)[1]["id"])
        assert own is not None
        assert stage._readers.total() == 2
    until(lambda: not stage._readers, "readers who left still count")
    until(lambda: own.source.has_ended and own.source._thread is None, "an own stream goes on without its reader")
    assert stage.find(own.name) is None
    assert stage.shared is not None
    until(lambda: stage.shared.source._thread is None, "the shared picture is drawn for nobody")


def test_one_who_does_not_read_holds_up_nobody(live: tuple[Stage, httpx.Client]) -> None:
    stage, client = live
    where = httpx.URL(client.base_url)
    change(client, "live", seed=0, ease=0)
    with socket.create_connection((where.host, where.port)) as stuck, mjpeg(client) as reader:
        stuck.sendall(b"GET /live.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        until(lambda: stage._readers.total() == 2, "the second reader doesn't come")
        for seed in range(1, 6):
            change(client, "live", seed=seed)
            next(reader)
    until(lambda: not stage._readers, "readers who left still count")


def test_draws_go_on_beside_streams(client: httpx.Client) -> None:
    with events(client, prompt=TEXT, ease=60) as coming:
        change(client, next(coming)[1]["id"], seed=9)
        for seed in range(3):
            answer = client.post("/v1/images", json={"prompt": TEXT, "seed": seed, "response_format": "b64_json"})
            assert answer.status_code == 200
        assert next(frame for name, frame in coming if frame["is_moving"])


@pytest.mark.parametrize(
    ("parameters", "status", "message"),
    [
        ({}, 400, "prompt: Field required"),
        ({"prompt": ""}, 400, "prompt: "),
        ({"prompt": " "}, 400, "prompt ' ': expected some words"),
        ({"prompt": "x" * 1001}, 400, "prompt: "),
        ({"prompt": "a:1 | b:-1"}, 400, "prompt 'a:1 | b:-1': expected weights whose sum is positive"),
        ({"prompt": "a", "mix": "nan"}, 400, "mix: "),
        ({"prompt": "a", "seed": "-1"}, 400, "seed: "),
        ({"prompt": "a", "fps": "1000"}, 400, "fps: "),
        ({"prompt": "a", "format": "gif"}, 400, "format: "),
        ({"prompt": "a", "steps": "1000"}, 400, "steps: "),
        ({"prompt": "a", "edit": "smile"}, 400, "edit: expected NAME:STRENGTH such as smile:0.5, got 'smile'"),
        ({"prompt": "a", "edit": "nose:1"}, 400, "edits: expected one of age"),
        ({"prompt": "a", "edit": "smile:inf"}, 400, "edits: smile: expected a number in [-10, 10], got inf"),
        ({"prompt": "a", "colour": "red"}, 400, "colour: "),
        ({"prompt": "a", "model": "cats"}, 404, "model: expected one of faces, got 'cats'"),
    ],
)
def test_unusable_parameters_are_refused(
    live: tuple[Stage, httpx.Client], parameters: dict[str, str], status: int, message: str
) -> None:
    stage, client = live
    answer = client.get("/v1/stream", params=parameters)
    assert answer.status_code == status
    assert answer.json()["error"]["message"].startswith(message)
    until(lambda: not stage._readers, "a stream that was refused counts")


@pytest.mark.parametrize(
    ("name", "body", "status", "message"),
    [
        ("live", {"mix": 2}, 400, "mix: "),
        ("live", {"mix": "0.5"}, 400, "mix: "),
        ("live", {"seed": 1.5}, 400, "seed: "),
        ("live", {"edits": {"nose": 1}}, 400, "edits: expected one of age"),
        ("live", {"edits": {"smile": 11}}, 400, "edits"),
        ("live", {"prompt": "a:1 | a:-1"}, 400, "prompt"),
        ("live", {"fps": 3}, 400, "fps: "),
        ("live", [], 400, "body: "),
        ("nobodys", {"mix": 1}, 404, "stream: expected the id of an open one, got 'nobodys'"),
    ],
)
def test_unusable_changes_are_refused(client: httpx.Client, name: str, body: Any, status: int, message: str) -> None:
    before = change(client, "live")
    answer = client.patch(f"/v1/stream/{name}", json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"].startswith(message)
    assert change(client, "live") == before


def test_changes_come_as_json_only(client: httpx.Client) -> None:
    """What a page elsewhere may send without asking first isn't taken."""
    body = json.dumps({"mix": 0.5})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert client.patch("/v1/stream/live", content=body, headers={"Content-Type": kind}).status_code == 400
    assert client.post("/v1/stream/live", json={"mix": 0.5}).status_code == 405


def test_pages_elsewhere_open_no_streams(client: httpx.Client) -> None:
    answer = client.get("/v1/stream", params={"prompt": "a"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert answer.json()["error"]["message"].startswith("stream: expected a request of this server's own pages")


def test_only_so_many_read_at_once(faces_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces_engine, "limits", replace(Limits(), max_streams=2))
    with shown(faces_engine) as (stage, client), mjpeg(client) as reader:
        next(reader)
        with events(client, prompt=TEXT) as coming:
            next(coming)
            for path in ("/v1/stream?prompt=a", "/live.mjpg"):
                answer = client.get(path)
                assert answer.status_code == 429
                assert answer.headers["retry-after"].isdecimal()
                assert answer.json()["error"]["message"].startswith("busy: 2 streams are open already")
        until(lambda: stage._readers.total() == 1, "who left still counts")
        with events(client, prompt=TEXT) as coming:
            assert next(coming)[0] == "stream"


def test_one_client_has_only_so_many(faces_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces_engine, "limits", replace(Limits(), max_streams_of_client=1))
    with shown(faces_engine) as (stage, client), mjpeg(client) as reader:
        next(reader)
        answer = client.get("/v1/stream?prompt=a")
        assert answer.status_code == 429
        assert "1 of your streams are open already" in answer.json()["error"]["message"]
        stage.enter("192.0.2.1")
        stage.leave("192.0.2.1")


def test_a_token_is_asked_for(faces_engine: Engine) -> None:
    with shown(faces_engine, token=TOKEN) as (_, client):
        asked = [client.get("/v1/stream?prompt=a"), client.get("/live.mjpg"), client.patch("/v1/stream/live", json={})]
        assert [answer.status_code for answer in asked] == [401, 401, 401]
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        with mjpeg(client) as reader:
            next(reader)
        change(client, "live", mix=0.5)
        with events(client, prompt=TEXT) as coming:
            next(coming)


def test_only_under_names_of_its_own(client: httpx.Client) -> None:
    for method, path in (("GET", "/v1/stream?prompt=a"), ("GET", "/live.mjpg"), ("PATCH", "/v1/stream/live")):
        assert client.request(method, path, headers={"Host": "evil.example"}).status_code == 421


def test_nothing_is_shared_unless_that_is_wished(faces_engine: Engine) -> None:
    with serving(faces_engine, page=False) as address:
        answer = httpx.get(f"{address}/live.mjpg", trust_env=False)
        assert answer.status_code == 404
        assert "expected a server with --osc, --camera or --live-prompt" in answer.json()["error"]["message"]
        assert httpx.patch(f"{address}/v1/stream/live", json={}, trust_env=False).status_code == 404


def test_a_server_that_ends_says_so_to_its_readers() -> None:
    with Engine(["faces"]) as engine, serving(engine, page=False) as address:
        client = httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False)
        with client, events(client, prompt=TEXT, ease=60) as coming:
            change(client, next(coming)[1]["id"], seed=3)
            next(coming)
            engine.close()
            *_, (name, error) = coming
    assert name == "error"
    assert error["error"]["message"] == "busy: the server is shutting down"
