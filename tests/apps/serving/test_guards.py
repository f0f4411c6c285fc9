"""What stands before page and API: the token, the login page, and the prefix of a proxy."""

from __future__ import annotations

import pytest

from text2latent.apps.serving.engine import Engine
from text2latent.common.errors import UsageError

pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")
pytest.importorskip("httpx")

from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from text2latent.apps.serving.app import build_app
from text2latent.apps.serving.guards import check_token

TOKEN = "a-token-for-tests"
BODY = {"prompt": "a man", "seed": 1}
HTML = {"Accept": "text/html,*/*"}


@pytest.fixture
def visitor(engine: Engine) -> TestClient:
    """A client that knows nothing, and follows no redirection."""
    return TestClient(build_app(engine, TOKEN, page=False, allowed_hosts=["testserver"]), follow_redirects=False)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong-token-here", f"Basic {TOKEN}", TOKEN])
def test_without_the_token_nothing_is_drawn(visitor: TestClient, header: str | None) -> None:
    answer = visitor.post("/v1/images", json=BODY, headers={} if header is None else {"Authorization": header})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["error"]["type"] == "authentication_error"
    assert TOKEN not in answer.text
    for path in ("/v1/models", "/docs", "/static-offline-docs/swagger-ui.css", "/openapi.json", "/", "/nothing"):
        assert visitor.get(path).status_code == 401


def test_with_the_token_the_api_answers_and_its_images_need_none(visitor: TestClient) -> None:
    answer = visitor.post("/v1/images", json=BODY, headers={"Authorization": f"bearer {TOKEN}"})
    assert answer.status_code == 200
    assert visitor.get(answer.json()["data"][0]["url"]).headers["content-type"] == "image/png"
    assert visitor.get("/health").status_code == 200
    assert visitor.get("/v1/images/files/a/../../../v1/models").status_code in (401, 404)


def test_browsers_log_in(visitor: TestClient) -> None:
    sent = visitor.get("/", headers=HTML)
    assert (sent.status_code, sent.headers["location"]) == (303, "/login")
    page = visitor.get("/login", headers=HTML)
    assert 'type="password"' in page.text
    wrong = visitor.post("/login", data={"token": "<b>wrong</b>"})
    assert wrong.status_code == 401
    assert "<b>" not in wrong.text
    assert "set-cookie" not in wrong.headers
    assert visitor.post("/login", data={"token": "x" * 5000}).status_code == 413
    right = visitor.post("/login", data={"token": TOKEN})
    assert (right.status_code, right.headers["location"]) == (303, "/")
    cookie = right.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert visitor.post("/v1/images", json=BODY).status_code == 200


def test_cookies_of_another_process_or_made_up_ones_are_not_taken(engine: Engine, visitor: TestClient) -> None:
    other = TestClient(build_app(engine, TOKEN, page=False, allowed_hosts=["testserver"]), follow_redirects=False)
    other.post("/login", data={"token": TOKEN})
    for value in (other.cookies["text2latent"], TOKEN, "", "\u00e9"):
        answer = visitor.get("/v1/models", headers={"Cookie": f"text2latent={value}".encode("latin-1")})
        assert answer.status_code == 401


def test_cookies_are_for_https_where_that_is_spoken(engine: Engine) -> None:
    client = TestClient(
        build_app(engine, TOKEN, page=False, allowed_hosts=["draw.example"]),
        "https://draw.example",
        follow_redirects=False,
    )
    assert "secure" in client.post("/login", data={"token": TOKEN}).headers["set-cookie"].lower()


def test_websockets_need_the_token_too(visitor: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect) as refusal, visitor.websocket_connect("/any"):
        pass
    assert refusal.value.code == 1008


def test_behind_a_prefix_addresses_have_it(engine: Engine) -> None:
    app = build_app(engine, TOKEN, page=False, root_path="/draw", allowed_hosts=["art.example"])
    # Some proxies take the prefix away, others don't.
    for prefix in ("", "/draw"):
        client = TestClient(app, "https://art.example", follow_redirects=False)
        assert client.get(f"{prefix}/", headers=HTML).headers["location"] == "/draw/login"
        assert 'action="/draw/login"' in client.get(f"{prefix}/login").text
        assert client.post(f"{prefix}/login", data={"token": TOKEN}).headers["location"] == "/draw/"
        assert client.get(f"{prefix}/health").status_code == 200
        answer = client.post(f"{prefix}/v1/images", json=BODY, headers={"Authorization": f"Bearer {TOKEN}"})
        url = answer.json()["data"][0]["url"]
        assert url.startswith("https://art.example/draw/v1/images/files/")
        assert client.get(url.removeprefix("https://art.example/draw")).status_code == 200


@pytest.mark.parametrize("token", ["short", "", "with spaces inside", "t\u00f6ken-of-letters", "line\nbreak-inside"])
def test_unsafe_tokens_are_refused_and_not_told(token: str) -> None:
    with pytest.raises(UsageError, match="--token: expected at least 8 characters") as refusal:
        check_token(token)
    assert not token or token not in str(refusal.value)


def test_good_tokens_are_taken() -> None:
    assert check_token(None) is None
    assert check_token(TOKEN) == TOKEN
