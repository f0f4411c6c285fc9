"""Ways to run networks faster: replayed from captured CUDA graphs, and compiled by `torch.compile`.

A generator and a CLIP have a `run` that calls a function of theirs on tensors: `directly`, unless a `GraphRunner` takes
its place.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from text2latent.common.errors import InputError, one_line

WARM_UPS = 2
"""Calls before a capture, in which libraries choose their kernels, and what is compiled is compiled."""
MOST_GRAPHS = 64
PLAIN = (bool, int, float, str, type(None), torch.dtype)
"""Types of options that may become a part of a graph."""
COMPILERS = ("c++", "g++", "clang++", "cc", "gcc", "clang")

Run = Callable[..., Tensor]
"""Calls its first argument on the tensors and keywords after it."""
Capture = Callable[[Callable[[], Tensor], torch.device], tuple[Callable[[], object], Tensor]]
"""Records a computation on a device; returns what computes it anew, and the tensor that it then writes over."""


def directly(function: Callable[..., Tensor], *tensors: Tensor, **options: Any) -> Tensor:
    """Call a function as it is."""
    return function(*tensors, **options)


class Accelerable(Protocol):
    """What can run faster: a generator, a CLIP."""

    run: Run

    def compile_parts(self) -> None: ...


@dataclass(frozen=True)
class Acceleration:
    """How networks are made faster.

    Attributes:
        compile: whether by `torch.compile`.
        cuda_graph: whether by CUDA graphs.
    """

    compile: bool = False
    cuda_graph: bool = False

    def check(self, device: torch.device) -> None:
        """Refuse what a device or this machine can't do.

        Raises:
            InputError: naming the flag.
        """
        if self.cuda_graph and device.type != "cuda":
            raise InputError(f"--cuda-graph: expected a CUDA device, got {device.type}; leave the flag out there")
        if self.compile and device.type == "mps":
            raise InputError("--compile: expected a CUDA device or the CPU, got mps")
        if self.compile and not _finds_compiler():
            raise InputError("--compile: expected a C++ compiler such as g++ on this machine, found none")
        if self.compile and device.type == "cuda" and importlib.util.find_spec("triton") is None:
            raise InputError("--compile: expected the package triton for a CUDA device, which isn't installed")

    def runner(self) -> Run:
        """What runs functions: from graphs if so wished."""
        return GraphRunner() if self.cuda_graph else directly

    def apply(self, *networks: Accelerable) -> None:
        """Let networks that run as they are run faster."""
        run = self.runner()
        for network in networks:
            if self.compile:
                network.compile_parts()
            network.run = run


def _finds_compiler() -> bool:
    named = [os.environ[name] for name in ("CXX", "CC") if os.environ.get(name)]
    return any(shutil.which(name) for name in named or COMPILERS)


def compile_method(network: nn.Module, name: str) -> None:
    """Compile a method of a network in its place; what it computes, its weights and their names stay."""
    setattr(network, name, torch.compile(getattr(network, name)))


@dataclass(frozen=True)
class _Captured:
    inputs: tuple[Tensor, ...]
    replay: Callable[[], object]
    output: Tensor


class GraphRunner:
    """Runs functions of tensors from CUDA graphs, which launch all their kernels at once instead of one by one.

    A graph is captured when a function comes with tensors of new shapes, batch size included, or in another precision
    or mode, and kept with the others of the latest use. What comes is copied into the graph's own tensors, and the
    result out of them, so that no call sees what another one left. Any thread may call. Where autograd is on, and with
    options that aren't plain values, such as a random generator, the function is called as it is; so is one that can't
    be captured, with a warning.

    Args:
        capture: how a computation is recorded.
        most: graphs to keep.
    """

    def __init__(self, capture: Capture | None = None, most: int = MOST_GRAPHS) -> None:
        self._capture, self._most = capture or CudaCapture(), most
        self._graphs: OrderedDict[Hashable, _Captured | None] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return sum(graph is not None for graph in self._graphs.values())

    def __call__(self, function: Callable[..., Tensor], *tensors: Tensor, **options: Any) -> Tensor:
        """What `function(*tensors, **options)` gives, a tensor of its own."""
        if torch.is_grad_enabled() or not all(isinstance(value, PLAIN) for value in options.values()):
            return function(*tensors, **options)
        key = function, tuple(sorted(options.items())), tuple(map(_layout, tensors)), _mode(tensors[0].device)
        with self._lock:
            graph = self._find(key, function, tensors, options)
            if graph is not None:
                for own, given in zip(graph.inputs, tensors, strict=True):
                    own.copy_(given)
                graph.replay()
                return graph.output.clone()
        return function(*tensors, **options)

    def _find(
        self, key: Hashable, function: Callable[..., Tensor], tensors: tuple[Tensor, ...], options: dict[str, Any]
    ) -> _Captured | None:
        if key in self._graphs:
            self._graphs.move_to_end(key)
            return self._graphs[key]
        self._graphs[key] = self._record(function, tensors, options)
        while len(self._graphs) > self._most:
            self._graphs.popitem(last=False)
        return self._graphs[key]

    def _record(
        self, function: Callable[..., Tensor], tensors: tuple[Tensor, ...], options: dict[str, Any]
    ) -> _Captured | None:
        inputs = tuple(tensor.clone() for tensor in tensors)
        try:
            with _without_autocast_cache():
                replay, output = self._capture(lambda: function(*inputs, **options), inputs[0].device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            name = getattr(function, "__qualname__", type(function).__name__)
            warnings.warn(f"--cuda-graph: {name} can't be captured and runs without: {one_line(error)}", stacklevel=4)
            return None
        return _Captured(inputs, replay, output)


def _layout(tensor: Tensor) -> Hashable:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def _mode(device: torch.device) -> Hashable:
    """What kernels depend on besides their operands."""
    autocast = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
    float32 = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    return torch.is_inference_mode_enabled(), autocast, float32


@contextmanager
def _without_autocast_cache() -> Iterator[None]:
    """A cached cast of a weight would be outside of the graph, and gone when autocast ends."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


class CudaCapture:
    """Captures CUDA graphs that share their memory, since they never run at the same time."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, compute: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], object], Tensor]:
        """See `Capture`; everything that `compute` reads from outside must stay where it is."""
        with torch.cuda.device(device):
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            stream, before = torch.cuda.Stream(), torch.cuda.current_stream()
            stream.wait_stream(before)
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    compute()
            before.wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads may go on with work of theirs meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
                output = compute()
        return graph.replay, output
