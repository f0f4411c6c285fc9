"""OpenAI's own client: what it sends is taken, what it gets it understands, errors included."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from text2latent.apps.serving.engine import Engine
from text2latent.tests.apps.serving.conftest import serving

if TYPE_CHECKING:
    import httpx

openai = pytest.importorskip("openai", reason="openai of the extra [dev] is not installed")

TEXT, TOKEN = "blonde woman with glasses", "a-token-for-tests"


def client_of(address: str, key: str = "none") -> openai.OpenAI:
    # Retries would ask again, and wait, for what is wrong each time.
    http_client = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=600, http_client=http_client)


@pytest.fixture(scope="module")
def openai_client(address: str) -> Iterator[openai.OpenAI]:
    with client_of(address) as client:
        yield client


def picture_of(image: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image.b64_json, validate=True)))


def test_images_are_drawn(openai_client: openai.OpenAI, client: httpx.Client) -> None:
    answer = openai_client.images.generate(prompt=TEXT, model="tiny", n=2, size="64x64", extra_body={"seed": 5})
    assert (answer.size, answer.output_format, answer.background) == ("64x64", "png", "opaque")
    assert [image.model_extra["seed"] for image in answer.data] == [5, 6]
    for image in answer.data:
        assert Image.open(io.BytesIO(client.get(image.url).content)).size == (64, 64)


@pytest.mark.parametrize(
    "sent",
    [
        {"quality": "hd", "style": "vivid"},
        {"quality": "standard", "style": "natural", "user": "me"},
        {"quality": "low", "background": "auto", "moderation": "low", "output_format": "png"},
        {"quality": "auto", "background": "opaque", "moderation": "auto", "stream": False},
        {"background": "transparent", "output_compression": 100},
        {"n": None, "size": None, "model": None, "response_format": None, "user": None},
        {"quality": None, "style": None, "background": None, "moderation": None, "output_format": None},
        {"stream": None, "output_compression": None, "size": "auto"},
    ],
)
def test_what_the_client_may_send_is_taken_and_changes_no_image(openai_client: openai.OpenAI, sent: Any) -> None:
    shared: dict[str, Any] = {"prompt": TEXT, "extra_body": {"seed": 5, "steps": None, "rerank": None}}
    shared["response_format"] = "b64_json"
    (image,) = openai_client.images.generate(**{**shared, **sent, "response_format": "b64_json"}).data
    (plain,) = openai_client.images.generate(**shared).data
    assert image.b64_json == plain.b64_json


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_files_are_of_the_kind_that_was_asked_for(
    openai_client: openai.OpenAI, client: httpx.Client, kind: str
) -> None:
    answer = openai_client.images.generate(prompt=TEXT, output_format=kind, response_format="b64_json")
    assert answer.output_format == kind
    assert picture_of(answer.data[0]).format == kind.upper()
    file = client.get(openai_client.images.generate(prompt=TEXT, output_format=kind).data[0].url)
    assert file.headers["content-type"] == f"image/{kind}"
    assert Image.open(io.BytesIO(file.content)).format == kind.upper()


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_a_lower_quality_makes_smaller_files(openai_client: openai.OpenAI, kind: str) -> None:
    sizes = []
    for quality in (10, 90):
        how: dict[str, Any] = {"output_format": kind, "output_compression": quality, "response_format": "b64_json"}
        answer = openai_client.images.generate(prompt=TEXT, extra_body={"seed": 5}, **how)
        sizes.append(len(answer.data[0].b64_json))
    assert sizes[0] < sizes[1]


def test_pictures_are_varied(openai_client: openai.OpenAI) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(file, "PNG")
    how: dict[str, Any] = {"size": "64x64", "response_format": "b64_json", "user": "me", "model": "tiny"}
    answer = openai_client.images.create_variation(image=("teal.png", file.getvalue()), n=2, **how)
    assert [picture_of(image).size for image in answer.data] == [(64, 64)] * 2
    chosen = openai_client.images.create_variation(image=("teal.png", file.getvalue()), n=None, size=None)
    assert len(chosen.data) == 1


def test_models_are_listed_and_retrieved(openai_client: openai.OpenAI) -> None:
    (listed,) = openai_client.models.list()
    assert openai_client.models.retrieve("tiny") == listed
    with pytest.raises(openai.NotFoundError) as error:
        openai_client.models.retrieve("dall-e-3")
    assert (error.value.code, error.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"n": 99}, "n"),
        ({"size": "1536x1024"}, "size"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"extra_body": {"stream": True}}, "stream"),
        ({"extra_body": {"nonsense": 1}}, "nonsense"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(openai_client: openai.OpenAI, sent: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        openai_client.images.generate(prompt=TEXT, **sent)
    assert (error.value.param, error.value.type) == (param, "invalid_request_error")


def test_the_token_is_the_key(engine: Engine) -> None:
    with serving(engine, token=TOKEN, page=False) as address:
        with client_of(address, TOKEN) as client:
            assert len(client.images.generate(prompt=TEXT).data) == 1
        with client_of(address, "another-token") as client, pytest.raises(openai.AuthenticationError) as error:
            client.models.list()
    assert error.value.code == "invalid_api_key"


@pytest.mark.parametrize("page", [False, True])
def test_unknown_addresses_and_wrong_methods_are_understood(engine: Engine, page: bool) -> None:
    if page:
        pytest.importorskip("gradio")
    with serving(engine, page=page) as address, client_of(address) as client:
        with pytest.raises(openai.NotFoundError, match="address: nothing is there, got POST /v1/embeddings") as unknown:
            client.embeddings.create(model="tiny", input=TEXT)
        assert unknown.value.type == "invalid_request_error"
        with pytest.raises(openai.APIStatusError, match="method: expected GET, got DELETE") as wrong:
            client.models.delete("tiny")
    assert (wrong.value.status_code, wrong.value.response.headers["allow"]) == (405, "GET")
    assert wrong.value.type == "invalid_request_error"
