"""Fits the CLIP of a world on renders and captions.

    python -m text2latent.zoo.fit.clip WORLD --work FOLDER --output FOLDER

fits the text tower of a shipped one further.

Next to the contrastive loss, both towers learn every attribute through linear heads that they share, so that a value
means the same direction in an image and in a text. As captions carry what they allow, a caption counts as a positive of
every image of the batch that it is true of.
"""

from __future__ import annotations

import copy
import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, embedding, log_softmax, normalize

from text2latent.models.clip.encoder import build_clip, encode_tokens, save_hub_folder, trim_tokens
from text2latent.models.clip.files import WEIGHTS_NAME
from text2latent.models.clip.normalizing import NORMALIZATION_KEY, NormalizingTokenizer
from text2latent.zoo.drawing.renders import render
from text2latent.zoo.fit.batches import degrade, to_tensor
from text2latent.zoo.fit.fitting import FitPlan, fit
from text2latent.zoo.language.captions import LANGUAGES, Caption, matches, noisy_caption
from text2latent.zoo.world import World, load_world, world_names

BATCH = 48
TEXT_BATCH, TEXT_IMAGES, NUM_IMAGES = 96, 384, 4096
"""Captions and images of a batch of the second stage, and images that it draws from."""
SEED = 303
HEAD_SCALE = 16.0
UNKNOWN_RATE = 0.15
"""Share of captions into which words of no known meaning are put."""


def clip_config(world: World) -> dict[str, Any]:
    """The `open_clip_config.json` of a world's CLIP."""
    config: dict[str, Any] = json.loads((world.folder / "clip_config.json").read_text())
    return config


def make_plan(world: World) -> FitPlan:
    """For how long both towers are fitted, and how fast."""
    num_steps = world.fit["clip"]["num_steps"]
    return FitPlan(num_steps=num_steps, lr=1.5e-3, betas=(0.9, 0.98), warmup_steps=300, ema_decay=0.998)


def make_text_plan(world: World) -> FitPlan:
    """As `make_plan`, of the text tower alone."""
    num_steps = world.fit["clip"]["num_text_steps"]
    return FitPlan(num_steps=num_steps, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05, ema_decay=0.998)


@cache
def _tokenizer(world: World) -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    config = clip_config(world)
    plain = SimpleTokenizer(context_length=config["model_cfg"]["text_cfg"]["context_length"])
    return NormalizingTokenizer(plain, config[NORMALIZATION_KEY])


def known_tokens(world: World, num_captions: int = 60_000, seldom: int = 2) -> Tensor:
    """Return the ids of the tokens that captions use, sorted; int64 `[K]`, the padding first.

    Args:
        world: what captions are about.
        num_captions: captions of each language that are looked at, with their typing errors.
        seldom: how often a token may occur, at most, to count as unknown.
    """
    rng = np.random.default_rng([SEED, 0, 0])
    captions = [text for row in world.draw_codes(rng, num_captions) for text in _both(world, rng, row)]
    tokens, counts = _tokenizer(world)(captions).unique(return_counts=True)
    return torch.cat([tokens[counts > seldom], torch.zeros(1, dtype=torch.long)]).unique()


def _both(world: World, rng: np.random.Generator, row: np.ndarray) -> list[str]:
    """A caption of a picture in each language, as fitting shows them."""
    return [noisy_caption(world, rng, row, language).text for language in LANGUAGES]


class KnownEmbedding(nn.Module):
    """A token embedding that is zero for all tokens but the known ones, and trains only those."""

    table: Tensor

    def __init__(self, known: Tensor, vocab_size: int, width: int):
        super().__init__()
        table = torch.zeros(vocab_size, dtype=torch.long)
        table[known] = torch.arange(1, len(known) + 1)
        self.register_buffer("table", table)
        self.weight = nn.Parameter(0.02 * torch.randn(len(known), width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map token ids `[N, L]` to vectors `[N, L, width]`."""
        return embedding(self.table[tokens], self.full_weight())

    def full_weight(self) -> Tensor:
        """Return the vectors with that of unknown tokens, zero, first: `[K + 1, width]`."""
        return torch.cat([torch.zeros_like(self.weight[:1]), self.weight])

    def expanded(self) -> nn.Embedding:
        """Return the same as an ordinary embedding of the whole vocabulary."""
        return nn.Embedding.from_pretrained(self.full_weight()[self.table].detach())


class ClipTrainer(nn.Module):
    """The CLIP model and the attribute heads that its two towers share."""

    def __init__(self, world: World, clip: Any, known: Tensor):
        super().__init__()
        self.world = world
        self.clip: Any = clip
        vocab_size, width = clip.text.token_embedding.weight.shape
        clip.text.token_embedding = KnownEmbedding(known, vocab_size, width)
        self.heads = nn.Linear(clip.text.text_projection.shape[1], world.num_values)

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised image and text embeddings, float32 `[N, D]` each."""
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            image = self.clip.encode_image(images)
        return normalize(image.float(), dim=-1), self.embed_text(tokens)

    def embed_text(self, tokens: Tensor) -> Tensor:
        """Return normalised text embeddings, float32 `[N, D]`."""
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            return normalize(self._encode_by_length(tokens).float(), dim=-1)

    def _encode_by_length(self, tokens: Tensor, num_groups: int = 4) -> Tensor:
        """Encode captions in groups of like length, so that short ones are not padded to the longest."""
        order = tokens.argmax(dim=1).argsort()
        groups = [encode_tokens(self.clip, trim_tokens(tokens[rows])) for rows in order.chunk(num_groups)]
        return torch.cat(groups)[order.argsort()]

    def attribute_log_probabilities(self, embeddings: Tensor) -> list[Tensor]:
        """Return the heads' log-probabilities, a list of `[N, size]` in the order of `world.names`."""
        logits = self.heads(HEAD_SCALE * embeddings)
        return [log_softmax(part, dim=-1) for part in logits.split(self.world.sizes, dim=1)]


def draw_pairs(world: World, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw `n` pictures in pairs that share all but one or two attributes, so that a batch holds hard negatives."""
    codes, columns = world.draw_codes(rng, n), np.arange(len(world.names))
    for index in range(1, n, 2):
        changed = rng.choice(len(columns), size=rng.integers(1, 3), replace=False)
        codes[index] = np.where(np.isin(columns, changed), codes[index], codes[index - 1])
    return world.restrict(codes)


def add_unknown_words(tokens: Tensor, context_length: int, rng: np.random.Generator) -> Tensor:
    """Put one to three tokens, most likely of no known meaning, into some of the captions; token ids `[N, L]`."""
    rows = []
    for row in tokens:
        ids = row[: int(row.argmax()) + 1].tolist()
        if rng.random() < UNKNOWN_RATE and len(ids) + 3 <= context_length:
            place = int(rng.integers(1, len(ids)))
            ids[place:place] = rng.integers(300, 49000, rng.integers(1, 4)).tolist()
        rows.append(torch.tensor(ids))
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


def contrastive_loss(image: Tensor, text: Tensor, match: Tensor, scale: Tensor) -> Tensor:
    """Return the symmetric InfoNCE with several positives.

    Args:
        image: embeddings `[I, D]`, normalised.
        text: embeddings `[T, D]`, normalised; each is true of an image at least.
        match: bool `[T, I]`, which texts are true of which images; images without a text only count as negatives.
        scale: inverse temperature, a scalar.
    """
    logits = scale * text @ image.T
    target, described = match.float(), match.any(dim=0)
    by_text = -(target / target.sum(1, keepdim=True) * log_softmax(logits, dim=1)).sum(1).mean()
    shares = target[:, described] / target[:, described].sum(0, keepdim=True)
    by_image = -(shares * log_softmax(logits[:, described], dim=0)).sum(0).mean()
    return (by_text + by_image) / 2


def _image_attribute_loss(world: World, predictions: list[Tensor], codes: np.ndarray) -> Tensor:
    labels = torch.from_numpy(np.where(world.visible(codes), codes, -100))
    return torch.stack([cross_entropy(part, labels[:, i]) for i, part in enumerate(predictions)]).mean()


def _text_attribute_loss(predictions: list[Tensor], captions: list[Caption]) -> Tensor:
    losses = []
    for i, part in enumerate(predictions):
        allowed = torch.from_numpy(np.stack([caption.allowed[i, : part.shape[1]] for caption in captions])).float()
        losses.append(-(allowed / allowed.sum(1, keepdim=True) * part).sum(1).mean())
    return torch.stack(losses).mean()


def clip_loss(trainer: ClipTrainer, step: int) -> tuple[Tensor, dict[str, float]]:
    """Return contrastive and attribute losses on a batch of renders and captions in both languages."""
    world, rng = trainer.world, np.random.default_rng([SEED, step])
    codes = draw_pairs(world, rng, BATCH)
    images = degrade(to_tensor(render(world, codes, world.draw_nuisance(rng, BATCH))), rng)
    captions = [noisy_caption(world, rng, row, LANGUAGES[i // 2 % 2]) for i, row in enumerate(codes)]
    tokens = _tokenize(world, captions, rng)
    image, text = trainer(images.contiguous(memory_format=torch.channels_last), tokens)
    match = torch.from_numpy(matches(world, captions, codes))
    contrastive = contrastive_loss(image, text, match, trainer.clip.logit_scale.exp().clamp(max=100))
    of_image = _image_attribute_loss(world, trainer.attribute_log_probabilities(image), codes)
    of_text = _text_attribute_loss(trainer.attribute_log_probabilities(text), captions)
    logged = {"contrastive": contrastive.item(), "image": of_image.item(), "text": of_text.item()}
    return contrastive + 2 * of_image + 2 * of_text, logged


def _tokenize(world: World, captions: Sequence[Caption], rng: np.random.Generator) -> Tensor:
    """Token ids of captions, with unknown words in some of them, padded to the longest."""
    tokenizer = _tokenizer(world)
    tokens = trim_tokens(tokenizer([caption.text for caption in captions]))
    return add_unknown_words(tokens, tokenizer.context_length, rng)


@torch.no_grad()
def embed_renders(trainer: ClipTrainer, n: int) -> tuple[Tensor, np.ndarray]:
    """Embed `n` renders: normalised embeddings `[n, D]` of the image tower, and value indices of the pictures."""
    world, rng = trainer.world, np.random.default_rng([SEED, 1, 0])
    codes, embeddings = draw_pairs(world, rng, n), []
    for rows in np.array_split(codes, max(1, n // 64)):
        images = to_tensor(render(world, rows, world.draw_nuisance(rng, len(rows))))
        with torch.autocast("cpu", torch.bfloat16):
            seen = trainer.clip.encode_image(images.contiguous(memory_format=torch.channels_last))
        embeddings.append(normalize(seen.float(), dim=-1))
    return torch.cat(embeddings), codes


def text_loss(trainer: ClipTrainer, step: int, image: Tensor, codes: np.ndarray) -> tuple[Tensor, dict[str, float]]:
    """Return contrastive and attribute losses of captions against embedded renders."""
    world, rng = trainer.world, np.random.default_rng([SEED, 2, step])
    chosen = rng.choice(len(codes), TEXT_IMAGES, replace=False)
    described = enumerate(codes[chosen[:TEXT_BATCH]])
    captions = [noisy_caption(world, rng, row, LANGUAGES[i % 2]) for i, row in described]
    text = trainer.embed_text(_tokenize(world, captions, rng))
    match = torch.from_numpy(matches(world, captions, codes[chosen]))
    contrastive = contrastive_loss(image[chosen], text, match, trainer.clip.logit_scale.exp().clamp(max=100))
    of_text = _text_attribute_loss(trainer.attribute_log_probabilities(text), captions)
    return contrastive + 4 * of_text, {"contrastive": contrastive.item(), "text": of_text.item()}


def fit_text(trainer: ClipTrainer, work: Path, needs_heads: bool = False) -> ClipTrainer:
    """Go on with the text tower alone, against renders embedded once: captions are cheap where images are done.

    Args:
        needs_heads: whether the trainer's heads are to be fitted first, see `fit_heads`.
    """
    trainer.eval()
    image, codes = embed_renders(trainer, NUM_IMAGES)
    if needs_heads:
        fit_heads(trainer, image, codes)
    trainer.requires_grad_(False)
    trainer.clip.text.requires_grad_(True)
    return fit(trainer, partial(text_loss, image=image, codes=codes), make_text_plan(trainer.world), work / "clip-text")


def fit_heads(trainer: ClipTrainer, image: Tensor, codes: np.ndarray, num_steps: int = 400) -> None:
    """Fit the attribute heads to embedded renders: what a CLIP that is there already has lost of its training."""
    optimizer = torch.optim.Adam(trainer.heads.parameters(), lr=1e-2)
    for _ in range(num_steps):
        loss = _image_attribute_loss(trainer.world, trainer.attribute_log_probabilities(image), codes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def trainer_of(world: World, folder: Path) -> ClipTrainer:
    """A trainer that goes on from a fitted CLIP; tokens that this one doesn't know begin at random."""
    clip = build_clip(clip_config(world))
    clip.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / WEIGHTS_NAME).items()})
    clip.visual.to(memory_format=torch.channels_last)
    before, known = clip.text.token_embedding.weight.detach().clone(), known_tokens(world)
    trainer = ClipTrainer(world, clip, known)
    weight = trainer.clip.text.token_embedding.weight
    is_there = before[known].norm(dim=1) > 0
    weight.data[is_there] = before[known][is_there]
    return trainer


def export(trainer: ClipTrainer, destination: Path) -> None:
    """Write the CLIP model without its heads, as an open_clip hub folder in float16."""
    clip = copy.deepcopy(trainer.clip)
    clip.text.token_embedding = clip.text.token_embedding.expanded()
    save_hub_folder(clip, clip_config(trainer.world), destination)


def fit_clip(world: World, work: Path, destination: Path) -> None:
    """Fit the CLIP of a world, resumably in `work`/clip, and write it to `destination`."""
    torch.manual_seed(SEED)
    clip = build_clip(clip_config(world))
    clip.visual.to(memory_format=torch.channels_last)
    trainer = ClipTrainer(world, clip, known_tokens(world))
    average = fit_text(fit(trainer, clip_loss, make_plan(world), work / "clip"), work)
    export(average, destination)


def main(argv: Sequence[str] | None = None) -> int:
    """Fit the text tower of a world's CLIP further, on captions of the grammar; its image tower stays as it is."""
    parser = ArgumentParser(description=main.__doc__)
    parser.add_argument("world", choices=world_names(), help="world whose captions they are")
    parser.add_argument("--source", type=Path, help="folder of the CLIP to go on from; by default the shipped one")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and the log")
    parser.add_argument("--output", type=Path, required=True, help="folder for the fitted CLIP")
    flags = parser.parse_args(argv)
    torch.manual_seed(SEED)
    world = load_world(flags.world)
    trainer = trainer_of(world, flags.source or world.weights / "clip")
    export(fit_text(trainer, flags.work, needs_heads=True), flags.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
