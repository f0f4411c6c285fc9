"""Writes the prompts that show where the texts of the faces world's CLIP lie; it knows no words of other things.

    python -m text2latent.zoo.faces.language.prompts

They are captions of random faces, in words and templates as the CLIP was fitted on; none is one that is evaluated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from text2latent.models.clip.files import PROMPTS_NAME
from text2latent.zoo.faces.attributes import draw_codes
from text2latent.zoo.faces.language.captions import LANGUAGES, draw_caption

FOLDER = Path(__file__).parents[1] / "weights" / "clip"
NUM_PROMPTS = 1200
SEED = 30


def draw_prompts(num_prompts: int = NUM_PROMPTS, seed: int = SEED) -> list[str]:
    """So many different captions, as many of each language; the shortest first, which makes batches of like lengths."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, None] = {}
    while len(drawn) < num_prompts:
        language = LANGUAGES[len(drawn) % len(LANGUAGES)]
        drawn.setdefault(draw_caption(rng, draw_codes(rng, 1)[0], language).text)
    return sorted(drawn, key=len)


def write_prompts(folder: Path = FOLDER) -> None:
    """Write them, a line each, beside the CLIP's weights; the folder is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROMPTS_NAME).write_text("\n".join(draw_prompts()) + "\n", encoding="utf-8")


def main() -> None:
    """Write the list again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the CLIP")
    write_prompts(parser.parse_args().output)


if __name__ == "__main__":
    main()
