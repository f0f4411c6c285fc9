"""clip2latent's checkpoints: what is drawn of them, and what is refused, in one line."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.models.priors.clip2latent import AVERAGED, LAYER, QUERY, is_checkpoint, read_prior, scheduler_of
from text2latent.models.priors.clip2latent_yaml import Clip2LatentSettings, read_settings
from text2latent.models.priors.diffusion import sample

DATA = Path(__file__).parents[2] / "data/clip2latent"
SETTINGS = read_settings(DATA / "small-w.yaml")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(DATA / "small-w.ckpt", weights_only=True)["state_dict"]
    return found


def save(path: Path, state: dict[str, Any]) -> Path:
    torch.save({"state_dict": state}, path)
    return path


def changed(state: dict[str, Tensor], **values: Any) -> dict[str, Any]:
    """The checkpoint with some averaged tensors replaced, `__` in a name standing for a dot; None takes one away."""
    named = {AVERAGED + name.replace("__", "."): value for name, value in values.items()}
    return {name: value for name, value in {**state, **named}.items() if value is not None}


@pytest.mark.parametrize(("scale", "truncation"), [(1, 1), (2, 1), (2, 0.7)])
def test_what_is_drawn_is_what_clip2latent_draws(scale: int, truncation: float) -> None:
    prior = read_prior(DATA / "small-w.ckpt", SETTINGS)
    with np.load(DATA / "small-w.io.npz") as file:
        embedding, noises = (torch.from_numpy(file[name]) for name in ("embedding", "noises_skip250"))
        expected = torch.from_numpy(file[f"w_skip250_scale{scale}_truncation{truncation}"])
    start, *rest = noises[:, :, None]
    w = sample(prior, scheduler_of(), prior.text_condition(embedding), 4, scale, start, torch.stack(rest))
    w = prior.latent_mean + truncation * (w - prior.latent_mean)
    torch.testing.assert_close(w.expand(-1, 10, -1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [1, 2])
def test_three_groups_are_drawn_as_by_dalle2_pytorchs_transformer(
    state: dict[str, Tensor], tmp_path: Path, scale: int
) -> None:
    io = load_file(DATA / "small-w3.io.safetensors")
    three = {name: io[name] for name in ("latent_mean", "latent_std")}
    path = save(tmp_path / "w3.ckpt", changed(state, net__learned_query=io["learned_query"], **three))
    prior = read_prior(path, replace(SETTINGS, latent_repeats=(4, 4, 10)))
    assert (prior.latent_layout, prior.latent_shape) == ("w_k", (3, 64))
    start, *rest = io["noises_skip250"]
    w = sample(prior, scheduler_of(), io["embedding"], 4, scale, start, torch.stack(rest))
    torch.testing.assert_close(w, io[f"w_skip250_scale{scale}"], atol=1e-5, rtol=1e-5)


def test_a_prior_takes_embeddings_in_their_own_length() -> None:
    prior = read_prior(DATA / "small-w.ckpt", replace(SETTINGS, text_embed_scale=3.0))
    embeddings = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(prior.text_condition(embeddings), embeddings)
    assert torch.equal(prior.image_condition(embeddings), embeddings)
    torch.testing.assert_close(prior.scale_condition(embeddings), 3 * embeddings)
    assert prior.truncates_to_pairs


def test_scaled_latents_are_scaled_back(state: dict[str, Tensor]) -> None:
    prior = read_prior(DATA / "small-w.ckpt", replace(SETTINGS, image_embed_scale=8.0))
    assert torch.equal(prior.latent_std[0], state["diffusion_prior.latent_std"] / 8)
    assert torch.equal(prior.latent_mean[0], state["diffusion_prior.latent_mean"])


def test_the_averaged_weights_are_taken(state: dict[str, Tensor], tmp_path: Path) -> None:
    others = {name: value if name.startswith(AVERAGED) else value + 1 for name, value in state.items()}
    prior, of_others = (read_prior(save(tmp_path / "a.ckpt", tensors), SETTINGS) for tensors in (state, others))
    assert all(torch.equal(value, of_others.state_dict()[name]) for name, value in prior.state_dict().items())


def test_without_statistics_latents_are_as_drawn(state: dict[str, Tensor], tmp_path: Path) -> None:
    """`znorm_latent: false` keeps none; that code then can't truncate, and truncation is the generator's."""
    path = save(tmp_path / "a.ckpt", changed(state, latent_mean=None, latent_std=None))
    prior = read_prior(path, SETTINGS)
    assert torch.equal(prior.latent_mean, torch.zeros(1, 64))
    assert torch.equal(prior.latent_std, torch.ones(1, 64))
    assert not prior.truncates_to_pairs


def test_statistics_of_embeddings_change_nothing(state: dict[str, Tensor], tmp_path: Path) -> None:
    """`znorm_embed: true` keeps them, and that code drops what it makes with them."""
    path = save(tmp_path / "a.ckpt", changed(state, embed_mean=torch.ones(64), embed_std=torch.ones(64)))
    prior, plain = read_prior(path, SETTINGS), read_prior(DATA / "small-w.ckpt", SETTINGS)
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in prior.state_dict().items())


def test_half_precision_is_read_as_single(state: dict[str, Tensor], tmp_path: Path) -> None:
    halves = {name: value.half() if "net." in name else value for name, value in state.items()}
    prior = read_prior(save(tmp_path / "a.ckpt", halves), SETTINGS)
    assert {value.dtype for value in prior.state_dict().values()} == {torch.float32}


def test_checkpoints_are_told_from_other_files(tmp_path: Path) -> None:
    assert is_checkpoint(DATA / "small-w.ckpt")
    torch.save({"state_dict": {"g_ema": torch.ones(1)}}, tmp_path / "other.ckpt")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(AVERAGED.encode())
    assert not any(is_checkpoint(path) for path in (*tmp_path.iterdir(), tmp_path, tmp_path / "missing"))


class Code:
    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


NAN = torch.full((64,), float("nan"))
HOSTILE = {
    "nan": ({"latent_mean": NAN}, "latent_mean: expected finite numbers, got NaN or infinity"),
    "infinite": ({"net__learned_query": NAN.fill_(float("inf"))}, "net.learned_query: expected finite numbers"),
    "missing": ({"net__causal_transformer__norm__gamma": None}, "net.causal_transformer.norm.gamma: missing"),
    "no query": ({"net__learned_query": None}, "expected the network of clip2latent"),
    "unknown": ({"net__null_text_embed": torch.ones(64)}, "net.null_text_embed: not a part of clip2latent's network"),
    "shape": ({"net__causal_transformer__project_out__weight": torch.ones(64, 65)}, "don't fit the YAML file"),
    "statistics": ({"latent_std": torch.ones(3, 64)}, r"latent_std: expected \[1, 64\], got \[3, 64\]"),
    "width": ({"net__learned_query": torch.ones(128)}, "model.network.dim 128, not 64"),
    "three": ({"net__learned_query": torch.ones(3, 64)}, "data.n_latents 3, not 1"),
    "shift": ({"net__causal_transformer__norm__beta": torch.ones(64)}, "norm.beta: expected zeros"),
    "schedule": ({"alphas_cumprod": torch.linspace(1, 0, 1000)}, "alphas_cumprod: expected the cosine schedule"),
    "steps": ({"alphas_cumprod": torch.ones(100)}, "alphas_cumprod: expected the cosine schedule"),
    "rotary": ({LAYER.replace(".", "__") + "0__0__rotary_emb__freqs": torch.ones(16)}, "expected the rotary positions"),
    "no tensor": ({"latent_mean": "text"}, "latent_mean: expected a tensor of floating-point numbers"),
    "integers": ({"latent_mean": torch.ones(64, dtype=torch.int64)}, "latent_mean: expected a tensor of floating"),
    "terminal": ({"net__\x1b[31mred": torch.ones(1)}, "red: not a part of clip2latent's network"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_odd_checkpoints_are_refused(state: dict[str, Tensor], tmp_path: Path, name: str) -> None:
    values, message = HOSTILE[name]
    path = save(tmp_path / "odd.ckpt", changed(state, **values))
    with pytest.raises(InputError, match=message) as caught:
        read_prior(path, SETTINGS)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (replace(SETTINGS, depth=3), "model.network.depth 2, not 3"),
        (replace(SETTINGS, depth=60_000), "model.network.depth 2, not 60000"),
        (replace(SETTINGS, dim=512, heads=12), "model.network.dim 64, not 512; model.network.heads 2, not 12"),
        (replace(SETTINGS, latent_repeats=(4, 4, 10)), "data.n_latents 1, not 3"),
    ],
)
def test_another_yaml_file_is_refused(settings: Clip2LatentSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_prior(DATA / "small-w.ckpt", settings)


def damaged(tmp_path: Path) -> dict[str, bytes]:
    whole = (DATA / "small-w.ckpt").read_bytes()
    torch.save({"state_dict": {AVERAGED + QUERY: Code()}}, tmp_path / "code")
    torch.save([1], tmp_path / "list")
    torch.save({"state_dict": {"g": torch.ones(1)}}, tmp_path / "foreign")
    torch.save({"state_dict": {AVERAGED + QUERY: torch.ones(1).expand(1 << 40)}}, tmp_path / "claim")
    written = {name: (tmp_path / name).read_bytes() for name in ("code", "list", "foreign", "claim")}
    return {
        "empty": b"",
        "text": b"a page",
        "truncated": whole[: len(whole) // 2],
        "short": whole[:40],
        "pickle": pickle.dumps(Code()),
        **written,
    }


DAMAGE = ("empty", "text", "truncated", "short", "pickle", "code", "list", "foreign", "claim")


@pytest.mark.parametrize("name", DAMAGE)
def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "odd.ckpt"
    path.write_bytes(damaged(tmp_path)[name])
    with pytest.raises(InputError) as caught:
        read_prior(path, SETTINGS)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
