"""Networks keep their arguments and are saved in the layout that diffusers' own classes read and write."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from text2latent.models.network import CONFIG, WEIGHTS, Network, Unfilled


class Layer(Network):
    def __init__(self, width: int, sizes: tuple[int, ...] = (1, 2), name: str | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


class Narrow(Layer):
    """Another, whose arguments are not those of its base."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__(depth + 1)


class Theirs(ModelMixin, ConfigMixin):
    config_name = "config.json"

    @register_to_config
    def __init__(self, width: int, sizes: tuple[int, ...] = (1, 2), name: str | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


def test_arguments_are_kept_with_defaults() -> None:
    layer = Layer(4, name="a")
    assert layer.config == {"width": 4, "sizes": (1, 2), "name": "a"}
    assert layer.config.width == 4
    layer.config["width"] = 5
    assert copy.deepcopy(layer).config.width == 4
    assert Narrow().config == {"depth": 3}
    with pytest.raises(AttributeError, match="depth"):
        _ = layer.config.depth


def test_wrong_arguments_are_refused_as_usual() -> None:
    with pytest.raises(TypeError, match="width"):
        Layer()
    with pytest.raises(TypeError, match="height"):
        Layer(4, height=3)


def test_network_of_a_config_ignores_what_its_constructor_does_not_take() -> None:
    assert Layer.from_config({"_class_name": "Layer", "width": 3, "colour": "red"}).config.width == 3


def state(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict())


def same(network: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(value, state(other)[name]) for name, value in state(network).items())


def test_folder_is_read_by_diffusers_and_its_folders_are_read(tmp_path: Path) -> None:
    ours, theirs = Layer(4, sizes=(3,)), Theirs(4, sizes=(3,))
    ours.linear.weight.data = ours.linear.weight.data.T.contiguous().T  # as channels last are, not contiguous
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    assert {path.name for path in (tmp_path / "ours").iterdir()} == {CONFIG, WEIGHTS}
    assert {path.name for path in (tmp_path / "theirs").iterdir()} == {CONFIG, WEIGHTS}
    assert same(ours, Theirs.from_pretrained(tmp_path / "ours"))
    assert same(theirs, Layer.from_pretrained(tmp_path / "theirs"))
    written, expected = (json.loads((tmp_path / name / CONFIG).read_text()) for name in ("ours", "theirs"))
    expected.pop("_diffusers_version")
    assert written == {**expected, "_class_name": "Layer"}
    assert not Layer.from_pretrained(tmp_path / "ours").training


def test_device_and_precision_are_the_weights() -> None:
    layer = Layer(4)
    assert (layer.device, layer.dtype) == (torch.device("cpu"), torch.float32)
    assert layer.to(torch.bfloat16).dtype == torch.bfloat16
    assert layer.to("meta").device.type == "meta"


def test_networks_for_weights_have_shapes_and_buffers_but_draw_nothing() -> None:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    state = torch.get_rng_state()
    with Unfilled(made.state_dict()):
        twin = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        own = nn.Parameter(torch.randn([2, 5]))
    assert torch.equal(torch.get_rng_state(), state)
    assert own.shape == (2, 5)
    assert torch.equal(twin[1].running_var, torch.ones(4))
    twin.load_state_dict(made.state_dict(), assign=True)
    x = torch.randn(8, 3)
    assert torch.equal(twin.eval()(x), made.eval()(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda n: nn.Linear(n, n),
        lambda n: torch.ones(n, n),
        lambda n: torch.full((n, n), 2.0),
        lambda n: torch.randn(size=(n, n)),
        lambda n: torch.zeros([n * n]),
        lambda n: torch.eye(n),
    ],
)
def test_networks_much_larger_than_their_weights_are_refused(make: Callable[[int], Any]) -> None:
    weights = {"weight": torch.zeros(1000, 1000)}
    with Unfilled(weights):
        make(2000)
    with pytest.raises(ValueError, match="more than 5048576 numbers"), Unfilled(weights):
        make(4_000_000)
