"""Every input of everything that the page can be asked, with everything that a visitor has no business with."""

from __future__ import annotations

import contextlib
import functools
import http.server
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

gradio = pytest.importorskip("gradio", reason="gradio of the extra [serve] is not installed")
httpx = pytest.importorskip("httpx")

from text2latent.serving.app import build_app  # noqa: E402
from text2latent.serving.engine import Engine  # noqa: E402
from text2latent.serving.page import build_page  # noqa: E402
from text2latent.serving.page.visits import Visits  # noqa: E402
from text2latent.serving.visitor_files import Uploads  # noqa: E402
from text2latent.tests.serving.hostile import META, SECRET, Hostile, set_up  # noqa: E402
from text2latent.tests.serving.running import running  # noqa: E402

TOKEN = "a-token-for-attackers"
PATIENCE = 120.0
SETTINGS = ["tiny", 1, 5, 1.5, 2, 1.0, "", 1]
NAMED = ("draw", "mix", "edit", "compare", "vary")


class Web(http.server.SimpleHTTPRequestHandler):
    """Tells the secret to whoever asks, and counts them."""

    asked: list[str] = []

    def do_GET(self) -> None:
        """Answer with the secret."""
        Web.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(SECRET.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """Address of a server that the page's must not ask."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The page's folder of files, for this module."""
    folder = tmp_path_factory.mktemp("page") / "gradio"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module", params=[None, TOKEN], ids=["open", "token"])
def page(request: pytest.FixtureRequest, engine: Engine, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where the page answers, and what its visitors send."""
    headers = {} if request.param is None else {"Authorization": f"Bearer {request.param}"}
    with running(build_app(engine, request.param)) as address:
        yield address, headers


@contextlib.contextmanager
def visitor(page: tuple[str, dict[str, str]]) -> Iterator[Any]:
    with httpx.Client(base_url=page[0], headers=page[1], timeout=PATIENCE, trust_env=False) as client:
        yield client


def upload(client: Any, color: str = "gray", name: str = "mine.png") -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(file, "PNG")
    answer = client.post("/gradio_api/upload", files={"files": (name, file.getvalue(), "image/png")})
    (path,) = answer.raise_for_status().json()
    return path


@pytest.fixture
def hostile(page: tuple[str, dict[str, str]], folder: Path, tmp_path: Path, web: str) -> Iterator[Hostile]:
    with visitor(page) as other:
        yield set_up(tmp_path, folder / tmp_path.name, upload(other, "red", "theirs.png"), web)


def told_by(answer: Any, hostile: Hostile) -> list[str]:
    """What an answer tells of the server's files: the secret, or a place that nobody has named but the server."""
    hidden = [SECRET, "root:x:", "GRADIO_TEMP_DIR"]
    return [text for text in hidden if text in answer.text]


def inputs_of_all(client: Any) -> list[tuple[int, list[Any]]]:
    """The dependencies of the page, each with harmless values for its inputs."""
    config = client.get("/config").raise_for_status().json()
    kinds = {component["id"]: component["type"] for component in config["components"]}
    harmless = {"textbox": "a man", "dropdown": "tiny", "slider": 1, "number": 1, "dataset": 0}
    return [
        (dependency["id"], [harmless.get(kinds[one]) for one in dependency["inputs"]])
        for dependency in config["dependencies"]
    ]


def bodies(client: Any, hostile: Hostile) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each hostile value at each position of each dependency's inputs, and at one more; and as an event's data."""
    for index, values in inputs_of_all(client):
        for position in range(len(values) + 1):
            for value in hostile.values:
                data = [*values[:position], value, *values[position + 1 :]]
                yield "queue/join", {"fn_index": index, "session_hash": "attacker", "data": data}
    for value in hostile.values:
        for name in NAMED:
            for position in range(4):
                data = [*["a man"] * position, value, *SETTINGS]
                for way in ("call", "run", "api"):
                    yield f"{way}/{name}", {"data": data, "session_hash": "attacker"}
            parameter = "image" if name == "vary" else "prompt"
            yield f"call/v2/{name}", {parameter: value}


def test_no_value_makes_the_page_tell_of_files(page: Any, hostile: Hostile, record_property: Any) -> None:
    answers: Counter[tuple[int, str]] = Counter()
    leaks = []
    Web.asked.clear()
    with visitor(page) as client:
        for path, body in bodies(client, hostile):
            answer = client.post(f"/gradio_api/{path}", json=body)
            answers[answer.status_code, answer.text] += 1
            leaks += told_by(answer, hostile)
    record_property("attempts", answers.total())
    print(f"{answers.total()} attempts, {len(leaks)} leaks")
    assert answers.total() > 5000
    assert not leaks
    # All of them get the same words, whether there is something or not.
    ((status, text),) = answers
    assert status == 400
    assert json.loads(text)["detail"].startswith("data: expected texts, numbers, and pictures")
    assert not Web.asked


def test_without_the_token_nothing_is_even_looked_at(page: Any, hostile: Hostile) -> None:
    if not page[1]:
        pytest.skip("this server asks for no token")
    with visitor((page[0], {})) as client, visitor(page) as known:
        for index, _ in inputs_of_all(known):
            for value in hostile.values:
                body = {"fn_index": index, "session_hash": "attacker", "data": [value]}
                answer = client.post("/gradio_api/queue/join", json=body)
                assert answer.status_code == 401
        for place in hostile.places:
            assert client.get(f"/gradio_api/file={place}").status_code == 401


def test_texts_that_are_paths_stay_texts(page: Any, hostile: Hostile) -> None:
    """Where the page expects a picture, a mere text gives nothing away either."""
    results = set()
    with visitor(page) as client:
        for place in hostile.places:
            results.add(result_of(client, "vary", [place, "", 0.5, *SETTINGS]).partition("data:")[0])
            told = result_of(client, "draw", ["a man", place, *SETTINGS[1:]])
            assert SECRET not in told
            assert "event: error" in told
    assert results == {"event: error\n"}


def result_of(client: Any, endpoint: str, values: list[Any]) -> str:
    """The events of a call, as a browser gets them."""
    begun = client.post(f"/gradio_api/call/{endpoint}", json={"data": values}).raise_for_status()
    with client.stream("GET", f"/gradio_api/call/{endpoint}/{begun.json()['event_id']}") as events:
        return "".join(events.iter_text())


@pytest.mark.parametrize(
    "way", ["file=", "file/", "proxy=", "stream/", "custom_component/x/client/y/", "deep_link?session_hash="]
)
def test_no_address_gives_files_away(page: Any, hostile: Hostile, way: str) -> None:
    Web.asked.clear()
    with visitor(page) as client:
        answers = {(answer.status_code, answer.text) for place in hostile.places for answer in (
            client.get(f"/gradio_api/{way}{place}"), client.get(f"/gradio_api/{way}%2e%2e{place}"))}  # fmt: skip
    ((status, text),) = answers
    assert status == 404
    assert SECRET not in text
    assert not Web.asked


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/monitoring"),
        ("GET", "/monitoring/summary"),
        ("GET", "/gradio_api/dev/reload"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit"),
        ("GET", "/gradio_api/vibe-code"),
        ("POST", "/login"),
        ("GET", "/logout"),
        ("GET", "/pwa_icon"),
        ("GET", "/gradio_api/runs"),
        ("POST", "/gradio_api/stream/x"),
        ("POST", "/gradio_api/run-history/connect"),
        ("DELETE", "/config"),
        ("GET", "/something-that-a-later-gradio-has"),
    ],
)
def test_addresses_that_the_page_has_no_use_for_are_closed(page: Any, method: str, path: str) -> None:
    if page[1] and path == "/login":
        pytest.skip("the token's own page is there")
    with visitor(page) as client:
        answer = client.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_what_is_no_json_of_the_right_type_is_refused(page: Any) -> None:
    good = json.dumps({"data": ["a man", *SETTINGS]})
    with visitor(page) as client:
        for content, kind in ((good, "text/plain"), (good, ""), ("[" * 100_000, "application/json"), ("[]", "application/json"),
            ('{"data": "x"}', "application/json"), ('{"data": ["a"], "fn_index": {}}', "application/json")):  # fmt: skip
            headers = {"Content-Type": kind} if kind else {}
            assert client.post("/gradio_api/call/draw", content=content, headers=headers).status_code == 400


def test_own_uploads_are_varied_and_seen_and_only_ones_own(page: Any) -> None:
    with visitor(page) as client, visitor(page) as other:
        path = upload(client)
        mine = {"path": path, "orig_name": "mine.png", "meta": META}
        assert "event: complete" in result_of(client, "vary", [mine, "", 0.5, *SETTINGS])
        assert client.get(f"/gradio_api/file={path}").headers["content-type"] == "image/png"
        assert other.get(f"/gradio_api/file={path}").status_code == 404
        assert other.post("/gradio_api/call/vary", json={"data": [mine, "", 0.5, *SETTINGS]}).status_code == 400


def test_the_test_finds_what_gradio_alone_gives_away(engine: Engine, folder: Path, tmp_path: Path) -> None:
    """Without the gate, the same attack has the file: if this fails, the tests above show nothing."""
    from fastapi import FastAPI

    private = tmp_path / "private.txt"
    private.write_text(SECRET)
    app = FastAPI()
    gradio.mount_gradio_app(app, build_page(engine, Visits(), Uploads(10**6)), "/", show_error=False, ssr_mode=False)
    with running(app) as address, visitor((address, {})) as client:
        told = result_of(client, "draw", ["a man", {"path": str(private), "meta": META}, *SETTINGS[1:]])
        files = [part for part in told.replace("'", '"').split('"') if part.endswith("private.txt")]
        answers = [client.get(f"/gradio_api/file={file}").text for file in files]
    assert SECRET in answers
