"""Writing an exported folder: the parts, what each tool needs, samples, card and record; whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from text2latent.apps.exports import FORMATS
from text2latent.apps.exports.diffusers_folder import write_diffusers
from text2latent.apps.exports.model_card import SAMPLE, UNKNOWN_LICENSE, CardContent, model_card
from text2latent.apps.exports.networks import GraphSettings, require_unit_embeddings
from text2latent.apps.exports.onnx_folder import write_onnx
from text2latent.apps.exports.parity import compare
from text2latent.apps.exports.parts import write_parts
from text2latent.apps.exports.provenance import make_record, write_record
from text2latent.apps.exports.pt2_folder import write_pt2
from text2latent.apps.exports.web import is_web_folder
from text2latent.common.errors import InputError
from text2latent.common.files import new_parents, replacing
from text2latent.common.litter import files_of, name_files
from text2latent.inference.images import make_grid
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.sources.exported import SECTION, is_exported

SAMPLES_PER_TEXT = 4
SAMPLE_TEXT = "a picture"


@dataclass(frozen=True)
class Export:
    """What to write.

    Attributes:
        formats: of `FORMATS`.
        graphs: what becomes part of the graphs of ONNX and torch.export.
        license: identifier of the hub's list.
        texts: of the card's samples; none takes those of the training's validation.
        metrics: measured figures to record besides those of the training.
    """

    formats: Sequence[str] = FORMATS[:1]
    graphs: GraphSettings = field(default_factory=GraphSettings)
    license: str = UNKNOWN_LICENSE
    texts: Sequence[str] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


def check_output(folder: Path, overwrite: bool) -> None:
    """Refuse, before any work, a folder that holds something else than an exported model to replace.

    Raises:
        InputError: naming the folder.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a new folder, found a file")
    if not (found := files_of(folder)):
        return
    if not (is_exported(folder) or is_web_folder(folder)):
        raise InputError(f"{folder}: expected a new folder, or an exported one; found {name_files(found)}")
    if not overwrite:
        raise InputError(f"{folder} exists already; expected a new name, or --overwrite")


def export_model(
    pipeline: Text2LatentPipeline,
    folder: Path,
    wanted: Export,
    shown: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> dict[str, Any]:
    """Write an exported folder; one that is there is replaced once the new one is whole.

    Args:
        pipeline: what to write, on the CPU.
        wanted: what to write besides the parts.
        shown: gets the names of the steps and gives them back one by one, as a progress bar does.

    Returns:
        The folder's record, without its list of files.

    Raises:
        InputError: when something cannot be exported; nothing is left behind then.
    """
    require_unit_embeddings(pipeline.prior, folder)
    with new_parents(folder), replacing(folder) as partial:
        partial.mkdir()
        writer = _Writer(pipeline, partial, wanted, title=folder.name)
        for step in shown(["parts", "samples", *wanted.formats, "card"]):
            writer.write(step)
        write_record(partial, writer.record)
    return writer.record


class _Writer:
    def __init__(self, pipeline: Text2LatentPipeline, folder: Path, wanted: Export, title: str) -> None:
        self.pipeline, self.folder, self.wanted, self.title = pipeline, folder, wanted, title
        self.texts = sample_texts(pipeline, wanted.texts)
        self.record: dict[str, Any] = {}

    def write(self, step: str) -> None:
        """Take a step: `parts`, `samples`, one of `FORMATS`, or `card`."""
        if step == "parts":
            parts = write_parts(self.pipeline, self.folder)
            self.record = make_record(self.pipeline.record, parts, self.wanted.formats)
        elif step == "samples":
            self._add_metrics({**self.wanted.metrics, "clip_score_of_samples": self._draw_samples()})
        elif step == "diffusers":
            write_diffusers(self.pipeline, self.folder, self.record)
        elif step in ("onnx", "pt2"):
            write_graphs = write_onnx if step == "onnx" else write_pt2
            write_graphs(self.pipeline, self.folder, self.record, self.wanted.graphs)
            self._add_metrics(compare(self.pipeline, self.folder, step, self.texts, self.wanted.graphs))
        else:
            (self.folder / "README.md").write_text(model_card(self.record, self._content()), encoding="utf-8")

    def _draw_samples(self) -> float:
        """Draw the sample grid; returns the mean CLIP score of its images."""
        seeds = range(SAMPLES_PER_TEXT)
        drawn = self.pipeline(self.texts, num_images_per_prompt=SAMPLES_PER_TEXT, seeds=seeds)
        assert isinstance(drawn.images, list)
        assert drawn.clip_scores is not None
        make_grid(drawn.images, columns=SAMPLES_PER_TEXT).save(self.folder / SAMPLE)
        return float(drawn.clip_scores.mean())

    def _add_metrics(self, metrics: Mapping[str, float]) -> None:
        section = self.record[SECTION]
        self.record = {**self.record, SECTION: {**section, "metrics": {**section.get("metrics", {}), **metrics}}}

    def _content(self) -> CardContent:
        size, length = self.pipeline.generator.image_shape, self.pipeline.clip.context_length
        return CardContent(self.title, self.wanted.license, self.texts, size, length)


def sample_texts(pipeline: Text2LatentPipeline, wanted: Sequence[str]) -> list[str]:
    """What a model's samples are of: the wanted texts, or those of its training's validation, or any."""
    return list(wanted) or _validation_texts(pipeline.record) or [SAMPLE_TEXT]


def _validation_texts(record: Mapping[str, Any]) -> list[str]:
    try:
        return list(record["training"]["validation"]["prompts"])
    except (KeyError, TypeError):
        return []
