"""How to draw a served image again elsewhere: a command line of `text2latent`, and a Python program."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from text2latent.apps.serving.results import Recipe
from text2latent.inference.settings import Settings
from text2latent.inference.writing import edit_label, slugify

if TYPE_CHECKING:
    from text2latent.apps.serving.requests import DrawRequest
    from text2latent.apps.serving.results import Drawn

LATENTS = "latents = load_latents({file!r}, pipe.generator.latent_shape).to(pipe.device)\n"
SAVE = "to_pil(pipe.render({latents}).images)[0].save({file!r})\n"


def draw_recipe(source: str, origin: DrawRequest, settings: Settings) -> Recipe:
    """That of an image which the prior drew.

    Args:
        source: what the model is called elsewhere.
        origin: the request, of one image.
        settings: how it was drawn; with `refine`, that many steps of refinement follow.
    """
    name = origin.label
    file = f"{slugify(name)}-{origin.seed}.png"
    command = _command("infer", *_draw_words(source, origin, settings), "--output", file)
    python = (
        ("from PIL import Image\n" if origin.image is not None else "")
        + _pipeline(source)
        + f"drawn = pipe({_draw_arguments(origin, settings)})\n"
        + f"drawn.images[0].save({file!r})\n"
    )
    return Recipe(command, python, _image_needs(origin))


def mix_recipe(
    source: str, ends: tuple[str, str], origin: DrawRequest, settings: Settings, frame: int, frames: int
) -> Recipe:
    """That of frame number `frame`, from 0, of the way between two texts."""
    name = slugify(f"{ends[0]} to {ends[1]}")
    words = ["--interpolate", *ends, "--frames", str(frames), *_how_words(source, origin, settings)]
    queries = ", ".join(f"Query({_arguments(text=end, negative=origin.negative)})" for end in ends)
    python = (
        _pipeline(source, "Query", "Settings", "draw_frames")
        + f"frames = list(draw_frames(pipe, ({queries}), {frames}, [{origin.seed}], {_settings(settings)}))\n"
        + f"frames[{frame}].picture.save({f'{name}-{frame}.png'!r})\n"
    )
    return Recipe(_command("infer", *words, "--output", f"{name}-{origin.seed}.gif"), python)


def edit_recipe(source: str, start: Drawn, ends: tuple[str, str], strength: float, settings: Settings) -> Recipe:
    """That of an image which was moved along the direction between two texts; `settings` are those of the direction."""
    adjusted = adjust_recipe(source, start, [(*ends, strength)], settings)
    words = ["--model", source, "--latents", f"{start.stem}.npz", "--edit", *ends]
    words += [f"--strength={strength:g}", *_settings_words(settings)]
    words += ["--output", f"{slugify(edit_label(start.label, *ends))}-{start.seed}.png"]
    return Recipe(_command("infer", *words), adjusted.python, adjusted.needs)


def adjust_recipe(source: str, start: Drawn, changes: Sequence[tuple[str, str, float]], settings: Settings) -> Recipe:
    """That of an image which was moved along several directions, each between two texts and by a strength."""
    label = start.label
    for origin, target, _ in changes:
        label = edit_label(label, origin, target)
    python = _pipeline(source, "Query", "Settings", "edit", "load_latents", "to_pil")
    python += LATENTS.format(file=f"{start.stem}.npz")
    for origin, target, strength in changes:
        queries = f"Query({origin!r}), Query({target!r})"
        python += f"latents = edit(pipe, latents, {queries}, {strength!r}, {_settings(settings)})\n"
    python += SAVE.format(latents="latents", file=f"{slugify(label)}-{start.seed}.png")
    return Recipe("", python, f"the start's latents as {start.stem}.npz")


def refine_recipe(source: str, start: Drawn, prompt: str | None, iterations: int) -> Recipe:
    """That of an image which was refined towards a text, or, with None, towards what it had been drawn from."""
    if prompt is None and start.origin is not None:
        from dataclasses import replace

        return draw_recipe(source, start.origin, replace(start.settings, refine=iterations))
    target = prompt if prompt is not None else start.query.text
    python = (
        _pipeline(source, "Optimization", "load_latents", "optimize_latents", "to_pil")
        + LATENTS.format(file=f"{start.stem}.npz")
        # Files hold a w for each layer; one that is for all layers has to be moved as one.
        + ("latents = latents[:, :1]\n" if len(start.latent) == 1 else "")
        + f"target = pipe.encode_prompts([{target!r}])\n"
        + "refined = optimize_latents(\n"
        + "    pipe.generator, pipe.clip, target, latents, pipe.latent_distribution,\n"
        + f"    Optimization({iterations}), [{start.seed}],\n)\n"
        + SAVE.format(latents="refined", file=f"{start.stem}-refined.png")
    )
    return Recipe("", python, f"the start's latents as {start.stem}.npz")


def optimize_recipe(source: str, prompt: str, avoid: str | None, seed: int, iterations: int, optimizer: str) -> Recipe:
    """That of an image found by optimisation; it is `best.png` in a folder named after text and seed."""
    words = ["--text", prompt, "--model", source, "--iterations", str(iterations), "--seed", str(seed)]
    words += ["--optimizer", optimizer, *([] if avoid is None else ["--avoid", avoid])]
    words += ["--output", f"{slugify(prompt)}-{seed}"]
    program = f"from text2latent import main\n\nmain({['optimize', *words]!r})\n"
    return Recipe(_command("optimize", *words), program)


def project_recipe(source: str, name: str, seed: int, steps: int) -> Recipe:
    """That of a picture that was found in the latent space."""
    file = f"{slugify(name)}.png"
    words = [file, "--model", source, "--steps", str(steps), "--seed", str(seed), "--output", f"{slugify(name)}-found"]
    python = (
        "from PIL import Image\n"
        + _pipeline(source, "ProjectionSettings")
        + f"found = pipe.project(Image.open({file!r}), ProjectionSettings(steps={steps}), {seed})\n"
        + f"found.pil_images[0].save({f'{slugify(name)}-found.png'!r})\n"
    )
    return Recipe(_command("project", *words), python, f"the picture as {file}")


def _pipeline(source: str, *names: str) -> str:
    """The beginning of a program that uses a pipeline and some other names of the package."""
    imported = ", ".join(sorted(["Text2LatentPipeline", *names]))
    return f"from text2latent import {imported}\n\npipe = Text2LatentPipeline.from_pretrained({source!r})\n"


def _command(verb: str, *words: str) -> str:
    return shlex.join(["text2latent", verb, *words])


def _draw_words(source: str, origin: DrawRequest, settings: Settings) -> list[str]:
    words = [] if origin.prompt is None else ["--text", origin.prompt.strip()]
    if origin.image is not None:
        words += ["--image", f"{slugify(origin.image_name)}.png"]
        words += [] if origin.prompt is None else ["--image-weight", f"{origin.image_weight:g}"]
    return [*words, *_how_words(source, origin, settings)]


def _how_words(source: str, origin: DrawRequest, settings: Settings) -> list[str]:
    negative = [] if origin.negative is None else ["--negative-text", origin.negative]
    return ["--model", source, "--seed", str(origin.seed), *negative, *_settings_words(settings)]


def _settings_words(settings: Settings) -> list[str]:
    words = ["--guidance-scale", f"{settings.guidance_scale!r}", "--steps", str(settings.num_inference_steps)]
    default = Settings()
    for flag, name in (("--truncation", "truncation"), ("--rerank", "rerank"), ("--refine", "refine")):
        value = getattr(settings, name)
        words += [] if value == getattr(default, name) else [flag, f"{value!r}"]
    return words


def _draw_arguments(origin: DrawRequest, settings: Settings) -> str:
    image = origin.image is not None
    further = {
        "seeds": [origin.seed],
        "num_inference_steps": settings.num_inference_steps,
        "guidance_scale": settings.guidance_scale,
        "truncation": settings.truncation if settings.truncation != 1 else None,
        "rerank": settings.rerank if settings.rerank != 1 else None,
        "refine": settings.refine or None,
        "negative_prompt": origin.negative,
        "image_weight": origin.image_weight if image and origin.prompt is not None else None,
    }
    words = [] if origin.prompt is None else [repr(origin.prompt.strip())]
    words += [f"image=Image.open({f'{slugify(origin.image_name)}.png'!r})"] if image else []
    return ", ".join([*words, _arguments(**further)])


def _settings(settings: Settings) -> str:
    default = Settings()
    names = ("num_inference_steps", "guidance_scale", "truncation")
    changed = {name: getattr(settings, name) for name in names if getattr(settings, name) != getattr(default, name)}
    return f"Settings({_arguments(**changed)})"


def _arguments(**values: Any) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items() if value is not None)


def _image_needs(origin: DrawRequest) -> str:
    return "" if origin.image is None else f"the image that was varied as {slugify(origin.image_name)}.png"
