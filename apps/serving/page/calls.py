"""Between Gradio's events and the engine: arguments into requests, errors into messages, progress onto the page."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr

from text2latent.apps.serving.requests import DrawRequest
from text2latent.common.errors import InputError
from text2latent.inference.settings import DEFAULT_GUIDANCE_SCALE

if TYPE_CHECKING:
    from text2latent.apps.serving.engine import Engine
    from text2latent.inference.domain import DomainScore

T = TypeVar("T")
SETTINGS = ("model", "n", "seed", "guidance_scale", "steps", "truncation", "negative_prompt", "rerank")
"""Fields of `DrawRequest` that all endpoints take, in the order of their components."""


async def work(function: Callable[..., T], *arguments: Any) -> T:
    """The result of a function that takes its time, run in a thread.

    Raises:
        gradio.Error: with the message of an `InputError`.
    """
    try:
        return await asyncio.to_thread(function, *arguments)
    except InputError as error:
        raise complaint(str(error)) from error


async def farthest(engine: Engine, texts: Sequence[str], model: str | None) -> DomainScore | None:
    """The domain score of the text that is farthest from what a model draws; None where it isn't known."""
    scores = [await work(engine.domain_score, text, model) for text in texts]
    return max((score for score in scores if score is not None), key=lambda score: score.percentile, default=None)


def complaint(message: str) -> gr.Error:
    """A message for the reader, which is no fault of the server's and not logged as one."""
    return gr.Error(message, print_exception=False)


def written(text: str | None) -> str:
    """A text that somebody has written.

    Raises:
        gradio.Error: where there is none.
    """
    if not text or not text.strip():
        raise complaint("Write a text first. / 文章を入力してください。")
    return text


def from_thread(progress: gr.Progress) -> Callable[[float, str], None]:
    """A function (share, what) for another thread to show progress with; Gradio finds the page by its context."""
    context = contextvars.copy_context()
    return lambda share, what: context.run(progress, share, what)


def request_of(*settings: Any) -> DrawRequest:
    """A request with the values of `SETTINGS`; the slider's default guidance stands for the engine's choice.

    So a negative prompt has an effect with the slider where it was: at the default, 1, it would have none.
    """
    fields = dict(zip(SETTINGS, settings, strict=True))
    if fields["guidance_scale"] == DEFAULT_GUIDANCE_SCALE:
        fields["guidance_scale"] = None
    return DrawRequest(**fields)


def takes_settings(handler: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """A handler with a parameter `how`, a `DrawRequest`, as Gradio calls it: with `SETTINGS` one by one in its place.

    Gradio names an endpoint's arguments after the handler's parameters, and knows a parameter `request` by its type.
    """
    parameters = list(inspect.signature(handler).parameters.values())
    place = [parameter.name for parameter in parameters].index("how")
    end = place + len(SETTINGS)

    async def call(*values: Any) -> T:
        how = request_of(*values[place:end])
        return await handler(*values[:place], how, *values[end:])

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    settings = [inspect.Parameter(name, kind) for name in SETTINGS]
    call.__signature__ = inspect.Signature([*parameters[:place], *settings, *parameters[place + 1 :]])  # type: ignore[attr-defined]
    call.__annotations__ = {"request": gr.Request}
    call.__doc__ = handler.__doc__
    return call
