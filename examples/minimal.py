"""The method in sixty lines of plain torch: draw pairs, fit a prior to them, draw from a text.

python examples/minimal.py "blonde woman with glasses" --output minimal.png
"""

import argparse

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.utils import save_image

from text2latent import ClipEncoder, Generator, load_generator

BATCH, NOISE, SAMPLING_STEPS = 64, 0.5, 16


class Prior(nn.Module):
    """Velocity of a rectified flow (arXiv:2209.03003) from noise (t = 1) to latents (t = 0) of CLIP embeddings."""

    def __init__(self, w_dim: int, embedding_dim: int, width: int = 512) -> None:
        super().__init__()
        first, last = nn.Linear(w_dim + 1 + embedding_dim, width), nn.Linear(width, w_dim)
        self.layers = nn.Sequential(first, nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self.layers(torch.cat([x, t, condition], dim=1))


@torch.no_grad()
def draw_pairs(generator: Generator, clip: ClipEncoder, count: int) -> tuple[Tensor, Tensor]:
    """Random latents `[count, w_dim]`, and CLIP's embeddings `[count, E]` of their images."""
    latents = torch.cat([generator.sample_w(BATCH, seed) for seed in range(0, count, BATCH)])[:count]
    embeddings = [clip.encode_image(generator.synthesize(batch)) for batch in latents.split(BATCH)]
    return latents[:, 0], torch.cat(embeddings)


def fit(prior: Prior, latents: Tensor, embeddings: Tensor, steps: int) -> None:
    """Train on pseudo-text: image embeddings with noise, since texts lie beside images (arXiv:2210.02347)."""
    optimizer = torch.optim.AdamW(prior.parameters(), lr=1e-3)
    for _ in range(steps):
        rows = torch.randint(len(latents), (256,))
        shaken = embeddings[rows] + NOISE * normalize(torch.randn(256, embeddings.shape[1]), dim=1)
        x0, x1, t = latents[rows], torch.randn(256, latents.shape[1]), torch.rand(256, 1)
        loss = (prior((1 - t) * x0 + t * x1, t, normalize(shaken, dim=1)) - (x1 - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def sample(prior: Prior, condition: Tensor, w_dim: int) -> Tensor:
    """Latents `[N, w_dim]` of conditions `[N, E]`, by Euler's method."""
    x = torch.randn(len(condition), w_dim)
    for i in range(SAMPLING_STEPS):
        x = x - prior(x, torch.full((len(x), 1), 1 - i / SAMPLING_STEPS), condition) / SAMPLING_STEPS
    return x


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--output", default="minimal.png")
    flags = parser.parse_args()
    torch.manual_seed(0)
    generator, clip = load_generator("faces"), ClipEncoder.from_pretrained("faces")
    latents, embeddings = draw_pairs(generator, clip, flags.pairs)
    mean, std = latents.mean(dim=0), latents.std(dim=0)
    prior = Prior(latents.shape[1], embeddings.shape[1])
    fit(prior, (latents - mean) / std, embeddings, flags.steps)
    text = clip.encode_text([flags.text])
    drawn = generator.synthesize((sample(prior, text.expand(4, -1), len(mean)) * std + mean)[:, None])
    scores = [float((images @ text.T).mean()) for images in (clip.encode_image(drawn), embeddings)]
    print("CLIP score {:.3f}, of random images {:.3f}".format(*scores))
    save_image(drawn, flags.output, normalize=True, value_range=(-1, 1))
