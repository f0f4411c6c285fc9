"""How many cutouts go through CLIP at once within a memory budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from text2latent.configs.errors import UsageError
from text2latent.models.optimization.cutouts import draw_views
from text2latent.models.optimization.descent import Descent

GIB = 1 << 30
HEADROOM = 1.5
"""Share of what autograd keeps that a backward pass takes in all, with gradients and temporary tensors."""


def kept_bytes(compute: Callable[[], Tensor], networks: Iterable[nn.Module] = ()) -> int:
    """Bytes that autograd keeps for the backward pass of what `compute` gives, those of the networks' weights left out.

    Each storage counts once.
    """
    weights = {tensor.untyped_storage().data_ptr() for network in networks for tensor in network.state_dict().values()}
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.enable_grad():
        result = compute()
    del result
    return sum(storages.values())


def weight_bytes(*networks: nn.Module) -> int:
    """Bytes of the networks' parameters and buffers."""
    return sum(part.numel() * part.element_size() for network in networks for part in network.state_dict().values())


def cutouts_within(descent: Descent, networks: list[nn.Module], gib: float) -> int:
    """Most cutouts at once that keep a descent within a budget.

    It is told from what autograd keeps for one cutout and for two, so that it fits any CLIP and image size; the
    weights and the generator's own activations count too.

    Args:
        descent: the one to fit.
        networks: those that it runs.
        gib: the budget in GiB, the program's own code not counted.

    Raises:
        UsageError: when not even one cutout fits, saying what would.
    """
    with torch.no_grad():
        images = descent.draw()
    views = draw_views(descent.settings.cutouts, [torch.Generator() for _ in images], images.device)

    def look(count: int) -> Tensor:
        return descent.see(images.detach().requires_grad_(), views.split(count)[0])

    drawing = kept_bytes(descent.synthesize_with_history, networks)
    one = kept_bytes(lambda: look(1), networks)
    each = max(1, kept_bytes(lambda: look(2), networks) - one) if len(views) > 1 else one
    fixed = weight_bytes(*networks) + HEADROOM * (drawing + max(0, one - each))
    room = gib * GIB - fixed
    if room < HEADROOM * each:
        raise UsageError(
            f"memory: expected at least {(fixed + HEADROOM * each) / GIB:.2g} GiB for one cutout, got {gib:g}"
        )
    return min(len(views), int(room / (HEADROOM * each)))
