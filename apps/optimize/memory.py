"""How many cutouts go through CLIP at once within a memory budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from text2latent.common.errors import UsageError
from text2latent.inference.optimization.cutouts import draw_views
from text2latent.inference.optimization.descent import Descent
from text2latent.inference.optimization.objectives import ClipObjective

GIB = 1 << 30
TEMPORARIES = 4
"""Tensors as large as the largest that autograd keeps, which a backward pass holds besides: gradients and products."""
COPIES = 8
"""Tensors of the size of what is optimised: itself, gradients and their sum, two moments, the average, the best."""


def backward_bytes(compute: Callable[[], Tensor], networks: Iterable[nn.Module] = ()) -> int:
    """Bytes that it takes to compute something and its gradients.

    That is all that autograd keeps, each storage once and the networks' weights left out, and `TEMPORARIES`.
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
    return sum(storages.values()) + TEMPORARIES * max(storages.values(), default=0)


def weight_bytes(*networks: nn.Module) -> int:
    return sum(part.numel() * part.element_size() for network in networks for part in network.state_dict().values())


def cutouts_within(descent: Descent, objective: ClipObjective, networks: list[nn.Module], gib: float) -> int:
    """Most cutouts at once that keep a descent within a budget.

    It is estimated from what one cutout takes and what two take, so that it fits any CLIP and image size; the
    weights, the generator's own activations and the optimiser's state count too.

    Args:
        objective: the descent's.
        networks: those that it runs.
        gib: the budget in GiB, the program's own code not counted.

    Raises:
        UsageError: when not even one cutout fits, saying what would.
    """
    with torch.no_grad():
        images = descent.draw()
    views = draw_views(objective.cutouts, [torch.Generator() for _ in images], images.device)

    def look(count: int) -> Tensor:
        return objective.see(images.detach().requires_grad_(), views.split(count)[0])

    drawing = backward_bytes(descent.synthesize_with_history, networks)
    one = backward_bytes(lambda: look(1), networks)
    each = max(1, backward_bytes(lambda: look(2), networks) - one) if len(views) > 1 else one
    state = COPIES * descent.x.numel() * descent.x.element_size()
    fixed = weight_bytes(*networks) + state + drawing + max(0, one - each)
    room = gib * GIB - fixed
    if room < each:
        # A hundredth more, so that rounding doesn't name too little.
        raise UsageError(f"memory: expected at least {1.01 * (fixed + each) / GIB:.3g} GiB for one cutout, got {gib:g}")
    return min(len(views), int(room / each))
