"""The model card of an exported folder: a README.md with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from text2latent.apps.exports.provenance import installed_versions
from text2latent.models.sources.exported import SECTION

SAMPLE = "sample.png"
UNKNOWN_LICENSE = "unknown"
HUB_ID = re.compile(r"^(?:hf-hub:|hf://)([\w.-]+/[\w.-]+)")
TAGS = ("text-to-image", "diffusion-prior", "clip", "stylegan", "text2latent")
DIGITS = 4

USAGE = {
    "diffusers": """### diffusers

`pip install torch diffusers open_clip_torch`; the code of the pipeline is in this folder, in plain Python.

```python
import torch
from diffusers import DiffusionPipeline
from huggingface_hub import snapshot_download

folder = snapshot_download("ORG/NAME")  # or where it lies on your disk
pipe = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
image = pipe("{text}", num_inference_steps=8, generator=torch.Generator().manual_seed(0)).images[0]
```""",
    "onnx": """### ONNX Runtime

`pip install onnxruntime numpy pillow tokenizers`; no torch. `infer_onnx.py` is short and shows what the graphs take.

```sh
python FOLDER/infer_onnx.py "{text}" --seed 0 --output image.png
```""",
    "pt2": """### torch.export

`pip install torch numpy pillow tokenizers`

```sh
python FOLDER/infer_pt2.py "{text}" --seed 0 --output image.png
```""",
}
OWN_USAGE = """### text2latent

```sh
text2latent infer --model FOLDER --text "{text}" --seed 0
text2latent inspect FOLDER
```"""


@dataclass(frozen=True)
class CardContent:
    """What a card says besides the record.

    Attributes:
        title: the model's name.
        license: an identifier of the hub's list, such as `apache-2.0`.
        texts: rows of the sample grid.
        image_shape: height and width of an image.
        context_length: tokens of a text that CLIP reads.
    """

    title: str
    license: str
    texts: Sequence[str]
    image_shape: tuple[int, int]
    context_length: int


def model_card(record: Mapping[str, Any], content: CardContent) -> str:
    """README.md of an exported folder, front matter included.

    Args:
        record: the folder's record: identities, `dataset`, `metrics` and the section `export`.
    """
    formats = record[SECTION]["formats"]
    sections = [
        f"---\n{front_matter(record, content)}\n---",
        f"# {content.title}",
        "Draws images from texts: CLIP's embedding of a text, a diffusion prior from that to a latent, and a "
        "pretrained generator from the latent to an image (clip2latent, arXiv:2210.02347). Made with text2latent.",
        f"![Samples]({SAMPLE})",
        "Rows, from the top: " + "; ".join(f"*{text}*" for text in content.texts) + ".",
        "## Use",
        *(text.format(text=content.texts[0]) for text in (*(USAGE[name] for name in formats), OWN_USAGE)),
        "## Parts",
        _parts_table(record),
        "## Training",
        _training(record),
        "## Figures",
        _metrics_table(record),
        "## Limits",
        _limits(content),
        "## Licence",
        f"`{content.license}`. The terms of the base models above hold too.",
    ]
    return "\n\n".join(sections) + "\n"


def front_matter(record: Mapping[str, Any], content: CardContent) -> str:
    """YAML that the hub reads; base models are named there if they are on the hub."""
    from huggingface_hub import EvalResult, ModelCardData

    identifiers = [HUB_ID.match(_origin(record[part])["source"]) for part in ("generator", "clip")]
    results = [
        EvalResult(
            task_type="text-to-image",
            dataset_type="text2latent-pairs",
            dataset_name="pairs of latents and CLIP embeddings",
            metric_type=name,
            metric_value=round(float(value), DIGITS),
        )
        for name, value in measured(record).items()
    ]
    data = ModelCardData(
        license=content.license,
        library_name="diffusers" if "diffusers" in record[SECTION]["formats"] else "text2latent",
        pipeline_tag="text-to-image",
        tags=[*TAGS, *record[SECTION]["formats"]],
        base_model=[found[1] for found in identifiers if found] or None,
        model_name=content.title,
        eval_results=results or None,
        training_pairs=record.get("dataset", {}).get("num_pairs"),
    )
    return data.to_yaml()


def measured(record: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of a record that are numbers, those of the export last."""
    everything = {**record.get("metrics", {}), **record[SECTION].get("metrics", {})}
    return {name: value for name, value in everything.items() if isinstance(value, (int, float))}


def _origin(identity: Mapping[str, Any]) -> Mapping[str, Any]:
    return identity.get("made_from") or identity


def _parts_table(record: Mapping[str, Any]) -> str:
    rows = [
        f"| {part} | {_origin(record[part])['name']} | `{record[part]['sha256']}` |" for part in ("generator", "clip")
    ]
    return "\n".join(["| base model | name | SHA-256 |", "|---|---|---|", *rows])


def _training(record: Mapping[str, Any]) -> str:
    paragraphs, dataset, forced = [], record.get("dataset"), record.get("trained_with")
    if dataset:
        paragraphs.append(
            f"The prior was trained on {dataset['num_pairs']:,} pairs of latents and CLIP image embeddings that the "
            f"generator and CLIP made themselves; it has seen no captions. Manifest of the pairs: "
            f"`{dataset['sha256']}`. The whole configuration is in `text2latent.json`."
        )
    else:
        paragraphs.append("No record of the training is kept with this prior.")
    if forced:
        paragraphs.append(f"**Exported with another {' and '.join(forced)} than the prior was trained with.**")
    return "\n\n".join(paragraphs)


def _metrics_table(record: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {value:.{DIGITS}g} |" for name, value in measured(record).items()]
    return "\n".join(["| figure | value |", "|---|---|", *rows]) if rows else "None were measured."


def _limits(content: CardContent) -> str:
    height, width = content.image_shape
    versions = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    return "\n".join(
        [
            f"- Images of {width} x {height} pixels, of the generator's domain only: what it "
            "can't draw is ignored or misread, whatever the text asks for.",
            f"- Texts of up to {content.context_length} tokens, in the languages that this CLIP was trained on.",
            "- Counts, positions and negations are as unreliable as CLIP's embeddings of them.",
            "- The biases of the generator's training images and of CLIP's are those of the pictures.",
            f"- Exported with {versions}.",
        ]
    )
