"""What the API takes and gives; fields are named as in OpenAI's images API where that has them."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import UploadFile
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.results import MAX_QUALITY, DrawResult, OutputFormat, ServedImage
from text2latent.apps.serving.uploads import FORMATS
from text2latent.common.errors import UsageError
from text2latent.inference.settings import (
    DEFAULT_GUIDANCE_SCALE,
    DEFAULT_IMAGE_WEIGHT,
    DEFAULT_NEGATIVE_GUIDANCE_SCALE,
    DEFAULT_STEPS,
    MAX_SEED,
)

SIZE = r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$"
MODEL_CHARACTERS, USER_CHARACTERS = 200, 200


def to_whole(value: Any) -> Any:
    """A number such as 2.0, which JSON Schema calls an integer, as one; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(to_whole)


def or_default(default: Any) -> BeforeValidator:
    """Takes null for a field's default, since OpenAI's clients send it for what they don't choose."""
    return BeforeValidator(lambda value: default if value is None else value)


def field_types(limits: Limits) -> dict[str, Any]:
    """Types and defaults of the fields that all endpoints share, with a server's limits as their bounds."""
    return {name: (Annotated[kind, or_default(default)], default) for name, (kind, default) in {
        **_drawing_types(limits), **_answer_types(), **_unused_types(),
    }.items()}  # fmt: skip


def _drawing_types(limits: Limits) -> dict[str, tuple[Any, Any]]:
    """What says what to draw, and how."""
    texts: dict[str, Any] = {"max_length": limits.max_prompt_characters}
    counts = {name: Field(ge=1, le=getattr(limits, f"max_{field}"), description=text) for name, field, text in (
        ("n", "images", "Images."),
        ("steps", "steps", "Sampling steps."),
        ("rerank", "rerank", "Candidates per image, of which CLIP's favourite is kept."),
    )}  # fmt: skip
    scale = Field(ge=0, le=limits.max_guidance_scale, allow_inf_nan=False,
        description="1 is no guidance; more follows the prompt more closely, with less variety. By default "
        f"{DEFAULT_GUIDANCE_SCALE:g}, or {DEFAULT_NEGATIVE_GUIDANCE_SCALE:g} with a negative prompt.")  # fmt: skip
    psi = Field(ge=0, le=limits.max_truncation, allow_inf_nan=False,
        description="Below 1 moves images towards the generator's average one.")  # fmt: skip
    negative = Field(description="What not to show.", **texts)
    model = Field(max_length=MODEL_CHARACTERS, description="A name that `/v1/models` lists; by default the first.")
    seed = Field(ge=0, lt=MAX_SEED, description="Of the first image, the next ones count up; by default a random one.")
    return {
        "model": (Annotated[str | None, model], None),
        "n": (Annotated[int | None, counts["n"], WHOLE], 1),
        "seed": (Annotated[int | None, seed, WHOLE], None),
        "guidance_scale": (Annotated[float | None, scale], None),
        "steps": (Annotated[int | None, counts["steps"], WHOLE], DEFAULT_STEPS),
        "truncation": (Annotated[float | None, psi], 1.0),
        "negative_prompt": (Annotated[str | None, negative], None),
        "rerank": (Annotated[int | None, counts["rerank"], WHOLE], 1),
    }


def _answer_types() -> dict[str, tuple[Any, Any]]:
    """What says in what form images come."""
    size = Field(pattern=SIZE, description="WIDTHxHEIGHT to scale images to, of the model's own proportions; or auto.")
    how = Field(description="As addresses, good for an hour, or base64 in the answer.")
    kind = Field(description="Of the files; only PNG files record how they were made.")
    quality = Field(ge=0, le=100, description="Quality of a JPEG or WebP file.")
    stream = Field(description="Whether the answer comes in parts, which it doesn't.")
    return {
        "size": (Annotated[str | None, size], "auto"),
        "response_format": (Annotated[Literal["url", "b64_json"] | None, how], "url"),
        "output_format": (Annotated[OutputFormat | None, kind], "png"),
        "output_compression": (Annotated[int | None, quality, WHOLE], MAX_QUALITY),
        "stream": (Annotated[Literal[False] | None, stream], False),
    }


def _unused_types() -> dict[str, tuple[Any, Any]]:
    """What OpenAI's clients send and nothing here depends on."""
    unused = Field(max_length=USER_CHARACTERS, description="Taken for OpenAI's clients, and not used.")
    background = Field(description="Taken for OpenAI's clients; images are opaque, and the answer says so.")
    return {
        "background": (Annotated[Literal["auto", "opaque", "transparent"] | None, background], "auto"),
        **dict.fromkeys(("moderation", "quality", "style", "user"), (Annotated[str | None, unused], None)),
    }


def image_request(limits: Limits) -> type[BaseModel]:
    """The body of `POST /v1/images`: a class of its own for each server, since its bounds are in it."""
    prompt = Field(min_length=1, max_length=limits.max_prompt_characters,
        description="What to draw; parts may be weighted: 'woman:1 | glasses:0.5'.",
        examples=["blonde woman with glasses", "眼鏡をかけた金髪の女性"])  # fmt: skip
    config = ConfigDict(strict=True, extra="forbid")
    fields: dict[str, Any] = {"prompt": (Annotated[str, prompt], ...), **field_types(limits)}
    return create_model("ImageRequest", __config__=config, **fields)


def variation_request(limits: Limits) -> type[BaseModel]:
    """The form of `POST /v1/images/variations`, likewise."""
    image = Field(description=f"The picture to vary, a {', '.join(FORMATS)} file.",
        json_schema_extra={"format": "binary"})  # fmt: skip
    prompt = Field(max_length=limits.max_prompt_characters, description="A text to mix with the picture.")
    weight = Field(ge=0, le=1, allow_inf_nan=False, description="Share of the picture where there is a prompt too.")
    fields: dict[str, Any] = {
        "image": (Annotated[UploadFile, image], ...),
        "prompt": (Annotated[str | None, prompt], None),
        "image_weight": (Annotated[float, weight], DEFAULT_IMAGE_WEIGHT),
        **field_types(limits),
    }
    return create_model("VariationRequest", __config__=ConfigDict(extra="forbid"), **fields)


class Domain(BaseModel):
    """How far a prompt is from what the generator draws, among prompts known to be in its domain."""

    percentile: float = Field(description="Share of these prompts, in percent, that are nearer.")
    threshold: float = Field(description="From this percentile on, a prompt counts as outside.")
    is_outside: bool = Field(description="The image may have little to do with the prompt.")


class ImageData(BaseModel):
    """One image."""

    url: str | None = Field(None, description="Where it can be fetched as a PNG file, for an hour.")
    b64_json: str | None = Field(None, description="The PNG file in base64.")
    seed: int = Field(description="Draws the same image again, with the same model and settings.")
    clip_score: float | None = Field(description="Cosine similarity of image and prompt, as CLIP sees both.")
    seconds: float = Field(description="Its share of the time of the pass that drew it.")


class ImagesAnswer(BaseModel):
    """Images, in the order of their seeds."""

    created: int = Field(description="Seconds since 1970.")
    data: list[ImageData]
    model: str = Field(description="What drew them.")
    size: str = Field(description="WIDTHxHEIGHT.")
    output_format: OutputFormat
    background: Literal["opaque"]
    seconds: float = Field(description="From the request to the result, waiting included.")
    out_of_domain: Domain | None = Field(description="Of the prompt; null where it isn't known.")


class Model(BaseModel):
    """A model that requests can name."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When the server was started, in seconds since 1970.")
    owned_by: str = Field(description="`zoo`, `hub` or `folder`.")
    is_loaded: bool = Field(description="Whether the first request needs not wait for it.")
    image_size: int | tuple[int, int] | None = Field(
        description="Pixels per side, or height and width where they differ; null until it is loaded."
    )


class Models(BaseModel):
    """All of them, the default one first."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """The server is up."""

    status: Literal["ok"] = "ok"
    version: str
    waiting: int = Field(description="Requests that wait.")


def to_draw_request(body: Any, image: Image.Image | None = None) -> DrawRequest:
    """What the engine takes for a checked body."""
    names = ("prompt", "model", "n", "seed", "guidance_scale", "steps", "truncation", "negative_prompt", "rerank")
    shared = {name: getattr(body, name) for name in names}
    return DrawRequest(**shared, image=image, image_weight=getattr(body, "image_weight", DEFAULT_IMAGE_WEIGHT))


def parse_size(size: str, own: tuple[int, int], limits: Limits) -> tuple[int, int]:
    """Width and height that were asked for.

    Args:
        size: `auto` or WIDTHxHEIGHT.
        own: width and height of the model's images.
        limits: of the sides.

    Raises:
        UsageError: for a side beyond the limits, or other proportions than the model's.
    """
    if size == "auto":
        return own
    width, height = map(int, size.split("x"))
    if max(width, height) > limits.max_side:
        raise UsageError(f"size: expected sides of at most {limits.max_side} pixels, got {size}")
    if width * own[1] != height * own[0]:
        raise UsageError(f"size: expected the proportions of {own[0]}x{own[1]}, got {size}")
    return width, height


def domain_data(result: DrawResult) -> Domain | None:
    """The domain score of a request's prompt."""
    score = result.out_of_domain
    return None if score is None else Domain(**asdict(score))


def image_data(image: ServedImage, place: dict[str, str]) -> ImageData:
    """An image as the API returns it; `place` is its `url` or its `b64_json`."""
    return ImageData(**place, seed=image.seed, clip_score=image.clip_score, seconds=round(image.seconds, 4))
