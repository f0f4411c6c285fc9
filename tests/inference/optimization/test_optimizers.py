"""Optimisers by name: all of torch's, with their arguments, wrong ones refused in one line."""

import pytest
import torch

from text2latent.common.errors import UsageError
from text2latent.inference.optimization.optimizers import (
    STUDY_RATES,
    default_rate,
    find_optimizer,
    make_optimizer,
    optimizer_classes,
    parse_arguments,
)


def test_all_of_torch_optim_are_known() -> None:
    names = optimizer_classes()
    assert {"adam", "adamw", "rmsprop", "adagrad", "adadelta", "sgd", "lbfgs", "nadam", "asgd", "rprop"} <= set(names)
    assert all(issubclass(cls, torch.optim.Optimizer) for cls in names.values())
    assert find_optimizer("AdamW") is torch.optim.AdamW


def test_learning_rates_are_the_articles() -> None:
    rates = {"adam": 0.05, "adamw": 0.03, "rmsprop": 0.05, "adagrad": 0.3, "adadelta": 50, "sgd": 15}
    assert rates == STUDY_RATES
    assert {name: default_rate(name) for name in rates} == rates
    assert default_rate("nadam") == 0.002


def test_arguments_are_read_and_passed() -> None:
    arguments = parse_arguments("betas=[0.5, 0.9], weight_decay=1.0e-2, amsgrad=true")
    optimizer = make_optimizer("adam", [torch.zeros(1, requires_grad=True)], 0.1, arguments)
    group = optimizer.param_groups[0]
    assert (group["lr"], list(group["betas"]), group["weight_decay"], group["amsgrad"]) == (0.1, [0.5, 0.9], 0.01, True)
    assert parse_arguments(None) == {}


@pytest.mark.parametrize("text", ["betas", "=1", "[1, 2", "a=", "{}: {}"])
def test_unreadable_arguments_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="optimizer_arguments: expected NAME=VALUE"):
        parse_arguments(text)


@pytest.mark.parametrize(
    ("name", "rate", "arguments", "message"),
    [
        ("lion", 0.1, {}, "optimizer: expected one of .*adam.*got 'lion'"),
        ("adam", 0.0, {}, "learning_rate: expected"),
        ("adam", -1.0, {}, "learning_rate: expected"),
        ("adam", float("nan"), {}, "learning_rate: expected"),
        ("adam", 0.1, {"momentum": 0.9}, "optimizer_arguments: Adam takes betas.*got 'momentum'"),
        ("adam", 0.1, {"lr": 0.9}, "optimizer_arguments: Adam takes"),
        ("adam", 0.1, {"betas": [2.0, 0.9]}, "optimizer_arguments: Adam: "),
        ("sgd", 0.1, {"momentum": "much"}, "optimizer_arguments: SGD: "),
    ],
)
def test_wrong_ones_are_refused(name: str, rate: float, arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_optimizer(name, [torch.zeros(1, requires_grad=True)], rate, arguments)
