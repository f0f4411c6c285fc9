"""The YAML file of clip2latent: what is read of it, and what is refused, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from text2latent.common.errors import InputError
from text2latent.models.priors.clip2latent_yaml import Clip2LatentSettings, read_settings

FILE = Path(__file__).parents[2] / "data/clip2latent/small-w.yaml"
README: dict[str, Any] = {
    "model": {
        "network": {"dim": 512, "num_timesteps": 1000, "depth": 12, "dim_head": 64, "heads": 12},
        "diffusion": {
            "image_embed_dim": "${model.network.dim}",
            "timesteps": "${model.network.num_timesteps}",
            "cond_drop_prob": 0.2,
            "image_embed_scale": 1.0,
            "text_embed_scale": 1.0,
            "beta_schedule": "cosine",
            "predict_x_start": True,
        },
    },
    "data": {
        "bs": 512,
        "sg_pkl": "https://host/stylegan2-ffhq-1024x1024.pkl",
        "clip_variant": "ViT-B/32",
        "n_latents": 1,
        "latent_dim": 512,
        "latent_repeats": [18],
    },
}
"""The settings that clip2latent's README shows, with the references that its files have."""


def write(folder: Path, changes: dict[str, Any]) -> Path:
    """A file of `README` with dotted keys changed; None takes one away."""
    tree = yaml.safe_load(yaml.safe_dump(README))
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = tree
        for section in sections:
            place = place[section]
        if value is None:
            del place[last]
        else:
            place[last] = value
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def test_what_a_file_says(tmp_path: Path) -> None:
    expected = Clip2LatentSettings(
        512, 12, 12, (18,), 1.0, 1.0, "https://host/stylegan2-ffhq-1024x1024.pkl", "ViT-B-32/openai"
    )
    assert read_settings(write(tmp_path, {})) == expected
    assert read_settings(FILE) == Clip2LatentSettings(64, 2, 2, (10,), 1.0, 1.0, "x", "ViT-B-32/openai")


def test_defaults_are_dalle2_pytorchs(tmp_path: Path) -> None:
    gone = ["model.network.heads", "model.network.dim_head", *(f"model.diffusion.{key}" for key in DIFFUSION)]
    found = read_settings(write(tmp_path, dict.fromkeys(gone)))
    assert (found.heads, found.image_embed_scale, found.text_embed_scale) == (8, 512**0.5, 1.0)


DIFFUSION = tuple(README["model"]["diffusion"])


@pytest.mark.parametrize(
    ("repeats", "layout"), [([18], "w"), ([4, 4, 10], "w_k"), ([4, 4, 8], "w_k"), ([1] * 18, "w_plus"), ([7], "w")]
)
def test_repeats_are_a_layout(tmp_path: Path, repeats: list[int], layout: str) -> None:
    path = write(tmp_path, {"data.n_latents": len(repeats), "data.latent_repeats": repeats})
    assert read_settings(path).latent_layout == layout


@pytest.mark.parametrize(
    ("variant", "name"), [("ViT-L/14@336px", "ViT-L-14-336/openai"), ("RN50x4", "RN50x4/openai"), (None, None)]
)
def test_clips_have_open_clips_names(tmp_path: Path, variant: str | None, name: str | None) -> None:
    assert read_settings(write(tmp_path, {"data.clip_variant": variant})).clip == name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.network.dim": None}, "model.network.dim: missing"),
        ({"model.network.dim": None, "data.n_latents": None}, "model.network.dim: missing; data.n_latents: missing"),
        ({"model.network": 3}, "model.network: expected a section of keys and values, got 3"),
        ({"data": None}, "data: expected a section of keys and values, got None"),
        ({"model.network.dim": 1 << 40}, "model.network.dim: expected a whole number from 1 to 65536"),
        ({"model.network.dim": True}, "model.network.dim: expected a whole number"),
        ({"model.network.depth": -1}, "model.network.depth: expected a whole number"),
        ({"model.network.heads": "many"}, "model.network.heads: expected a whole number"),
        ({"model.network.dim_head": 32}, "model.network.dim_head: expected 64, got 32"),
        ({"model.network.num_timesteps": 100}, "model.network.num_timesteps: expected 1000, got 100"),
        ({"model.network.self_cond": True}, "model.network.self_cond: not a setting that is known here"),
        ({"model.diffusion.timesteps": 500}, "model.diffusion.timesteps: expected 1000, got 500"),
        ({"model.diffusion.beta_schedule": "linear"}, "beta_schedule: expected cosine, got linear"),
        ({"model.diffusion.predict_x_start": False}, "predict_x_start: expected True, got False"),
        ({"model.diffusion.sampling_clamp_l2norm": True}, "sampling_clamp_l2norm: expected False, got True"),
        ({"model.diffusion.image_embed_dim": 64}, "image_embed_dim: expected 512 as model.network.dim, got 64"),
        ({"model.diffusion.image_embed_scale": 0}, "image_embed_scale: expected a number above 0, got 0"),
        ({"model.diffusion.text_embed_scale": float("nan")}, "text_embed_scale: expected a number above 0, got nan"),
        ({"model.diffusion.timesteps": "${model.diffusion.timesteps}"}, "timesteps: expected 1000, got \\${model"),
        ({"data.latent_repeats": 18}, "latent_repeats: expected a list of 1 as data.n_latents, got 18"),
        ({"data.n_latents": 3}, r"latent_repeats: expected a list of 3 as data.n_latents, got \[18\]"),
        ({"data.n_latents": 3, "data.latent_repeats": [1, 4, 13]}, r"latent_repeats: expected one number, all 1, or"),
        ({"data.sg_pkl": "\x1b[31mred"}, "data.sg_pkl: expected a text"),
        ({"data.sg_pkl": ["a"]}, "data.sg_pkl: expected a text"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path, changes)
    with pytest.raises(InputError, match=message) as caught:
        read_settings(path)
    assert str(caught.value).startswith(f"--config: {path}: ")
    assert str(caught.value).isprintable()


BOMB = "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\n"
HOSTILE = {
    "empty": (b"", "expected keys and values, got None"),
    "list": (b"- a\n", "expected keys and values"),
    "aliases": (BOMB.encode(), "an alias"),
    "nested": (b"[" * 30_000, "more than 16 levels"),
    "nested keys": ("\n".join(" " * i + "a:" for i in range(200)).encode(), "more than 16 levels"),
    "large": (b"a: b\n" * 100_000, "at most 64 KiB"),
    "code": (b"a: !!python/object/apply:os.system ['true']\n", "expected YAML"),
    "binary": (b"\x80\x02\x00\xff", "expected YAML"),
    "date": (b"a: 2001-99-99\n", "expected YAML"),
    "digits": (b"a: " + b"9" * 10_000 + b"\n", "expected YAML"),
    "broken": (b"a: [1\n", "expected YAML"),
    "list as a key": (b"? [a]\n: b\n", "expected YAML"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, name: str) -> None:
    data, message = HOSTILE[name]
    path = tmp_path / "settings.yaml"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_settings(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*missing.yaml: No such file"):
        read_settings(tmp_path / "missing.yaml")
