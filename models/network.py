"""Networks and their folders: `config.json` and safetensors weights, in the layout that diffusers reads and writes.

huggingface_hub's `PyTorchModelHubMixin` does the same with other file names and a model card beside them; it would take
as long to import as all of its hub, for what is a few lines here. Downloads are `text2latent.models.sources`'.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from typing_extensions import Self

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
CLASS_NAME = "_class_name"
DRAWN = {torch.rand, torch.randn}
"""Functions that make tensors of random numbers, by their shape."""
FILLED = {torch.empty, torch.zeros, torch.ones, torch.full, *DRAWN}
"""Functions that make tensors by their shape."""
INITIALIZERS = {nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_, Tensor.uniform_, Tensor.normal_}
"""Functions that fill a tensor, their first argument, with random numbers."""
SPARE_NUMBERS = 2**20
"""What networks may make beyond several times what their weights have: filters, features, tables."""


class Config(dict[str, Any]):
    """Arguments of a network's constructor, defaults included; they may be read as attributes, too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"config has no {name!r}") from None


class Network(nn.Module):
    """A module that knows the arguments that it was made with, so that a folder can hold all of it.

    Arguments have to be such as JSON knows, if the network is to be saved.
    """

    _config: Config

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            setattr(cls, "__init__", _noting_arguments(vars(cls)["__init__"]))  # noqa: B010  # mypy guards the name

    @property
    def config(self) -> Config:
        return Config(self._config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A new network of a config, of which only what the constructor takes is looked at."""
        taken = inspect.signature(cls.__init__).parameters
        return cls(**{key: value for key, value in config.items() if key in taken})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """A network from a folder of `save_pretrained`, on the CPU, in float32 and in evaluation mode.

        Raises:
            OSError: when a file is missing; other errors when they don't fit each other.
        """
        network = cls.from_config(json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8")))
        network.load_state_dict(load_file(Path(folder) / WEIGHTS))
        return network.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config and weights into a folder, which is made where it is missing.

        Raises:
            OSError: when the disk refuses.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().contiguous() for name, value in self.state_dict().items()}
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        text = json.dumps({CLASS_NAME: type(self).__name__, **self.config}, indent=2, sort_keys=True)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")

    @property
    def device(self) -> torch.device:
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights: that of the first that are floating-point numbers."""
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.get_default_dtype())


class Unfilled(TorchFunctionMode):
    """A context in which networks are made without initial weights: no random number is drawn, buffers have values.

    It is for those that are given weights next. The meta device would serve as well, but for the two seconds that its
    first use takes to import torch's compiler.

    Args:
        weights: what the network is to be given. One that makes more than four times as many numbers is refused.

    Raises:
        ValueError: in the constructor of a network that is too large, before the memory is taken.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.most = 4 * sum(weight.numel() for weight in weights.values()) + SPARE_NUMBERS
        self.made = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in INITIALIZERS:
            return args[0] if args else options["tensor"]
        if func in FILLED:
            self._count(options.get("size", args))
        elif func is torch.eye:
            self._count([args[0], args[-1]])
        return (torch.empty if func in DRAWN else func)(*args, **options)

    def _count(self, size: Sequence[Any]) -> None:
        self.made += math.prod(size[0] if size and isinstance(size[0], Sequence) else size)
        if self.made > self.most:
            raise ValueError(f"it would be of more than {self.most} numbers, four times what there is in weights")


def _noting_arguments(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that keeps its arguments first, unless that of a subclass has done so."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def noting(network: Network, *arguments: Any, **options: Any) -> None:
        if "_config" not in vars(network):
            bound = signature.bind(network, *arguments, **options)
            bound.apply_defaults()
            # nn.Module takes no attributes before it is set up.
            vars(network)["_config"] = Config(itertools.islice(bound.arguments.items(), 1, None))
        init(network, *arguments, **options)

    return noting
