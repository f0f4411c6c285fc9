"""Fits the faces CLIP on renders and captions.

Next to the contrastive loss, both towers learn every attribute through linear heads that they share, so that a value means
the same direction in an image and in a text. As captions carry what they allow, a caption counts as a positive of every
image of the batch that it is true of.
"""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, embedding, log_softmax, normalize

from text2latent.models.clip import build_clip, encode_tokens, save_hub_folder, trim_tokens
from text2latent.zoo.faces.attributes import NAMES, SIZES, draw_codes, restrict, visible
from text2latent.zoo.faces.batches import degrade, to_tensor
from text2latent.zoo.faces.captions import LANGUAGES, Caption, draw_caption, matches
from text2latent.zoo.faces.renderer import draw_nuisance, render
from text2latent.zoo.fitting import FitPlan, fit

PLAN = FitPlan(num_steps=5000, lr=1.5e-3, betas=(0.9, 0.98), warmup_steps=300, ema_decay=0.998)
BATCH = 48
SEED = 303
HEAD_SCALE = 16.0
UNKNOWN_RATE = 0.15
"""Share of captions into which words of no known meaning are put."""
CONFIG = Path(__file__).parent / "clip_config.json"
WEIGHTS = Path(__file__).parent / "weights" / "clip"


@cache
def _tokenizer():
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=json.loads(CONFIG.read_text())["model_cfg"]["text_cfg"]["context_length"])


def known_tokens(num_captions: int = 6000) -> Tensor:
    """Return the ids of all tokens that captions use, sorted; int64 `[K]`, the padding first."""
    rng = np.random.default_rng([SEED, 0, 0])
    codes = draw_codes(rng, num_captions)
    captions = [draw_caption(rng, row, language).text for row in codes for language in LANGUAGES]
    return torch.cat([_tokenizer()(captions).unique(), torch.zeros(1, dtype=torch.long)]).unique()


class KnownEmbedding(nn.Module):
    """A token embedding that is zero for all tokens but the known ones, and trains only those."""

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

    def __init__(self, clip: nn.Module, known: Tensor):
        super().__init__()
        self.clip = clip
        vocab_size, width = clip.text.token_embedding.weight.shape
        clip.text.token_embedding = KnownEmbedding(known, vocab_size, width)
        self.heads = nn.Linear(clip.text.text_projection.shape[1], sum(SIZES))

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised image and text embeddings, float32 `[N, D]` each."""
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            pair = self.clip.encode_image(images), encode_tokens(self.clip, tokens)
        image, text = (normalize(embedding.float(), dim=-1) for embedding in pair)
        return image, text

    def attribute_log_probabilities(self, embeddings: Tensor) -> list[Tensor]:
        """Return the heads' log-probabilities, a list of `[N, size]` in the order of `NAMES`."""
        logits = self.heads(HEAD_SCALE * embeddings)
        return [log_softmax(part, dim=-1) for part in logits.split(SIZES, dim=1)]


def draw_faces(rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw `n` faces in pairs that share all but one or two attributes, so that a batch holds hard negatives."""
    codes = draw_codes(rng, n)
    for index in range(1, n, 2):
        changed = rng.choice(len(NAMES), size=rng.integers(1, 3), replace=False)
        codes[index] = np.where(np.isin(np.arange(len(NAMES)), changed), codes[index], codes[index - 1])
    return restrict(codes)


def add_unknown_words(tokens: Tensor, rng: np.random.Generator) -> Tensor:
    """Put one to three tokens, most likely of no known meaning, into some of the captions; token ids `[N, L]`."""
    rows = []
    for row in tokens:
        ids = row[: int(row.argmax()) + 1].tolist()
        if rng.random() < UNKNOWN_RATE and len(ids) + 3 <= _tokenizer().context_length:
            place = int(rng.integers(1, len(ids)))
            ids[place:place] = rng.integers(300, 49000, rng.integers(1, 4)).tolist()
        rows.append(torch.tensor(ids))
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


def contrastive_loss(image: Tensor, text: Tensor, match: Tensor, scale: Tensor) -> Tensor:
    """Return the symmetric InfoNCE with several positives; `match` `[texts, images]` tells which."""
    logits = scale * text @ image.T
    target = match.float()
    by_text = -(target / target.sum(1, keepdim=True) * log_softmax(logits, dim=1)).sum(1).mean()
    by_image = -(target / target.sum(0, keepdim=True) * log_softmax(logits, dim=0)).sum(0).mean()
    return (by_text + by_image) / 2


def _image_attribute_loss(predictions: list[Tensor], codes: np.ndarray) -> Tensor:
    labels = torch.from_numpy(np.where(visible(codes), codes, -100))
    return torch.stack([cross_entropy(part, labels[:, i]) for i, part in enumerate(predictions)]).mean()


def _text_attribute_loss(predictions: list[Tensor], captions: list[Caption]) -> Tensor:
    losses = []
    for i, part in enumerate(predictions):
        allowed = torch.from_numpy(np.stack([caption.allowed[i, : SIZES[i]] for caption in captions])).float()
        losses.append(-(allowed / allowed.sum(1, keepdim=True) * part).sum(1).mean())
    return torch.stack(losses).mean()


def clip_loss(trainer: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
    """Return contrastive and attribute losses on a batch of renders and captions in both languages."""
    rng = np.random.default_rng([SEED, step])
    codes = draw_faces(rng, BATCH)
    images = degrade(to_tensor(render(codes, draw_nuisance(rng, BATCH))), rng)
    captions = [draw_caption(rng, row, LANGUAGES[i // 2 % 2]) for i, row in enumerate(codes)]
    tokens = add_unknown_words(trim_tokens(_tokenizer()([caption.text for caption in captions])), rng)
    image, text = trainer(images.contiguous(memory_format=torch.channels_last), tokens)
    match = torch.from_numpy(matches(captions, codes))
    contrastive = contrastive_loss(image, text, match, trainer.clip.logit_scale.exp().clamp(max=100))
    of_image = _image_attribute_loss(trainer.attribute_log_probabilities(image), codes)
    of_text = _text_attribute_loss(trainer.attribute_log_probabilities(text), captions)
    return contrastive + 2 * of_image + 2 * of_text, {"contrastive": contrastive.item(), "image": of_image.item(), "text": of_text.item()}


def export(trainer: ClipTrainer, destination: Path) -> None:
    """Write the CLIP model without its heads, as an open_clip hub folder in float16."""
    clip = copy.deepcopy(trainer.clip)
    clip.text.token_embedding = clip.text.token_embedding.expanded()
    save_hub_folder(clip, json.loads(CONFIG.read_text()), destination)


def fit_clip(work: Path, destination: Path = WEIGHTS, plan: FitPlan = PLAN) -> None:
    """Fit CLIP, resumably in `work`/clip, and write it to `destination`."""
    torch.manual_seed(SEED)
    clip = build_clip(json.loads(CONFIG.read_text()))
    clip.visual.to(memory_format=torch.channels_last)
    trainer = ClipTrainer(clip, known_tokens())
    average = fit(trainer, clip_loss, plan, work / "clip")
    export(average, destination)
