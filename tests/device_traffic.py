"""What a computation sends to a device, fetches from it and waits for, told without one.

Tensors are torch's fake ones, which have a device, a shape and no values. They are said to be on CUDA.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LOOKS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default)


def devices(values: Any) -> set[str]:
    return {leaf.device.type for leaf in tree_leaves(values) if isinstance(leaf, Tensor)}


class Traffic(TorchDispatchMode):
    """Counts copies to the device (`sent`) and from it (`fetched`), and numbers that are looked at there (`looks`).

    Fake tensors have no values. Numbers that are looked at are told to be one, booleans to be true on the device and
    false on the CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter(sent=0, fetched=0, looks=0)
        self.kernels = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in LOOKS:
            looks = devices(args) == {"cuda"}
            self.counts["looks"] += looks
            return looks if args[0].dtype == torch.bool else 1
        result = func(*args, **options)
        came, went = devices(args), devices(result)
        if func is torch.ops.aten.copy_.default:
            came, went = devices(args[1]), devices(args[0])
        self.kernels += "cuda" in went and not func.is_view
        indexes = func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)
        self.counts["sent"] += (came == {"cpu"} and went == {"cuda"}) or (indexes and came == {"cpu", "cuda"})
        self.counts["fetched"] += came == {"cuda"} and went == {"cpu"}
        return result


@contextmanager
def on_fake_cuda(*networks: nn.Module) -> Iterator[Traffic]:
    """A context in which networks are on a device that has no values, and what happens there is counted."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        for network in networks:
            network._apply(lambda tensor: mode.from_tensor(tensor).to("cuda"))
        with Traffic() as traffic:
            yield traffic
