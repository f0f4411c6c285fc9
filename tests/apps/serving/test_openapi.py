"""The OpenAPI document: what it says of the limits, and that the server behaves as it says, whatever is sent."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from text2latent.apps.serving.engine import Engine
from text2latent.tests.apps.serving.conftest import SMALL_LIMITS

httpx = pytest.importorskip("httpx")
schemathesis = pytest.importorskip("schemathesis")
pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")

from starlette.testclient import TestClient  # noqa: E402

from text2latent.apps.serving.app import build_app  # noqa: E402

TOKEN = "a-token-for-tests"
EXAMPLES = 15
NEVER_WRONG = ("GET /v1/images/files/{name}", "GET /v1/models", "GET /v1/models/{model}", "GET /health")
TAKE_JSON = ("POST /v1/images", "POST /v1/images/generations")
OPERATIONS = (*TAKE_JSON, "POST /v1/images/variations", "PATCH /v1/stream/{id}", *NEVER_WRONG)
NEVER_ENDING = ("GET /v1/stream", "GET /live.mjpg")
"""Tried in `live/test_streams.py`."""


@pytest.fixture(scope="session")
def api(engine: Engine) -> Any:
    """What schemathesis reads out of the document, to be called without a network."""
    return schemathesis.openapi.from_asgi("/openapi.json", build_app(engine, page=False, allowed_hosts=["testserver"]))


# Not by schemathesis' plugin for pytest, which asks for one version of pytest.
@pytest.mark.parametrize("mode", schemathesis.GenerationMode)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_server_behaves_as_the_document_says(api: Any, operation: str, mode: Any) -> None:
    method, path = operation.split()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        answer = case.call_and_validate(excluded_checks=[schemathesis.checks.positive_data_acceptance])
        if mode == schemathesis.GenerationMode.POSITIVE and answer.status_code == 400 and operation in TAKE_JSON:
            # The document can't say what weights and proportions are right; the rest it has to.
            assert ": expected " in answer.json()["error"]["message"]

    try:
        check()
    except Unsatisfiable:
        assert operation in NEVER_WRONG
        assert mode == schemathesis.GenerationMode.NEGATIVE


def test_all_operations_are_tried(api: Any) -> None:
    assert {one.ok().label for one in api.get_all_operations()} == {*OPERATIONS, *NEVER_ENDING}


def test_the_document_tells_the_limits(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    fields = document["components"]["schemas"]["ImageRequest"]["properties"]
    assert fields["prompt"]["maxLength"] == SMALL_LIMITS.max_prompt_characters
    assert fields["n"]["anyOf"][0]["maximum"] == SMALL_LIMITS.max_images
    assert fields["steps"]["anyOf"][0]["maximum"] == SMALL_LIMITS.max_steps
    assert len(fields["prompt"]["examples"]) == 2
    assert set(fields) == {
        *("prompt", "model", "n", "size", "response_format", "user", "quality", "style"),  # as in OpenAI's API
        *("background", "moderation", "output_format", "output_compression", "stream"),  # likewise
        *("seed", "guidance_scale", "steps", "truncation", "negative_prompt", "rerank"),
    }
    answers = document["paths"]["/v1/images"]["post"]["responses"]
    assert set(answers) == {"200", "400", "401", "404", "413", "429", "503", "default"}
    assert "Retry-After" in answers["429"]["headers"]
    for method in (operation for path in document["paths"].values() for operation in path.values()):
        assert method["summary"]
        assert method["description"]


def test_the_document_asks_for_the_token_where_the_server_does(engine: Engine) -> None:
    document = build_app(engine, TOKEN, page=False).openapi()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    asking = {
        path for path, operations in document["paths"].items() for one in operations.values() if "security" in one
    }
    assert asking == {
        "/v1/images",
        "/v1/images/generations",
        "/v1/images/variations",
        "/v1/models",
        "/v1/models/{model}",
        "/v1/stream",
        "/v1/stream/{id}",
        "/live.mjpg",
    }
    assert "securitySchemes" not in build_app(engine, page=False).openapi()["components"]


def test_the_document_can_be_read_in_a_browser_without_other_servers(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "'/openapi.json'" in page.text
    parts = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert len(parts) >= 2
    for part in parts:
        assert part.startswith("/")
        assert client.get(part).status_code == 200
    assert client.get("/redoc").status_code == 404


def test_behind_a_prefix_the_documents_parts_have_it(engine: Engine) -> None:
    prefixed = TestClient(build_app(engine, page=False, root_path="/draw", allowed_hosts=["testserver"]))
    text = prefixed.get("/docs").text
    parts = re.findall(r"""(?:src|href|url)(?:=|: )["']([^"']+)["']""", text)
    assert "/draw/openapi.json" in parts
    assert all(part.startswith("/draw/") for part in parts)
    assert prefixed.get("/openapi.json").json()["servers"] == [{"url": "/draw"}]
