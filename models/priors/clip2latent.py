"""clip2latent's checkpoints as priors of ours (arXiv:2210.02347, and github.com/justinpinkney/clip2latent).

A checkpoint is `{"state_dict": ...}` of a trainer; what that code draws with are the averaged weights in it. They are
read as data. Its condition is CLIP's embedding in its own length, and truncation goes to the mean of the latents of its
pairs; see `Prior`. Statistics of embeddings, which `znorm_embed` keeps, aren't used: that code drops what it makes with
them.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from text2latent.common.errors import InputError, named_line
from text2latent.models.generators.formats.pickle_machine import PickleError, shown
from text2latent.models.generators.formats.torch_files import TensorRecord, is_torch_file, read_torch_objects
from text2latent.models.generators.formats.unpickling import load_section, map_file, network_globals
from text2latent.models.network import Unfilled
from text2latent.models.priors.clip2latent_yaml import Clip2LatentSettings
from text2latent.models.priors.prior import HEAD_CHANNELS
from text2latent.models.priors.sampling import cosine_shares
from text2latent.models.priors.schedulers import DEFAULTS, RESPACED, SchedulerConfig
from text2latent.models.priors.transformer import ROTARY_CHANNELS, TransformerPrior

AVERAGED = "ema_diffusion_prior.ema_model."
LAYER = "net.causal_transformer.layers."
BLOCK = {
    "0.null_kv": "null",
    "0.norm.gamma": "attention_norm.weight",
    "0.to_q.weight": "to_query.weight",
    "0.to_kv.weight": "to_key_and_value.weight",
    "0.to_out.0.weight": "attended.weight",
    "0.to_out.1.gamma": "attended_norm.weight",
    "1.0.gamma": "feed_norm.weight",
    "1.1.weight": "feed_in.weight",
    "1.5.weight": "feed_out.weight",
}
WHOLE = {
    "net.to_time_embeds.0.weight": "times.weight",
    "net.causal_transformer.rel_pos_bias.relative_attention_bias.weight": "distances.weight",
    "net.causal_transformer.norm.gamma": "norm.weight",
    "net.causal_transformer.project_out.weight": "out.weight",
}
QUERY = "net.learned_query"
SHIFTS = ("0.norm.beta", "0.to_out.1.beta", "1.0.beta")
LAST_SHIFT = "net.causal_transformer.norm.beta"
FREQUENCIES = "0.rotary_emb.freqs"
SHARES = "alphas_cumprod"
STATISTICS = ("latent_mean", "latent_std", "embed_mean", "embed_std")
SCHEDULE = (
    *("betas", SHARES, "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"),
    *("log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod"),
    *("posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2"),
)
"""Tables that follow from the cosine schedule."""
TOLERANCE = 1e-3
"""Of tables that follow from formulas; half precision keeps them to 5e-4."""


def is_checkpoint(path: Path) -> bool:
    """Whether a file of PyTorch holds the averaged prior of clip2latent, as far as names show."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with map_file(path) as data:
        whole = data.obj
        return is_torch_file(data) and isinstance(whole, mmap.mmap) and whole.find(AVERAGED.encode()) >= 0


def read_prior(path: Path, settings: Clip2LatentSettings) -> TransformerPrior:
    """The averaged prior of a checkpoint, on the CPU, in float32 and in evaluation mode.

    Args:
        path: the checkpoint; none of its code is run.
        settings: what its YAML file says.

    Raises:
        InputError: when it is damaged, foreign, asks for code, isn't of these settings, or isn't finite.
    """
    if not path.is_file() or not path.stat().st_size:
        raise InputError(f"{path}: expected a checkpoint of clip2latent, got no file or an empty one")
    data = map_file(path)
    try:
        return _build(_read_averaged(path, data), settings)
    except (PickleError, InputError) as error:
        raise InputError(f"{path}: {error}") from error


def scheduler_of() -> SchedulerConfig:
    return SchedulerConfig(RESPACED, dict(DEFAULTS[RESPACED]))


def _read_averaged(path: Path, data: memoryview) -> dict[str, Tensor]:
    """The averaged prior's tensors by name, in float32."""
    if not is_torch_file(data):
        raise InputError("expected a checkpoint of clip2latent, which is a file of PyTorch, got another kind of file")
    checkpoint = read_torch_objects(path, data, network_globals)
    state = checkpoint.get("state_dict") if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping):
        raise InputError("expected a checkpoint of clip2latent with a state_dict, got none")
    found = {name.removeprefix(AVERAGED): value for name, value in state.items() if str(name).startswith(AVERAGED)}
    if not found:
        raise InputError(f"expected a checkpoint of clip2latent, with tensors under {AVERAGED}, got none")
    wrong = [name for name, value in found.items() if not _is_of_floats(value)]
    if wrong:
        raise InputError(f"{shown(wrong[0])}: expected a tensor of floating-point numbers")
    state = {name: value.clone() for name, value in load_section(found, len(data), AVERAGED).items()}
    bad = [name for name, value in state.items() if not value.isfinite().all()]
    if bad:
        raise InputError(f"{shown(bad[0])}: expected finite numbers, got NaN or infinity")
    return state


def _is_of_floats(record: Any) -> bool:
    return isinstance(record, TensorRecord) and record.storage.dtype.is_floating_point


def _build(state: Mapping[str, Tensor], settings: Clip2LatentSettings) -> TransformerPrior:
    _require_settings(state, settings)
    _require_names(state, settings.depth)
    _require_as_here(state, settings.depth)
    weights = _network(state, settings.depth) | _statistics(state, settings)
    try:
        prior = _construct(weights, settings, "latent_mean" in state)
        prior.load_state_dict({**prior.state_dict(), **weights}, strict=True, assign=True)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the weights don't fit the YAML file: {named_line(error)}") from error
    return prior.eval().requires_grad_(False)


def _construct(weights: Mapping[str, Tensor], settings: Clip2LatentSettings, has_mean: bool) -> TransformerPrior:
    tokens = len(settings.latent_repeats)
    with Unfilled(weights):
        prior = TransformerPrior(
            (tokens, settings.dim),
            settings.dim,
            settings.dim,
            settings.depth,
            settings.heads,
            latent_layout=settings.latent_layout,
            takes_raw_embeddings=True,
            truncates_to_pairs=has_mean,
        )
    prior.condition_scale.fill_(settings.text_embed_scale)
    return prior


def _require_settings(state: Mapping[str, Tensor], settings: Clip2LatentSettings) -> None:
    """Refuse sizes that aren't those of the YAML file, before anything is made of them."""
    query, first = state.get(QUERY), state.get(f"{LAYER}0.0.to_q.weight")
    if query is None or first is None or query.ndim not in (1, 2) or first.ndim != 2 or not query.numel():
        raise InputError(f"expected the network of clip2latent, with {QUERY} and {LAYER}0.0.to_q.weight")
    layers = {name.removeprefix(LAYER).partition(".")[0] for name in state if name.startswith(LAYER)}
    found = {
        "model.network.dim": (query.shape[-1], settings.dim),
        "model.network.depth": (len(layers), settings.depth),
        "model.network.heads": (first.shape[0] / HEAD_CHANNELS, settings.heads),
        "data.n_latents": (query.numel() // query.shape[-1], len(settings.latent_repeats)),
    }
    differing = [f"{name} {there:g}, not {said}" for name, (there, said) in found.items() if there != said]
    if differing:
        raise InputError(f"not the checkpoint of this YAML file: {'; '.join(differing)}")


def _require_names(state: Mapping[str, Tensor], depth: int) -> None:
    """Refuse a network that lacks something, or has something that isn't known."""
    layers = [f"{LAYER}{index}.{name}" for index in range(depth) for name in (*BLOCK, *SHIFTS, FREQUENCIES)]
    needed = {*layers, *WHOLE, QUERY, SHARES}
    missing, optional = sorted(needed - set(state)), {*STATISTICS, *SCHEDULE, LAST_SHIFT}
    if missing:
        raise InputError(f"{missing[0]}: missing in the network of clip2latent")
    if unknown := sorted(set(state) - needed - optional):
        raise InputError(f"{shown(unknown[0])}: not a part of clip2latent's network that is known here")


def _require_as_here(state: Mapping[str, Tensor], depth: int) -> None:
    """Refuse norms that shift, other rotary positions and another schedule: what is fixed in our network."""
    for name in [f"{LAYER}{index}.{shift}" for index in range(depth) for shift in SHIFTS] + [LAST_SHIFT]:
        if name in state and state[name].any():
            raise InputError(f"{name}: expected zeros, as norms of dalle2-pytorch have no shift")
    frequencies = 10_000.0 ** -(torch.arange(0, ROTARY_CHANNELS, 2) / ROTARY_CHANNELS)
    tables = {f"{LAYER}{index}.{FREQUENCIES}": frequencies for index in range(depth)} | {SHARES: cosine_shares()}
    for name, expected in tables.items():
        found = state[name]
        if found.shape != expected.shape or not torch.allclose(found, expected, rtol=0, atol=TOLERANCE):
            what = "cosine schedule" if name == SHARES else "rotary positions"
            raise InputError(f"{name}: expected the {what} of {list(expected.shape)} numbers that clip2latent has")


def _network(state: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    weights = {ours: state[name] for name, ours in WHOLE.items()}
    weights["queries"] = state[QUERY].reshape(-1, state[QUERY].shape[-1])
    for index in range(depth):
        weights |= {f"blocks.{index}.{ours}": state[f"{LAYER}{index}.{name}"] for name, ours in BLOCK.items()}
    return weights


def _statistics(state: Mapping[str, Tensor], settings: Clip2LatentSettings) -> dict[str, Tensor]:
    """Mean and deviation of the latents `[L, D]`, the scale of the normalised ones put into the latter."""
    shape = (len(settings.latent_repeats), settings.dim)
    found: dict[str, Any] = {}
    for name, default in (("latent_mean", torch.zeros), ("latent_std", torch.ones)):
        value = state.get(name, default(shape))
        if value.shape not in (shape, shape[1:] if shape[0] == 1 else shape):
            raise InputError(f"{name}: expected {list(shape)}, got {list(value.shape)}")
        found[name] = value.reshape(shape)
    found["latent_std"] = found["latent_std"] / settings.image_embed_scale
    return found
