"""diffusers' schedulers by the names of samplers, and the times at which they evaluate a prior.

A prior's times are its own (`Parametrization`), not a scheduler's steps: they follow from the scheduler's noise levels,
so that any scheduler of the right kind samples any prior, however its noise levels were drawn in training.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from text2latent.common.errors import UsageError

SCHEDULER_MODULES = {
    "FlowMatchEulerDiscreteScheduler": "scheduling_flow_match_euler_discrete",
    "FlowMatchHeunDiscreteScheduler": "scheduling_flow_match_heun_discrete",
    "DDPMScheduler": "scheduling_ddpm",
    "DDIMScheduler": "scheduling_ddim",
    "DPMSolverMultistepScheduler": "scheduling_dpmsolver_multistep",
    "HeunDiscreteScheduler": "scheduling_heun_discrete",
}
DEFAULT_SCHEDULER = "FlowMatchEulerDiscreteScheduler"
_COSINE = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}
_UNCLIPPED = {**_COSINE, "clip_sample": False}
_LINEAR = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
_DPM = {"algorithm_type": "dpmsolver++", "solver_order": 2}

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
SAMPLER_NAMES = tuple(dict.fromkeys(name for samplers in SAMPLERS.values() for name in samplers))


def build_scheduler(sampler: str, objective: str) -> Any:
    """A diffusers scheduler for a prior.

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
    return scheduler_class(name)(**settings, **prediction)


def scheduler_class(name: str) -> type[Any]:
    """The class of a scheduler's `_class_name`, imported only now.

    Raises:
        UsageError: for another class than those of `SAMPLERS`.
    """
    if name not in SCHEDULER_MODULES:
        raise UsageError(f"scheduler {name!r}: expected one of {', '.join(SCHEDULER_MODULES)}")
    found: type[Any] = getattr(import_module(f"diffusers.schedulers.{SCHEDULER_MODULES[name]}"), name)
    return found


def load_scheduler(config: Mapping[str, Any]) -> Any:
    """The scheduler of a `scheduler_config.json`; without a `_class_name`, a flow's Euler scheduler.

    Raises:
        UsageError: for an unknown class; and what diffusers raises for unusable settings.
    """
    return scheduler_class(config.get("_class_name", DEFAULT_SCHEDULER)).from_config(dict(config))


def is_flow(scheduler: Any) -> bool:
    """Whether a scheduler integrates a flow."""
    return scheduler.__class__.__name__.startswith("FlowMatch") or bool(scheduler.config.get("use_flow_sigmas"))


def is_stochastic(scheduler: Any) -> bool:
    """Whether a scheduler's steps draw noise."""
    return scheduler.__class__.__name__ == "DDPMScheduler"


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
