"""Writes the prompts that show where the texts of a world's CLIP lie; it knows no words of other things.

    python -m text2latent.zoo.language.prompts WORLD

They are captions of random pictures, in words and templates as the CLIP was fitted on; none is one that is evaluated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from text2latent.models.clip.files import PROMPTS_NAME
from text2latent.zoo.language.captions import LANGUAGES, draw_caption
from text2latent.zoo.world import World, load_world, world_names

NUM_PROMPTS = 1200
SEED = 30


def draw_prompts(world: World, num_prompts: int = NUM_PROMPTS, seed: int = SEED) -> list[str]:
    """So many different captions, as many of each language; the shortest first, which makes batches of like lengths."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, None] = {}
    while len(drawn) < num_prompts:
        language = LANGUAGES[len(drawn) % len(LANGUAGES)]
        drawn.setdefault(draw_caption(world, rng, world.draw_codes(rng, 1)[0], language).text)
    return sorted(drawn, key=len)


def write_prompts(world: World, folder: Path) -> None:
    """Write them, a line each, beside the CLIP's weights; the folder is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROMPTS_NAME).write_text("\n".join(draw_prompts(world)) + "\n", encoding="utf-8")


def main() -> None:
    """Write the list again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=world_names(), help="world whose list it is")
    parser.add_argument("--output", type=Path, help="folder of the CLIP; by default the shipped one")
    flags = parser.parse_args()
    world = load_world(flags.world)
    write_prompts(world, flags.output or world.weights / "clip")


if __name__ == "__main__":
    main()
