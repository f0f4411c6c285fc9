"""Say which of many labels CLIP finds in images: `text2latent classify image.png --labels cifar100 --top 5`."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from text2latent.common.command import CommandParser, positive_int, progress, run_command, select_device
from text2latent.common.errors import UsageError
from text2latent.inference.flags import add_clip_args_flag

DEFAULT_CLIP = "ViT-B-32/openai"
SHOWN_PROGRESS = 16


def build_parser() -> CommandParser:
    parser = CommandParser("classify", __doc__)
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE", help="Image files.")
    add("--labels", default="cifar100", metavar="LABELS", help="cifar100, voc, or a text file with a label per line.")
    add("--template", action="append", metavar="TEXT",
        help="Prompt of a label, which takes the place of {}; of several, the mean counts. Default: 'a photo "
        "of a {}'.")  # fmt: skip
    add("--top", type=positive_int, default=5, metavar="N", help="Labels to print per image.")
    add("--clip", default=DEFAULT_CLIP, metavar="CLIP",
        help="A zoo name, a folder, hf-hub:NAME or MODEL/PRETRAINED of open_clip.")  # fmt: skip
    add_clip_args_flag(parser)
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
    add("--json", action="store_true", help="Print as JSON: files, labels and probabilities.")
    return parser


def run(config: Namespace) -> None:
    """Check labels and images before any work, load CLIP, classify, print."""
    from text2latent.apps.evaluation.classification import DEFAULT_TEMPLATE, embed_labels, fill_template, read_labels
    from text2latent.inference.images import read_picture

    if not config.images:
        raise UsageError("IMAGE: expected at least one image file")
    labels, templates = read_labels(config.labels), config.template or [DEFAULT_TEMPLATE]
    for template in templates:
        fill_template(template, labels[0])
    files = [Path(file) for file in config.images]
    for file in files:
        read_picture(file, "IMAGE")
    device = select_device(config.device)

    from text2latent.models.clip.arguments import named_clip, with_source
    from text2latent.models.clip.encoder import ClipEncoder

    named = with_source(named_clip(config.clip, config.clip_args), DEFAULT_CLIP)
    clip = ClipEncoder.from_pretrained(named).to(device)
    found = score(clip, files, labels, embed_labels(clip, labels, templates), config.top)
    shown = progress(found, len(files), "images") if len(files) > SHOWN_PROGRESS else found
    report = list(shown)
    print(json.dumps(report, ensure_ascii=False, indent=2) if config.json else "\n\n".join(map(to_text, report)))


def score(clip: Any, files: Sequence[Path], labels: Sequence[str], embedded: Any, top: int) -> Iterator[dict[str, Any]]:
    """The likeliest labels of each image, one image at a time since sizes differ."""
    from text2latent.apps.evaluation.classification import classify
    from text2latent.inference.images import from_pil, read_picture

    for file in files:
        image = from_pil(read_picture(file, "IMAGE"))[None].to(clip.device)
        likeliest = classify(clip, image, embedded)[0].topk(min(top, len(labels)))
        pairs = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        yield {"file": str(file), "labels": [{"label": labels[i], "probability": value} for i, value in pairs]}


def to_text(result: dict[str, Any]) -> str:
    """A table of one image's labels, in per cent."""
    lines = [f"{found['label']:>24}: {100 * found['probability']:6.2f}%" for found in result["labels"]]
    return "\n".join([result["file"], *lines])


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv, "nothing was written")
