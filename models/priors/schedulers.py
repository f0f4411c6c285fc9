"""Schedulers by the names of samplers: diffusers' classes and settings, and our functions that do what they do.

A prior's times are its own (`Parametrization`), not a scheduler's steps: they follow from the scheduler's noise levels,
so that any scheduler of the right kind samples any prior, however its noise levels were drawn in training.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.models.network import CLASS_NAME
from text2latent.models.noise import following_noise
from text2latent.models.priors import sampling
from text2latent.models.priors.sampling import Predict

SCHEDULER_MODULES = {
    "FlowMatchEulerDiscreteScheduler": "scheduling_flow_match_euler_discrete",
    "FlowMatchHeunDiscreteScheduler": "scheduling_flow_match_heun_discrete",
    "DDPMScheduler": "scheduling_ddpm",
    "DDIMScheduler": "scheduling_ddim",
    "DPMSolverMultistepScheduler": "scheduling_dpmsolver_multistep",
    "HeunDiscreteScheduler": "scheduling_heun_discrete",
}
RESPACED = "RespacedDDPMScheduler"
"""clip2latent's way through DDPM's steps, which no class of diffusers' has."""
CONFIG_FILE = "scheduler_config.json"
DEFAULT_SCHEDULER = "FlowMatchEulerDiscreteScheduler"
_COSINE = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}
_UNCLIPPED = {**_COSINE, "clip_sample": False}
_DDPM = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "clip_sample": True,
    "prediction_type": "epsilon",
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "clip_sample_range": 1.0,
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "steps_offset": 0,
    "rescale_betas_zero_snr": False,
}
_LINEAR = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
_DPM = {"algorithm_type": "dpmsolver++", "solver_order": 2}


def _euler(predict: Predict, noise: Tensor, num_steps: int, later: Tensor | None, prediction_type: str) -> Tensor:
    return sampling.sample_euler(predict, noise, sampling.euler_times(num_steps))


def _heun(predict: Predict, noise: Tensor, num_steps: int, later: Tensor | None, prediction_type: str) -> Tensor:
    return sampling.sample_heun(predict, noise, sampling.heun_times(num_steps))


def _ddim(predict: Predict, noise: Tensor, num_steps: int, later: Tensor | None, prediction_type: str) -> Tensor:
    return sampling.sample_ddim(predict, noise, sampling.trailing_steps(num_steps), prediction_type)


def _ddpm(predict: Predict, noise: Tensor, num_steps: int, later: Tensor | None, prediction_type: str) -> Tensor:
    steps = sampling.trailing_steps(num_steps)
    later = following_noise(noise, num_steps - 1) if later is None else later
    return sampling.sample_ddpm(predict, noise, steps, prediction_type, later)


def _respaced(predict: Predict, noise: Tensor, num_steps: int, later: Tensor | None, prediction_type: str) -> Tensor:
    steps = sampling.leading_steps(num_steps)
    later = following_noise(noise, num_steps - 1) if later is None else later
    return sampling.sample_ddpm(predict, noise, steps, prediction_type, later, whole_variance=True)


SAMPLERS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "flow": {
        "euler": ("FlowMatchEulerDiscreteScheduler", {}),
        "heun": ("FlowMatchHeunDiscreteScheduler", {}),
        "dpm++": (
            "DPMSolverMultistepScheduler",
            {**_DPM, "use_flow_sigmas": True, "prediction_type": "flow_prediction"},
        ),
    },
    "diffusion": {
        "ddpm": ("DDPMScheduler", _UNCLIPPED),
        "ddim": ("DDIMScheduler", _UNCLIPPED),
        # The bound on half the log signal-to-noise ratio is the one that diffusers' documentation gives for cosines.
        "dpm++": ("DPMSolverMultistepScheduler", {**_DPM, **_COSINE, "lambda_min_clipped": -5.1}),
        # EDM's spacing of noise levels (arXiv:2206.00364, eq. 5), between those of the linear schedule.
        "heun": ("HeunDiscreteScheduler", {**_LINEAR, "use_karras_sigmas": True, "timestep_spacing": "trailing"}),
    },
}
"""Scheduler class and settings of each sampler, for flows and for the objectives that preserve the variance."""
PREDICTION_TYPES = {"epsilon": "epsilon", "sample": "sample", "v": "v_prediction"}
DEFAULTS: dict[str, dict[str, Any]] = {
    "FlowMatchEulerDiscreteScheduler": {
        "num_train_timesteps": 1000,
        "shift": 1.0,
        "use_dynamic_shifting": False,
        "base_shift": 0.5,
        "max_shift": 1.15,
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
        "invert_sigmas": False,
        "shift_terminal": None,
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "time_shift_type": "exponential",
        "stochastic_sampling": False,
    },
    "FlowMatchHeunDiscreteScheduler": {"num_train_timesteps": 1000, "shift": 1.0},
    "DDPMScheduler": {**_DDPM, "variance_type": "fixed_small"},
    "DDIMScheduler": {**_DDPM, "set_alpha_to_one": True},
    RESPACED: {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"},
}
"""Defaults of the classes whose work functions of ours do; diffusers' but for the last."""
OWN: dict[str, tuple[dict[str, Any], Callable[..., Tensor]]] = {
    "FlowMatchEulerDiscreteScheduler": ({}, _euler),
    "FlowMatchHeunDiscreteScheduler": ({}, _heun),
    "DDPMScheduler": (_UNCLIPPED, _ddpm),
    "DDIMScheduler": (_UNCLIPPED, _ddim),
    RESPACED: ({}, _respaced),
}
"""Our functions, and the settings besides the defaults with which they do the same."""


@dataclass(frozen=True)
class SchedulerConfig:
    """Which of diffusers' schedulers a prior is sampled with, and how; the scheduler itself is made when it is needed.

    Attributes:
        name: its class, one of `SCHEDULER_MODULES` or `RESPACED`.
        config: its settings, defaults included.
    """

    name: str
    config: dict[str, Any]

    def to_diffusers(self) -> Any:
        """The scheduler, for which diffusers is imported; it raises what it does for unusable settings."""
        return scheduler_class(self.name).from_config(dict(self.config))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `scheduler_config.json` into a folder, as the scheduler's own method does."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        version = importlib.metadata.version("diffusers")
        record = {CLASS_NAME: self.name, "_diffusers_version": version, **self.config}
        text = json.dumps(record, indent=2, sort_keys=True) + "\n"
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")

    def later_noise(self, noise: Tensor, num_inference_steps: int) -> Tensor | None:
        """The noise of all steps but the last, `[K - 1, N, L, D]`, which follows from the first, `[N, L, D]`.

        None for samplers that draw none.
        """
        return following_noise(noise, num_inference_steps - 1) if is_stochastic(self.name) else None

    @property
    def draws_with(self) -> Callable[[Predict, Tensor, int, Tensor | None], Tensor] | None:
        """A function of ours that draws what the scheduler draws, `f(predict, noise, num_inference_steps, later)`.

        `later` is what `later_noise` gives, or None to have it drawn. There is no function where only diffusers has
        one: for other classes, and other settings than `OWN` has.
        """
        known = OWN.get(self.name)
        if known is None:
            return None
        settings, draw = known
        defaults = DEFAULTS[self.name]
        found, prediction = {**defaults, **self.config}, self.config.get("prediction_type", "")
        expected = {**defaults, **settings, **({"prediction_type": prediction} if prediction else {})}
        fits = found == expected and prediction in ("", *PREDICTION_TYPES.values())
        return partial(draw, prediction_type=prediction) if fits else None


def build_scheduler(sampler: str, objective: str) -> SchedulerConfig:
    """The scheduler of a prior.

    Args:
        sampler: `euler`, `heun` or `dpm++` (DPM-Solver++, arXiv:2211.01095) for a flow; `ddpm` (arXiv:2006.11239),
            `ddim` (arXiv:2010.02502), `dpm++` or `heun` (EDM's, arXiv:2206.00364) for other objectives.
        objective: see `text2latent.models.priors.parametrization`.

    Raises:
        UsageError: when the sampler isn't for this objective.
    """
    samplers = SAMPLERS["flow" if objective == "flow" else "diffusion"]
    if sampler not in samplers:
        raise UsageError(f"sampler: expected one of {', '.join(samplers)} for objective {objective}, got {sampler!r}")
    name, settings = samplers[sampler]
    prediction = {} if objective == "flow" else {"prediction_type": PREDICTION_TYPES[objective]}
    defaults = DEFAULTS[name] if name in DEFAULTS else _without_private(scheduler_class(name)().config)
    return SchedulerConfig(name, {**defaults, **settings, **prediction})


def scheduler_class(name: str) -> type[Any]:
    """The class of a scheduler's `_class_name`, imported only now.

    Raises:
        UsageError: for another class than those of `SAMPLERS`, and for `RESPACED`, which is no class of diffusers'.
    """
    _require_known(name)
    if name == RESPACED:
        raise UsageError(f"scheduler {name}: expected {DEFAULTS[name]}, and no other tool than this one")
    found: type[Any] = getattr(import_module(f"diffusers.schedulers.{SCHEDULER_MODULES[name]}"), name)
    return found


def load_scheduler(config: Mapping[str, Any]) -> SchedulerConfig:
    """The scheduler of a `scheduler_config.json`; without a `_class_name`, a flow's Euler scheduler.

    Raises:
        UsageError: for an unknown class; and what diffusers raises for unusable settings.
    """
    scheduler = SchedulerConfig(config.get(CLASS_NAME, DEFAULT_SCHEDULER), _without_private(config))
    _require_known(scheduler.name)
    if scheduler.draws_with is None:
        made = scheduler.to_diffusers()
        return SchedulerConfig(scheduler.name, _without_private(made.config))
    return SchedulerConfig(scheduler.name, {**DEFAULTS[scheduler.name], **scheduler.config})


def _require_known(name: str) -> None:
    known = (*SCHEDULER_MODULES, RESPACED)
    if name not in known:
        raise UsageError(f"scheduler {name!r}: expected one of {', '.join(known)}")


def _without_private(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}


def is_flow(scheduler: Any) -> bool:
    """Whether a scheduler integrates a flow: one of `FlowMatch...`, or with `use_flow_sigmas`."""
    return scheduler.__class__.__name__.startswith("FlowMatch") or bool(scheduler.config.get("use_flow_sigmas"))


def is_stochastic(name: str) -> bool:
    """Whether the steps of a class of schedulers draw noise."""
    return name in ("DDPMScheduler", RESPACED)


def set_steps(scheduler: Any, num_inference_steps: int, device: torch.device) -> Tensor:
    """Set a scheduler's steps.

    Returns:
        `[K]` times in [0, 1] of its evaluations, K being the steps, or one less than twice as many for Heun's method.
        DPM-Solver++ leaves out, of hundreds of steps, up to four that are beyond its bound on the noise.
    """
    if "sigmas" in inspect.signature(scheduler.set_timesteps).parameters and is_flow(scheduler):
        # The default spacing ends in a step from 0.001 to 0, an evaluation that moves nothing.
        sigmas = [1 - i / num_inference_steps for i in range(num_inference_steps)]
        scheduler.set_timesteps(sigmas=sigmas, device=device)
    else:
        scheduler.set_timesteps(num_inference_steps, device=device)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    levels = _noise_levels(scheduler).to(device)
    return levels if is_flow(scheduler) else levels.atan() * (2 / math.pi)


def _noise_levels(scheduler: Any) -> Tensor:
    """Noise level `[K]` of each evaluation: t of a flow, else the ratio sigma of noise to data."""
    if hasattr(scheduler, "sigmas"):
        return scheduler.sigmas[: len(scheduler.timesteps)].float()
    kept = scheduler.alphas_cumprod[scheduler.timesteps.cpu()]
    return ((1 - kept) / kept).sqrt()
