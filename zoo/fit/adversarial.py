"""Adversarial training beside a regression: the losses of StyleGAN2 (arXiv:1912.04958) and a step with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from text2latent.zoo.fit.fitting import FitPlan, Logged, moving_average

Network = TypeVar("Network", bound=nn.Module)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Logistic loss of a discriminator's logits on real and drawn images, `[N]` each (arXiv:1406.2661, eq. 1)."""
    return softplus(-real).mean() + softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Non-saturating logistic loss of a generator by the logits `[N]` of its images (arXiv:1406.2661, section 3)."""
    return softplus(-fake).mean()


def r1_penalty(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Squared length of the gradient of `score` at real images, averaged over them (R1, arXiv:1801.04406, eq. 9).

    Computed in float32; differentiable.

    Args:
        score: maps images to logits `[N]`.
        images: `[N, C, H, W]`.
    """
    with torch.autocast(images.device.type, enabled=False):
        inputs = images.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(score(inputs).sum(), inputs, create_graph=True)
        return gradient.square().sum(dim=(1, 2, 3)).mean()


@dataclass(frozen=True)
class AdversarialPlan:
    """How to train a generator and a discriminator against each other.

    Attributes:
        fit: for how long and how fast; Adam without weight decay, for both networks. Only the generator warms up.
        discriminator_lr: learning rate of the discriminator.
        regression_weight: weight of the distance to the targets; 0 to train by the discriminator alone.
        adversarial_weight: weight of the generator's adversarial loss.
        r1_gamma: weight of R1.
        r1_every: R1 counts in each step of this many, as many times as much (arXiv:1912.04958, section 3.1).
    """

    fit: FitPlan
    discriminator_lr: float = 2e-3
    regression_weight: float = 1.0
    adversarial_weight: float = 0.1
    r1_gamma: float = 0.2
    r1_every: int = 16


class Batch(NamedTuple):
    """What a step learns from.

    Attributes:
        images: real images `[N, C, H, W]` in [-1, 1].
        w: their latents `[N, w_dim]`.
        vague_w: what the generator draws them of, `[N, w_dim]`.
    """

    images: Tensor
    w: Tensor
    vague_w: Tensor


class AdversarialTraining(Generic[Network]):
    """A generator, its moving average, a discriminator, and what trains them.

    The discriminator is given the plain latents of real and drawn images alike, or it would know drawn ones by those.

    Args:
        discriminator: maps images and latents to logits `[N]`.
        draw: maps the generator and latents to images.
        regression: maps images and targets to the terms of their distance, whose sum is the loss.

    Attributes:
        average: the moving average of the generator.
        parts: all that changes in a step, see `run_steps`.
    """

    def __init__(
        self,
        network: Network,
        discriminator: nn.Module,
        draw: Callable[[Network, Tensor], Tensor],
        regression: Callable[[Tensor, Tensor], Mapping[str, Tensor]],
        plan: AdversarialPlan,
    ) -> None:
        self.network, self.discriminator = network, discriminator
        self.draw, self.regression, self.plan = draw, regression, plan
        self.average = moving_average(network, plan.fit.ema_decay)
        betas = plan.fit.betas
        self.optimizer = torch.optim.Adam(network.parameters(), plan.fit.lr, betas)
        self.discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), plan.discriminator_lr, betas)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, plan.fit.lr_scale)
        self.parts: dict[str, Any] = {
            "network": self.network,
            "average": self.average,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "discriminator": self.discriminator,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    @property
    def mean_network(self) -> Network:
        """The generator with averaged weights."""
        return cast(Network, self.average.module)

    def step(self, index: int, batch: Batch) -> Logged:
        """Train both networks on a batch, in the step of that number; return losses and mean logits."""
        images = self.draw(self.network, batch.vague_w)
        judged = self._train_discriminator(index, batch, images.detach())
        return {**judged, **self._train_generator(batch, images)}

    def _score(self, images: Tensor, w: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            return self.discriminator(images, w)

    def _train_discriminator(self, index: int, batch: Batch, images: Tensor) -> dict[str, Tensor]:
        self.discriminator.requires_grad_(True)
        real, fake = self._score(batch.images, batch.w), self._score(images, batch.w)
        loss = adversarial = discriminator_loss(real, fake)
        if self.plan.r1_gamma and index % self.plan.r1_every == 0:
            penalty = r1_penalty(lambda x: self.discriminator(x, batch.w), batch.images)
            loss = loss + self.plan.r1_gamma / 2 * self.plan.r1_every * penalty
        _descend(self.discriminator_optimizer, loss)
        means = {"real": real.detach().mean(), "fake": fake.detach().mean()}
        return {"discriminator": adversarial.detach(), **means}

    def _train_generator(self, batch: Batch, images: Tensor) -> dict[str, Tensor]:
        self.discriminator.requires_grad_(False)
        adversarial, weight = generator_loss(self._score(images, batch.w)), self.plan.regression_weight
        # Without a weight the distances are only reported.
        distances = self.regression(images if weight else images.detach(), batch.images)
        _descend(self.optimizer, self.plan.adversarial_weight * adversarial + weight * sum(distances.values()))
        self.schedule.step()
        self.average.update_parameters(self.network)
        return {"adversarial": adversarial.detach(), **{name: term.detach() for name, term in distances.items()}}


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
