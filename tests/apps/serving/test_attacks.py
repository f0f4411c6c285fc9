"""Every input of everything that the page can be asked, with everything that a visitor has no business with."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.server
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
from PIL import Image

gradio = pytest.importorskip("gradio", reason="gradio of the extra [serve] is not installed")
httpx = pytest.importorskip("httpx")

from text2latent.apps.serving.app import build_app  # noqa: E402
from text2latent.apps.serving.engine import Engine  # noqa: E402
from text2latent.apps.serving.limits import Limits  # noqa: E402
from text2latent.apps.serving.page import build_endpoints  # noqa: E402
from text2latent.apps.serving.page.visits import Visits  # noqa: E402
from text2latent.apps.serving.visitor_files import Uploads  # noqa: E402
from text2latent.tests.apps.serving.hostile import META, SECRET, Hostile, set_up  # noqa: E402
from text2latent.tests.apps.serving.running import result_of, running  # noqa: E402

TOKEN = "a-token-for-attackers"
PATIENCE = 120.0
SETTINGS = ["tiny", 1, 5, 1.5, 2, 1.0, "", 1]
NAMED = ("draw", "mix", "edit", "compare", "vary", "find")


class Web(http.server.SimpleHTTPRequestHandler):
    """Serves the secret to whoever asks, and counts them."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        Web.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(SECRET.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Page(NamedTuple):
    """A page that answers.

    Attributes:
        app: the application.
        address: where it answers.
        headers: what those send who have its token, if there is one.
    """

    app: Any
    address: str
    headers: dict[str, str]


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
    folder = tmp_path_factory.mktemp("page") / "gradio"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module", params=[None, TOKEN], ids=["open", "token"])
def page(request: pytest.FixtureRequest, engine: Engine, folder: Path) -> Iterator[Page]:
    headers = {} if request.param is None else {"Authorization": f"Bearer {request.param}"}
    app = build_app(engine, request.param)
    with running(app) as address:
        yield Page(app, address, headers)


@contextlib.contextmanager
def visitor(page: Page) -> Iterator[Any]:
    with httpx.Client(base_url=page.address, headers=page.headers, timeout=PATIENCE, trust_env=False) as client:
        yield client


def upload(client: Any, color: str = "gray", name: str = "mine.png") -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(file, "PNG")
    answer = client.post("/gradio_api/upload", files={"files": (name, file.getvalue(), "image/png")})
    (path,) = answer.raise_for_status().json()
    return path


@pytest.fixture
def hostile(page: Page, folder: Path, tmp_path: Path, web: str) -> Iterator[Hostile]:
    with visitor(page) as other:
        yield set_up(tmp_path, folder / tmp_path.name, upload(other, "red", "theirs.png"), web)


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
    for value in (*hostile.values, *hostile.wrapped):
        for name in NAMED:
            yield f"call/{name}", {"data": [value, *SETTINGS], "session_hash": "attacker"}
            yield f"call/v2/{name}", {"image" if name in ("vary", "find") else "prompt": value}
        for way in ("run", "api"):
            for name in ("vary", "find"):
                yield f"{way}/{name}", {"data": [value, *SETTINGS], "session_hash": "attacker"}
        yield "queue/join", {"fn_index": 12, "session_hash": "attacker", "data": [None], "event_data": [value]}


START = {"model": "tiny", "label": "a man", "text": "a man", "negative": None, "seed": 5, "guidance_scale": 1.0,
    "steps": 2, "truncation": 1.0, "rerank": 1, "latents": base64.b64encode(bytes(64)).decode()}  # fmt: skip
DRAW = {"prompt": "a man", "model": "tiny", "n": 1, "seed": 5, "guidance_scale": 1.5, "steps": 2, "truncation": 1.0,
    "negative_prompt": "", "rerank": 1, "image_weight": 0.5, "image_name": "a"}  # fmt: skip
CHANGE = {"source": "a man", "target": "a woman", "strength": 1.0}
OWN: dict[str, dict[str, Any]] = {
    "draw": DRAW,
    "mix": {**DRAW, "start": "a man", "end": "a woman", "frames": 2},
    "adjust": {"start": START, "changes": [CHANGE]},
    "refine": {"start": {**START, "text": None, "png": ""}, "iterations": 1},
    "latents": START,
    "compare": {**DRAW, "iterations": 1},
}
"""The page's own endpoints that take JSON, with harmless values."""


def spoiled(value: Any, hostile: list[Any]) -> Iterator[Any]:
    """A harmless value with each hostile one in its place, and at each place within it."""
    yield from hostile
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        for other in spoiled(part, hostile):
            whole = value.copy()
            whole[key] = other
            yield whole


async def post(app: Any, path: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, str]:
    """Status and text of an application's answer, without a network between."""
    all_headers = {"host": "127.0.0.1", "content-type": "application/json", **headers}
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"",
        "http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 9), "server": ("127.0.0.1", 80),
        "root_path": "",
        "headers": [(name.lower().encode(), text.encode()) for name, text in all_headers.items()]}  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


def test_the_pages_own_endpoints_take_no_files_and_no_addresses(page: Page, hostile: Hostile) -> None:
    Web.asked.clear()
    asked = [(name, body) for name, harmless in OWN.items() for body in spoiled(harmless, hostile.values)]

    async def ask() -> list[tuple[int, str]]:
        return [await post(page.app, f"/page/{name}", body, page.headers) for name, body in asked]

    answers = asyncio.run(ask())
    print(f"{len(answers)} attempts")
    assert len(answers) >= 3000
    assert {status for status, _ in answers} == {400}
    assert not [text for _, text in answers if SECRET in text or "root:x:" in text]
    assert not Web.asked


@pytest.mark.parametrize("name", ["vary", "find"])
def test_what_comes_with_a_picture_is_no_file_and_no_address(page: Page, hostile: Hostile, name: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    with visitor(page) as client:
        for body in spoiled(DRAW, hostile.values[:3]):
            sent = {"picture": ("/etc/passwd", file.getvalue())}
            answer = client.post(f"/page/{name}", data={"asked": json.dumps(body)}, files=sent)
            assert answer.status_code == 400
        for place in hostile.places:
            answer = client.post(f"/page/{name}", data={"asked": json.dumps(DRAW), "picture": place})
            assert answer.status_code == 400
            assert SECRET not in answer.text


@pytest.mark.parametrize("field", ["latents", "png", "label", "model"])
def test_texts_that_are_paths_lead_nowhere(page: Page, hostile: Hostile, field: str) -> None:
    Web.asked.clear()
    with visitor(page) as client:
        for place in hostile.places:
            start = {**START, "text": None if field == "png" else "a man", field: place}
            answer = client.post("/page/refine", json={"start": start, "iterations": 1})
            assert answer.status_code == {"label": 200, "model": 404}.get(field, 400)
            assert SECRET not in answer.text
            assert SECRET not in client.get(f"/page/worlds/{place}").text
            assert client.get(f"/page/{place}").status_code == 404
    assert not Web.asked


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"latents": base64.b64encode(bytes(63)).decode()}, "latents"),
        ({"latents": base64.b64encode(b"\xff" * 64).decode()}, "latents"),
        ({"latents": ""}, "latents"),
        ({"text": "x" * 1000}, "text"),
        ({"text": " "}, "text"),
        ({"text": None}, "png"),
        ({"text": None, "png": base64.b64encode(b"GIF89a").decode()}, "png"),
        ({"seed": -1}, "seed"),
        ({"steps": 10_000}, "steps"),
        ({"truncation": 1e30}, "truncation"),
    ],
)
def test_starts_that_no_picture_has_are_refused(page: Page, change: dict[str, Any], field: str) -> None:
    with visitor(page) as client:
        answer = client.post("/page/refine", json={"start": {**START, **change}, "iterations": 1})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


def test_changes_are_bounded(page: Page) -> None:
    many, far = [CHANGE] * 33, [{**CHANGE, "strength": 1e9}]
    with visitor(page) as client:
        for changes in ([], many, far):
            answer = client.post("/page/adjust", json={"start": START, "changes": changes})
            assert answer.status_code == 400


def answers_to(page: Page, hostile: Hostile, headers: dict[str, str]) -> Counter[tuple[int, str]]:
    """What all hostile requests get, and how many."""
    with visitor(page) as client:
        asked = list(bodies(client, hostile))

    async def ask() -> Counter[tuple[int, str]]:
        return Counter([await post(page.app, f"/gradio_api/{path}", body, headers) for path, body in asked])

    return asyncio.run(ask())


def test_no_value_makes_the_page_tell_of_files(page: Page, hostile: Hostile, record_property: Any) -> None:
    Web.asked.clear()
    answers = answers_to(page, hostile, page.headers)
    leaks = [text for _, text in answers if SECRET in text or "root:x:" in text]
    record_property("attempts", answers.total())
    print(f"{answers.total()} attempts, {len(leaks)} leaks")
    assert answers.total() >= 5000
    assert not leaks
    # All of them get the same words, whether there is something or not.
    ((status, text),) = answers
    assert status == 400
    assert json.loads(text)["detail"].startswith("data: expected texts, numbers, and pictures")
    assert not Web.asked


def test_without_the_token_nothing_is_even_looked_at(page: Page, hostile: Hostile) -> None:
    if not page.headers:
        pytest.skip("this server asks for no token")
    ((status, _),) = answers_to(page, hostile, {})
    assert status == 401
    with visitor(page._replace(headers={})) as client:
        for place in hostile.places:
            assert client.get(f"/gradio_api/file={place}").status_code == 401


def test_texts_that_are_paths_stay_texts(page: Page, hostile: Hostile) -> None:
    """Where the page expects a picture, a mere text gives nothing away either."""
    results = set()
    with visitor(page) as client:
        for place in hostile.places:
            results.add(result_of(client, "vary", [place, "", 0.5, *SETTINGS]).partition("data:")[0])
            events = result_of(client, "draw", ["a man", place, *SETTINGS[1:]])
            assert SECRET not in events
            assert "event: error" in events
    assert results == {"event: error\n"}


@pytest.mark.parametrize(
    "way", ["file=", "file/", "proxy=", "stream/", "custom_component/x/client/y/", "deep_link?session_hash="]
)
def test_no_address_gives_files_away(page: Page, hostile: Hostile, way: str) -> None:
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
def test_addresses_that_the_page_has_no_use_for_are_closed(page: Page, method: str, path: str) -> None:
    if page.headers and path == "/login":
        pytest.skip("the token's own page is there")
    with visitor(page) as client:
        answer = client.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_what_is_no_json_of_the_right_type_is_refused(page: Page) -> None:
    good, kind = json.dumps({"data": ["a man", *SETTINGS]}), "application/json"
    wrong = ["[" * 100_000, "[]", '{"data": "x"}', '{"data": ["a"], "fn_index": {}}', "{", ""]
    with visitor(page) as client:
        for content, kind_given in [(good, "text/plain"), (good, ""), *((body, kind) for body in wrong)]:
            headers = {"Content-Type": kind_given} if kind_given else {}
            assert client.post("/gradio_api/call/draw", content=content, headers=headers).status_code == 400


def test_own_uploads_are_varied_and_seen_and_only_ones_own(page: Page) -> None:
    with visitor(page) as client, visitor(page) as other:
        path = upload(client)
        mine = {"path": path, "orig_name": "mine.png", "meta": META}
        assert "event: complete" in result_of(client, "vary", [mine, "", 0.5, *SETTINGS])
        assert client.get(f"/gradio_api/file={path}").headers["content-type"] == "image/png"
        assert other.get(f"/gradio_api/file={path}").status_code == 404
        assert other.post("/gradio_api/call/vary", json={"data": [mine, "", 0.5, *SETTINGS]}).status_code == 400


def test_uploads_have_a_quota_and_a_limit(page: Page, engine: Engine) -> None:
    most = engine.limits.max_upload_bytes
    with visitor(page) as client:

        def send(size: int, **more: Any) -> Any:
            return client.post("/gradio_api/upload", files={"files": ("a.png", bytes(size), "image/png"), **more})

        paths = [send(most).raise_for_status().json()[0] for _ in range(6)]
        kept = [client.get(f"/gradio_api/file={path}").status_code for path in paths]
        assert kept == [404, 404, 200, 200, 200, 200]
        assert send(most + 1).status_code == 413
        assert send(3 * 2**20).status_code == 413
        assert send(1, more=("b.png", b"b", "image/png")).status_code == 400
        assert client.post("/gradio_api/upload", content=b"x").status_code == 400


def test_uploads_are_never_taken_for_a_page(page: Page) -> None:
    with visitor(page) as client:
        path = upload(client, name="../../evil<b>.html")
        assert ".." not in path
        answer = client.get(f"/gradio_api/file={path}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("place", ["prompt", "model"])
def test_what_an_error_quotes_is_no_markup(page: Page, place: str) -> None:
    image = "<img src=http://evil.example/x>"
    prompt = f"{image}:1 | {image}:-1" if place == "prompt" else "a man"
    model = image if place == "model" else "tiny"
    with visitor(page) as client:
        events = result_of(client, "draw", [prompt, model, *SETTINGS[1:]])
    assert "event: error" in events
    assert "<img" not in events
    assert "&lt;img" in events or place == "prompt"


def test_a_flood_of_long_work_that_nobody_waits_for_stops_nobody(tiny_model: Path, folder: Path) -> None:
    with (
        Engine([f"tiny={tiny_model}"], "cpu", Limits(max_iterations=100_000)) as engine,
        running(build_app(engine, visits=Visits(2.0))) as address,
        visitor(Page(None, address, {})) as client,
    ):
        for number in range(25):
            body = {"data": ["a man", 100_000, *SETTINGS], "session_hash": f"gone{number}"}
            client.post("/gradio_api/call/compare", json=body).raise_for_status()
        for endpoint, texts in (("mix", ["a man", "a woman", 2]), ("edit", ["a man", "a woman", 1, "a man"])):
            assert "event: complete" in result_of(client, endpoint, [*texts, *SETTINGS])
        until = time.monotonic() + PATIENCE
        while engine.num_waiting or engine._comparisons._running:
            assert time.monotonic() < until, "what nobody listens to goes on"
            time.sleep(0.1)


def test_the_test_finds_what_gradio_alone_gives_away(engine: Engine, folder: Path, tmp_path: Path) -> None:
    """Without the gate, the same attack has the file: if this fails, the tests above show nothing."""
    from fastapi import FastAPI

    private = tmp_path / "private.txt"
    private.write_text(SECRET)
    app = FastAPI()
    gradio.mount_gradio_app(
        app, build_endpoints(engine, Visits(), Uploads(10**6)), "/", show_error=False, ssr_mode=False
    )
    with running(app) as address, visitor(Page(app, address, {})) as client:
        events = result_of(client, "draw", ["a man", {"path": str(private), "meta": META}, *SETTINGS[1:]])
        files = [part for part in events.replace("'", '"').split('"') if part.endswith("private.txt")]
        answers = [client.get(f"/gradio_api/file={file}").text for file in files]
    assert SECRET in answers
