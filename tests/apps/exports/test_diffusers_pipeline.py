"""The exported pipeline does what diffusers' own tests ask of every pipeline: devices, precisions, offloading, saving
and reloading, callbacks, batches; and it refuses in a line what it can't do.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

PROMPTS = ["a cat", "a dog | a hat:0.5"]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
LOW_PRECISIONS = {torch.bfloat16: 0.03, torch.float16: 0.004}
"""Share of the images' standard deviation by which rounding of weights may move them in the mean."""
ASKED_OF_ALL = {
    *("num_inference_steps", "num_images_per_prompt", "generator", "latents", "output_type", "return_dict"),
    *("prompt", "negative_prompt", "guidance_scale", "callback_on_step_end", "callback_on_step_end_tensor_inputs"),
}

Load = Callable[..., Any]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(pipe: Any, prompt: Any = PROMPTS, **how: Any) -> Any:
    defaults = {"generator": rng(), "output_type": "pt", "num_inference_steps": 3}
    return pipe(prompt, **{**defaults, **how}).images


def test_call_has_the_arguments_that_all_pipelines_have(load: Load) -> None:
    parameters = inspect.signature(type(load()).__call__).parameters
    assert parameters.keys() >= ASKED_OF_ALL
    assert all(parameters[name].default is not inspect.Parameter.empty for name in ASKED_OF_ALL - {"prompt"})


@pytest.mark.parametrize("device", DEVICES)
def test_moves_to_a_device(load: Load, device: str) -> None:
    pipe = load()
    expected = draw(pipe)
    moved = pipe.to(device)
    assert moved.device.type == device
    assert {part.device.type for part in moved.components.values() if hasattr(part, "device")} == {device}
    torch.testing.assert_close(draw(moved).cpu(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", LOW_PRECISIONS, ids=str)
@pytest.mark.parametrize("loaded", [False, True], ids=["cast", "loaded"])
def test_draws_in_low_precision(load: Load, dtype: torch.dtype, loaded: bool) -> None:
    exact = load()
    assert exact.dtype == torch.float32
    rough = load(dtype=dtype) if loaded else load().to(dtype=dtype)
    assert rough.dtype == dtype
    assert {part.dtype for part in rough.components.values() if hasattr(part, "dtype")} == {dtype}
    expected, drawn = draw(exact, truncation=0.9), draw(rough, truncation=0.9)
    assert (drawn - expected).abs().mean() < LOW_PRECISIONS[dtype] * expected.std()
    assert not torch.equal(drawn, expected)
    images = torch.rand(1, 3, 32, 32, generator=rng()) * 2 - 1
    cosine = (rough.clip.encode_image(images) * exact.clip.encode_image(images)).sum()
    assert cosine > 0.99


@pytest.mark.parametrize("device", DEVICES)
def test_whole_networks_are_offloaded(load: Load, device: str) -> None:
    expected = draw(load(), negative_prompt="rain", truncation=0.7)
    pipe = load()
    pipe.enable_model_cpu_offload(device=device)
    for _ in range(2):
        drawn = draw(pipe, negative_prompt="rain", truncation=0.7)
        torch.testing.assert_close(drawn.cpu(), expected, atol=1e-3, rtol=0)
        assert {part.device.type for part in pipe.components.values() if hasattr(part, "device")} == {"cpu"}


def test_offloaded_networks_are_fetched_before_their_weights_are_used(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, events = load(), []
    pipe.enable_model_cpu_offload(device="cpu")

    def record(owner: Any, method: str, event: str) -> None:
        original = getattr(owner, method)

        def recorded(*arguments: Any, **options: Any) -> Any:
            events.append(event)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, method, recorded)

    used = {"clip": ["encoder.encode_checked"], "prior": ["text_condition", "_network", "denormalize"]}
    used["generator"] = ["truncate", "synthesize"]
    for name, methods in used.items():
        record(getattr(pipe, name)._hf_hook, "pre_forward", f"fetch {name}")
        for method in methods:
            *path, last = method.split(".")
            record(getattr(getattr(pipe, name), path[0]) if path else getattr(pipe, name), last, f"use {name}")
    draw(pipe, truncation=0.7)
    order = [event for before, event in zip(["", *events], events, strict=False) if event != before]
    for name in used:
        assert order.index(f"fetch {name}") < order.index(f"use {name}")
    fetches = list(dict.fromkeys(event for event in order if event.startswith("fetch")))
    assert fetches == ["fetch clip", "fetch prior", "fetch generator"]


def test_layers_are_offloaded_one_by_one(load: Load) -> None:
    """As `enable_sequential_cpu_offload` does on a machine with an accelerator."""
    expected, pipe = draw(load(), truncation=0.7), load()
    for name, network in pipe.components.items():
        if isinstance(network, torch.nn.Module) and name not in pipe._exclude_from_cpu_offload:
            accelerate.cpu_offload(network, torch.device("cpu"), offload_buffers=len(network._parameters) > 0)
    assert pipe.generator.synthesis.b4.const.is_meta
    for _ in range(2):
        torch.testing.assert_close(draw(pipe, truncation=0.7), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_layers_are_offloaded_from_an_accelerator(load: Load) -> None:
    expected, pipe = draw(load(), truncation=0.7), load()
    pipe.enable_sequential_cpu_offload()
    torch.testing.assert_close(draw(pipe, truncation=0.7).cpu(), expected, atol=1e-3, rtol=0)


def test_saved_pipeline_is_loaded_and_saved_again(load: Load, tmp_path: Path) -> None:
    pipe = load()
    expected = draw(pipe)
    for name in ("copy", "copy of the copy"):
        pipe.save_pretrained(tmp_path / name)
        pipe = load(tmp_path / name)
        assert pipe.components.keys() == {"prior", "scheduler", "generator", "clip"}
        assert torch.equal(draw(pipe), expected)
    index = json.loads((tmp_path / "copy/model_index.json").read_text())
    assert str(tmp_path) not in json.dumps(index)


def test_saved_pipeline_still_refuses_other_weights(load: Load, other_world: Path, tmp_path: Path) -> None:
    load().save_pretrained(tmp_path / "copy")
    weights = "diffusion_pytorch_model.safetensors"
    (tmp_path / "copy/generator" / weights).write_bytes((other_world / "generator" / weights).read_bytes())
    with pytest.raises(Exception, match=r"generator: expected .*, got .*: the weights are not the same"):
        load(tmp_path / "copy")


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_low_precision_is_saved(load: Load, tmp_path: Path, variant: str | None) -> None:
    half = load(dtype=torch.float16)
    half.save_pretrained(tmp_path / "half", variant=variant)
    whole = sum(file.stat().st_size for file in Path(half.config._name_or_path).rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in (tmp_path / "half").rglob("*.safetensors")) < 0.6 * whole
    again = load(tmp_path / "half", dtype=torch.float16, variant=variant)
    for name in ("generator", "prior", "clip"):
        kept, loaded = getattr(half, name).state_dict(), getattr(again, name).state_dict()
        assert all(torch.equal(kept[key], loaded[key]) for key in kept.keys() | loaded.keys())
    # Where tensors lie in memory may change float16's last digits on a CPU.
    torch.testing.assert_close(draw(again), draw(half), atol=0.05, rtol=0)


def test_callbacks_see_and_change_each_step(load: Load) -> None:
    pipe, seen = load(), []

    def watch(pipe: Any, step: int, timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append((step, tensors.keys(), pipe.num_timesteps))
        assert all(name in pipe._callback_tensor_inputs for name in tensors)
        return tensors

    expected = draw(pipe)
    names = pipe._callback_tensor_inputs
    watched = draw(pipe, callback_on_step_end=watch, callback_on_step_end_tensor_inputs=names)
    assert torch.equal(watched, expected)
    assert seen == [(step, dict.fromkeys(names).keys(), 3) for step in range(3)]

    def end_in_the_mean(pipe: Any, step: int, timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": torch.zeros_like(tensors["latents"])} if step == pipe.num_timesteps - 1 else tensors

    latents = draw(pipe, callback_on_step_end=end_in_the_mean, output_type="latent")
    torch.testing.assert_close(latents, pipe.prior.latent_mean.expand_as(latents))


def test_callbacks_change_guidance_and_condition(load: Load) -> None:
    pipe = load()

    def guide_more(pipe: Any, step: int, timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        pipe._guidance_scale += 1.0
        return {}

    more = draw(pipe, guidance_scale=2.0, callback_on_step_end=guide_more)
    assert pipe.guidance_scale == 2.0 + pipe.num_timesteps
    assert not torch.equal(more, draw(pipe, guidance_scale=2.0))
    other = pipe.encode_condition(["a dog | a hat:0.5", "a cat"])

    def exchange(pipe: Any, step: int, timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"condition": other}

    changed = draw(pipe, callback_on_step_end=exchange, callback_on_step_end_tensor_inputs=["condition"])
    assert not torch.equal(changed, draw(pipe))


def test_images_do_not_depend_on_their_batch(load: Load) -> None:
    pipe = load()
    together = draw(pipe, generator=[rng(3), rng(4)])
    alone = torch.cat([draw(pipe, text, generator=rng(seed)) for text, seed in zip(PROMPTS, (3, 4), strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("prompt", [PROMPTS[:1], PROMPTS], ids=len)
@pytest.mark.parametrize("num_images", [1, 2])
def test_every_prompt_gets_its_images(load: Load, prompt: list[str], num_images: int) -> None:
    pipe = load()
    drawn = pipe(prompt, num_images_per_prompt=num_images, num_inference_steps=1, generator=rng(7))
    assert len(drawn.images) == len(drawn.seeds) == len(prompt) * num_images
    assert drawn.seeds == list(range(7, 7 + len(drawn.seeds)))


def test_kinds_of_output_agree(load: Load) -> None:
    pipe = load()
    tensor, array, pictures = (draw(pipe, output_type=kind) for kind in ("pt", "np", "pil"))
    np.testing.assert_allclose(array, tensor.permute(0, 2, 3, 1).numpy() / 2 + 0.5, atol=1e-6)
    assert all(isinstance(picture, Image.Image) for picture in pictures)
    assert np.abs(np.asarray(pictures[0]) / 255 - array[0]).max() <= 0.5 / 255 + 1e-6
    output = pipe(PROMPTS, output_type="latent", generator=rng(), num_inference_steps=3)
    assert torch.equal(output.images, output.latents)
    as_tuple = pipe(PROMPTS, output_type="latent", generator=rng(), num_inference_steps=3, return_dict=False)
    assert torch.equal(as_tuple[0], output.images)


def test_noise_may_be_given(load: Load) -> None:
    pipe = load()
    noise = torch.randn(2, *pipe.prior.latent_shape, generator=rng(9))
    drawn = pipe(PROMPTS, latents=noise, num_inference_steps=2)
    assert drawn.seeds == []
    assert torch.equal(drawn.latents, pipe(PROMPTS, latents=noise, num_inference_steps=2, generator=rng(1)).latents)


def test_guidance_and_negative_prompts_change_images(load: Load) -> None:
    pipe = load()
    plain, guided, away = draw(pipe), draw(pipe, guidance_scale=4.0), draw(pipe, negative_prompt=["rain", "snow"])
    assert not torch.equal(plain, guided)
    assert not torch.equal(plain, away)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps: expected a whole number >= 1, got 0"),
        ({"num_inference_steps": 2.5}, "num_inference_steps: expected a whole number"),
        ({"guidance_scale": math.nan}, "guidance_scale: expected a finite number >= 0, got nan"),
        ({"guidance_scale": -1.0}, "guidance_scale: expected a finite number >= 0"),
        ({"truncation": math.nan}, "truncation: expected a number"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt: expected a whole number >= 1"),
        ({"output_type": "jpeg"}, "output_type: expected one of pil, np, pt, latent, got 'jpeg'"),
        ({"latents": torch.zeros(1, 2, 3)}, r"latents: expected shape \[2, 1, 16\], got \[1, 2, 3\]"),
        ({"negative_prompt": ["a", "b", "c"]}, "negative_prompt: expected one, or as many as prompts, got 3"),
        ({"negative_prompt": []}, "negative_prompt: expected one"),
        ({"callback_on_step_end_tensor_inputs": ["w"]}, "callback_on_step_end_tensor_inputs: expected one of latents"),
        ({"prompt": []}, "prompt: expected at least one text, got none"),
        ({"prompt": ["a cat", " "]}, "prompt ' ': expected some words"),
    ],
)
def test_what_cannot_be_drawn_is_refused(load: Load, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(Exception, match=named) as caught:
        load()(**{"prompt": PROMPTS, **wrong})
    assert "\n" not in str(caught.value)
