"""What a denoiser predicts, at which mixture of data and noise, and how its output is scaled.

All objectives mix data and noise as `x = a(t) x0 + s(t) e` with t in [0, 1], where 1 is noise:

    ========= ============================ =================
    objective  a, s                         prediction
    ========= ============================ =================
    flow       1 - t, t                     e - x0
    epsilon    cos(pi t / 2), sin(pi t / 2)  e
    sample     cos(pi t / 2), sin(pi t / 2)  x0
    v          cos(pi t / 2), sin(pi t / 2)  a e - s x0
    ========= ============================ =================

`flow` is rectified flow (arXiv:2209.03003, eq. 1). The others preserve the variance; uniform times give the cosine
schedule (arXiv:2102.09672, eq. 17) without its offset, `cosine_times` those of its steps with it; and any
noise-to-signal ratio sigma, as EDM counts noise (arXiv:2206.00364), is the time `2 / pi atan(sigma)` of
`x / sqrt(1 + sigma^2)`. `v` is progressive distillation's (arXiv:2202.00512, app. D).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from text2latent.common.errors import UsageError

OBJECTIVES = ("flow", "epsilon", "sample", "v")
COSINE_STEPS, COSINE_OFFSET = 1000, 0.008
"""Steps of DDPM's cosine schedule, and its offset s (arXiv:2102.09672, eq. 17)."""
_FIRST_ANGLE = COSINE_OFFSET / (1 + COSINE_OFFSET) * (math.pi / 2)


@dataclass(frozen=True)
class Parametrization:
    """The formulas of an objective.

    Attributes:
        objective: one of `OBJECTIVES`.

    Raises:
        UsageError: for another name.
    """

    objective: str = "flow"

    def __post_init__(self) -> None:
        require_choice("objective", self.objective, OBJECTIVES)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Shares `a` of the data and `s` of the noise at times `t` in [0, 1], each of t's shape."""
        if self.objective == "flow":
            return 1 - t, t
        return torch.cos(t * (math.pi / 2)), torch.sin(t * (math.pi / 2))

    def mix(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """`a x0 + s noise`; x0 `[N, L, D]` or broadcast to it, noise `[N, L, D]`, t `[N]`."""
        a, s = self._levels_of_rows(t)
        return a * x0 + s * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What is to be predicted of `mix(x0, noise, t)`, `[N, L, D]`."""
        of_data, of_noise = self._target_shares(*self._levels_of_rows(t))
        return of_data * x0 + of_noise * noise

    def preconditioning(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scales of a network's wrapping for data of unit variance (EDM's derivation, arXiv:2206.00364, app. B.6).

        With `skip`, `scale_in` and `scale_out` `[N]`, `skip x + scale_out F(scale_in x)` is the best linear prediction
        if the network F gives zero, and the F that is to be learned has input and output of unit variance.
        """
        a, s = self.levels(t)
        of_data, of_noise = self._target_shares(a, s)
        variance = a.square() + s.square()
        skip = (of_data * a + of_noise * s) / variance
        return skip, variance.rsqrt(), (of_data * s - of_noise * a).abs() * variance.rsqrt()

    def _levels_of_rows(self, t: Tensor) -> tuple[Tensor, Tensor]:
        a, s = self.levels(t)
        return a[:, None, None], s[:, None, None]

    def _target_shares(self, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of data and noise in the prediction."""
        one, zero = torch.ones_like(a), torch.zeros_like(a)
        return {"flow": (-one, one), "epsilon": (zero, one), "sample": (one, zero), "v": (-s, a)}[self.objective]


def cosine_times(steps: Tensor) -> Tensor:
    """Times in [0, 1], float32, of the steps 1 to `COSINE_STEPS` of DDPM's cosine schedule (arXiv:2102.09672, eq. 17),
    at which objectives that preserve the variance mix data and noise as that schedule does.
    """
    angles = (steps / COSINE_STEPS + COSINE_OFFSET) / (1 + COSINE_OFFSET) * (math.pi / 2)
    shares = angles.cos() / math.cos(_FIRST_ANGLE)
    return shares.clamp(0, 1).acos() * (2 / math.pi)


def cosine_steps(times: Tensor) -> Tensor:
    """Inverse of `cosine_times`, rounded to the nearest step from 1 to `COSINE_STEPS`; int64."""
    angles = ((times.float() * (math.pi / 2)).cos() * math.cos(_FIRST_ANGLE)).clamp(-1, 1).acos()
    steps = (angles * (2 / math.pi) * (1 + COSINE_OFFSET) - COSINE_OFFSET) * COSINE_STEPS
    return steps.round().long().clamp(1, COSINE_STEPS)


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse all but one of a few names.

    Raises:
        UsageError: naming the setting, the value and the choices.
    """
    if value not in choices:
        raise UsageError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
