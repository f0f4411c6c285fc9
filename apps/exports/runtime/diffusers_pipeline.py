"""The pipeline of exported diffusers folders: a text's CLIP embedding, the prior's latent, the generator's image."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.inference.conditions import embed_prompts
from text2latent.inference.images import to_pil
from text2latent.inference.seeds import seeds_per_image
from text2latent.inference.settings import DEFAULT_STEPS, Settings, choose_guidance_scale, require_count
from text2latent.models.generators.layouts import to_w
from text2latent.models.priors.diffusion import Denoiser, Guidance, NegativePrior, fresh, initial_noise, step_through
from text2latent.models.priors.schedulers import set_steps
from text2latent.models.sources.identity import Identity, require_same, sha256_of

MODEL_INDEX, PIPELINE_FILE = "model_index.json", "pipeline.py"
NETWORKS = ("prior", "generator", "clip")
IMAGE_TYPES = ("pil", "np", "pt", "latent")
COPIED_CODE = "diffusers_modules"
"""Package into which diffusers copies the code of folders before it is imported."""
OnStepEnd = Callable[[Any, int, Tensor, dict[str, Any]], dict[str, Any]]


@dataclass
class LatentPipelineOutput(BaseOutput):
    """What the pipeline drew, N images in the order of the prompts.

    Attributes:
        images: N RGB pictures, or what `output_type` says.
        latents: `[N, L, D]`, the latents that were synthesised, after truncation.
        seeds: N seeds that draw the images again; none where the noise was given.
    """

    images: list[Image.Image] | Tensor | np.ndarray
    latents: Tensor
    seeds: list[int]


class LatentPriorPipeline(DiffusionPipeline):
    """Draws images of a generator's domain from texts (clip2latent, arXiv:2210.02347, section 3.3).

    Args:
        prior: the denoiser, CLIP embedding to latent.
        scheduler: it is sampled with.
        generator: latents to images.
        clip: texts to embeddings.
        trained_with: name and SHA-256 of the `generator` and the `clip` that the prior belongs to.

    Raises:
        InputError: for another generator or CLIP than these, naming both.
    """

    model_cpu_offload_seq = "clip->prior->generator"
    # Sequential offloading brings weights layer by layer. The attention of CLIP reads those of a layer within it, and
    # the prior's statistics are read between its evaluations.
    _exclude_from_cpu_offload = ["clip", "prior"]  # noqa: RUF012  # as diffusers declares it
    _callback_tensor_inputs = ["latents", "condition"]  # noqa: RUF012

    def __init__(
        self, prior: Any, scheduler: Any, generator: Any, clip: Any, trained_with: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        require_trained_with(trained_with or {}, {"generator": generator, "clip": clip})
        self.register_modules(prior=prior, scheduler=scheduler, generator=generator, clip=clip)
        self.register_to_config(trained_with=trained_with)
        self._guidance_scale, self._num_timesteps = 1.0, 0
        for network in (prior, generator, clip):
            # Convolutions run fastest with channels last.
            torch.nn.Module.to(network.eval(), memory_format=torch.channels_last)

    @property
    def guidance_scale(self) -> float:
        """The scale of the images that are being drawn; callbacks read it, and may set `_guidance_scale`."""
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        """Steps of the images that are being drawn."""
        return self._num_timesteps

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float | None = None,
        truncation: float = 1.0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> LatentPipelineOutput | tuple[Any, ...]:
        """Draw images of prompts.

        Args:
            prompt: a text, or several; its parts may be weighted, as in `woman:1 | glasses:0.5`.
            negative_prompt: what not to show, for all prompts or one for each.
            num_images_per_prompt: images of each.
            num_inference_steps: evaluations of the prior per image.
            guidance_scale: >= 0; 1 (the default) is no guidance, more follows the prompt more closely at the cost of
                variety. With a negative prompt the default is 2.
            truncation: psi; below 1 moves latents towards the generator's mean one.
            generator: one for all images, or one per image. A generator fresh from `manual_seed(s)` gives the images of
                `text2latent infer --seed s`.
            latents: normal noise `[N, L, D]` of the prior's shape to start from, instead of a generator's.
            output_type: `pil`, `np` for an array `[N, H, W, 3]` in [0, 1], `pt` for a tensor `[N, 3, H, W]` in
                [-1, 1], or `latent` for the latents alone.
            return_dict: False returns the output's values as a tuple.
            callback_on_step_end: called as `f(pipe, step, timestep, tensors)` after each step; what it returns of the
                tensors is gone on with.
            callback_on_step_end_tensor_inputs: the tensors that it gets, of `latents` (the prior's, normalised) and
                `condition` `[N, E]`.

        Raises:
            UsageError: for a value out of range, naming it.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        negatives = [negative_prompt] if isinstance(negative_prompt, str) else negative_prompt
        scale = choose_guidance_scale(guidance_scale, negatives is not None)
        settings = Settings(num_inference_steps, scale, truncation)
        require_count("num_images_per_prompt", num_images_per_prompt)
        require_one_of("output_type", [output_type], IMAGE_TYPES)
        require_one_of(
            "callback_on_step_end_tensor_inputs", callback_on_step_end_tensor_inputs, self._callback_tensor_inputs
        )
        seeds, noise = self.prepare_latents(len(prompts), num_images_per_prompt, generator, latents)
        condition = self.encode_condition(prompts).repeat_interleave(num_images_per_prompt, dim=0)
        prior = self.prior if negatives is None else self.avoiding(negatives, len(condition))
        watch = Watch(self, condition, callback_on_step_end, callback_on_step_end_tensor_inputs)
        drawn = self.draw_latents(prior, condition, noise, settings, watch)
        output = LatentPipelineOutput(self.decode(drawn, output_type), drawn, seeds)
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()

    def prepare_latents(
        self,
        num_prompts: int,
        num_images: int,
        generator: torch.Generator | Sequence[torch.Generator] | None,
        latents: Tensor | None,
    ) -> tuple[list[int], Tensor]:
        """Seeds and noise `[N, L, D]`, float32; without seeds where the noise is given."""
        shape = (num_prompts * num_images, *self.prior.latent_shape)
        if latents is None:
            seeds = seeds_per_image(num_prompts, num_images, generator, None)
            return seeds, initial_noise(seeds, self.prior.latent_shape).to(self._execution_device)
        if tuple(latents.shape) != shape:
            raise UsageError(f"latents: expected shape {list(shape)}, got {list(latents.shape)}")
        return [], latents.to(self._execution_device, torch.float32)

    def encode_condition(self, prompts: Sequence[str]) -> Tensor:
        """What the prior takes for prompts, weighted ones included: `[N, E]`, float32, L2-normalised."""
        if not prompts:
            raise UsageError("prompt: expected at least one text, got none")
        embedded = embed_prompts(self.clip, prompts).to(self._execution_device)
        condition: Tensor = fetched(self.prior).text_condition(embedded)
        return condition.float()

    def avoiding(self, negatives: Sequence[str], num_images: int) -> Denoiser:
        """The prior, guided away from negative prompts: one for all images, or one for as many images each."""
        if num_images % max(len(negatives), 1) or not negatives:
            raise UsageError(f"negative_prompt: expected one, or as many as prompts, got {len(negatives)}")
        negative = self.encode_condition(negatives).repeat_interleave(num_images // len(negatives), dim=0)
        return NegativePrior(self.prior, negative, torch.ones(num_images, dtype=torch.bool, device=negative.device))

    def draw_latents(
        self, prior: Denoiser, condition: Tensor, noise: Tensor, settings: Settings, watch: Watch
    ) -> Tensor:
        """Latents `[N, L, D]`, float32, of N conditions and noise of the prior's shape, to synthesise."""
        steps = settings.num_inference_steps
        self._guidance_scale, self._num_timesteps = settings.guidance_scale, count_timesteps(self.scheduler, steps)
        with self.progress_bar(total=self._num_timesteps) as watch.bar:
            drawn = step_through(prior, fresh(self.scheduler), condition, steps, PipelineGuidance(self), noise, watch)
        generator = fetched(self.generator)
        latents = to_w(prior.denormalize(drawn), self.prior.latent_layout, generator)
        if not latents.isfinite().all():
            raise UsageError(f"guidance_scale: {self.guidance_scale} gives infinite latents; expected a moderate one")
        return latents if settings.truncation == 1 else generator.truncate(latents, settings.truncation)

    def decode(self, latents: Tensor, output_type: str) -> list[Image.Image] | Tensor | np.ndarray:
        """Images of latents `[N, L, D]`, in a form of `IMAGE_TYPES`."""
        if output_type == "latent":
            return latents
        images: Tensor = self.generator(latents)
        if output_type == "np":
            return images.add(1).div(2).permute(0, 2, 3, 1).cpu().numpy()
        return to_pil(images) if output_type == "pil" else images

    def save_config(self, save_directory: str | Path, push_to_hub: bool = False, **options: Any) -> None:
        """Write `model_index.json`, and the code that it names, as `text2latent export` does."""
        super().save_config(save_directory, push_to_hub=False, **options)  # type: ignore[misc]
        folder = Path(save_directory)
        index = json.loads((folder / MODEL_INDEX).read_text(encoding="utf-8"))
        index.pop("_name_or_path", None)  # a path of this machine
        for name in NETWORKS:
            index[name] = copy_code(type(getattr(self, name)), folder / name)
        if copy_code(type(self), folder, PIPELINE_FILE):
            index["_class_name"] = [Path(PIPELINE_FILE).stem, type(self).__name__]
        index["trained_with"] = saved_identities(index.get("trained_with"), folder)
        (folder / MODEL_INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


class PipelineGuidance(Guidance):
    """The guidance scale that a pipeline has at each step, which callbacks may change."""

    def __init__(self, pipeline: LatentPriorPipeline) -> None:
        super().__init__()
        object.__setattr__(self, "pipeline", pipeline)

    def scale_at(self, t: Tensor) -> float:
        return self.pipeline.guidance_scale


class Watch:
    """What is done after each step: the progress bar moves, and a callback may change latents and condition."""

    bar: Any = None

    def __init__(
        self, pipeline: LatentPriorPipeline, condition: Tensor, callback: OnStepEnd | None, names: Sequence[str]
    ) -> None:
        self.pipeline, self.condition, self.callback, self.names = pipeline, condition, callback, names

    def __call__(self, step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        self.bar.update()
        if self.callback is None:
            return latents
        tensors = {"latents": latents, "condition": self.condition}
        changed = self.callback(self.pipeline, step, timestep, {name: tensors[name] for name in self.names}) or {}
        if "condition" in changed:
            self.condition.copy_(changed["condition"])  # the one that is being sampled with
        return changed.get("latents", latents)


def require_one_of(name: str, values: Sequence[Any], choices: Sequence[str]) -> None:
    """Refuse values that are none of the choices, naming the argument."""
    for value in values:
        if value not in choices:
            raise UsageError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def count_timesteps(scheduler: Any, num_inference_steps: int) -> int:
    """Evaluations that a scheduler makes of so many steps."""
    return len(set_steps(fresh(scheduler), num_inference_steps, torch.device("cpu")))


def fetched(network: Any) -> Any:
    """A network, brought to where it computes if it is offloaded: accelerate does so before `forward` only."""
    hook = getattr(network, "_hf_hook", None)
    if hook is not None and hasattr(hook, "pre_forward"):
        hook.pre_forward(network)
    return network


def require_trained_with(expected: Mapping[str, Any], networks: Mapping[str, Any]) -> None:
    """Refuse networks whose weights files are not the expected ones; those that came from no file can't be checked."""
    for part, network in networks.items():
        found = network_identity(network, part)
        if part in expected and found is not None:
            require_same(Identity.from_dict(expected[part]), found, part)


def network_identity(network: Any, name: str) -> Identity | None:
    """Identity of a network that knows it, or that diffusers has loaded from a folder of this machine."""
    known = getattr(network, "identity", None)
    folder = getattr(getattr(network, "config", None), "_name_or_path", None)
    return known if known is not None or not folder else folder_identity(Path(folder), name)


def folder_identity(folder: Path, name: str) -> Identity | None:
    """Identity of the one weights file of a folder; None where there are several or none."""
    weights = sorted(folder.glob("*.safetensors"))
    return Identity(name, str(folder), sha256_of(weights[0])) if len(weights) == 1 else None


def saved_identities(trained_with: Mapping[str, Any] | None, folder: Path) -> dict[str, Any] | None:
    """Identities of generator and CLIP with the checksums of the files that they were saved in."""
    if trained_with is None:
        return None
    found = {part: folder_identity(folder / part, part) for part in trained_with}
    return {part: {**trained_with[part], "sha256": one.sha256} for part, one in found.items() if one is not None}


def copy_code(cls: type, folder: Path, name: str | None = None) -> list[str]:
    """Copy the file of a class that diffusers took from a folder into another; gives what an index says of it.

    Classes of installed packages are named by their module, and none of their code is copied.
    """
    package, _, module = cls.__module__.rpartition(".")
    if package.split(".")[0] != COPIED_CODE:
        return [] if name else [cls.__module__, cls.__name__]
    source = sys.modules[cls.__module__].__file__
    assert source is not None
    shutil.copyfile(source, folder / (name or f"{module}.py"))
    return [module, cls.__name__]
