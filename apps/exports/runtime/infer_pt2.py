"""Draw an image from a text with plain torch: python infer_pt2.py "blonde woman with glasses" --seed 0."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from text2latent.apps.exports.runtime.clip_text import ClipText

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compiled", action="store_true", help="take the package compiled for the exporting machine")
    parser.add_argument("--output", default="image.png")
    flags = parser.parse_args()
    folder = Path(__file__).resolve().parent
    settings = json.loads((folder / "pt2" / "settings.json").read_text(encoding="utf-8"))
    if flags.compiled:
        draw: Any = torch._inductor.aoti_load_package(str(folder / "pt2" / "text2latent.aoti.pt2"))
    else:
        draw = torch.export.load(folder / "pt2" / "text2latent.pt2").module()
    tokens = torch.from_numpy(ClipText(folder / "tokenizer")([flags.text]))
    noise = torch.randn(1, *settings["noise_shape"], generator=torch.Generator().manual_seed(flags.seed))
    with torch.no_grad():
        levels = ((draw(tokens=tokens, noise=noise)[0] + 1) * 127.5).round().to(torch.uint8)
    image = levels.permute(1, 2, 0).numpy()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(flags.output)
