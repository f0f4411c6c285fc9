"""The command `text2latent VERB ...`: the same as `python -m text2latent VERB ...` and `python VERB.py ...`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

VERBS = {  # of each, the module whose `main` it is, and what it does
    "sample": (
        "text2latent.sample",
        "draw latents, synthesise and CLIP-embed their images, and write the pairs into shards",
    ),
    "train": ("text2latent.train", "fit the diffusion prior, CLIP embedding to latent, on such pairs"),
    "infer": ("text2latent.infer", "draw images from texts"),
    "serve": ("text2latent.apps.serving.command", "offer a page to draw on and an API to call"),
    "optimize": (
        "text2latent.apps.optimize.command",
        "draw an image from a text by CLIP-guided optimisation, the slow rival",
    ),
    "project": (
        "text2latent.apps.projection.command",
        "find the latents of pictures of your own, edit them by words, tune a generator for them",
    ),
    "classify": ("text2latent.apps.evaluation.classify", "say which of many labels CLIP finds in images"),
    "verify": ("text2latent.apps.verify", "read such pairs back and report missing, damaged and foreign shards"),
    "convert": ("text2latent.apps.convert", "turn a StyleGAN pickle or checkpoint into a folder that needs no pickle"),
    "evaluate": ("text2latent.apps.evaluation.command", "measure how well a model draws prompts"),
    "export": ("text2latent.apps.exports.command", "write a model for diffusers, ONNX Runtime or torch.export"),
    "inspect": (
        "text2latent.apps.exports.inspect",
        "show what a model, dataset, exported file or picture was made with",
    ),
}


def usage() -> str:
    """Return the help text: the verbs and what each does."""
    lines = [f"  {verb:<10}{description}" for verb, (_, description) in VERBS.items()]
    return "\n".join(
        ["usage: text2latent VERB [flags]", "", *lines, "", "text2latent VERB --help lists a verb's flags."]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb and return its exit code; only the module of that verb is imported."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help"):
        print(usage())
        return 0
    if verb == "--version":
        print(importlib.import_module("text2latent").__version__)
        return 0
    if verb not in VERBS:
        print(f"text2latent: error: expected a verb, one of {', '.join(VERBS)}; got {verb!r}", file=sys.stderr)
        return 2
    return importlib.import_module(VERBS[verb][0]).main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
