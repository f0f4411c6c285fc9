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
schedule (arXiv:2102.09672, eq. 17), and any noise-to-signal ratio sigma, as EDM counts noise (arXiv:2206.00364), is
the time `2 / pi atan(sigma)` of `x / sqrt(1 + sigma^2)`. `v` is progressive distillation's (arXiv:2202.00512, app. D).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from text2latent.configs.errors import UsageError

OBJECTIVES = ("flow", "epsilon", "sample", "v")


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


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse all but one of a few names.

    Raises:
        UsageError: naming the setting, the value and the choices.
    """
    if value not in choices:
        raise UsageError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
