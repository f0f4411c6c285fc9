"""Writing a web folder: the page, the networks and what runs them, so that any server of files can offer it.

::

    OUT/index.html ...        the page, from `site/`
    OUT/model.json            what the page has to know of the model, and the lists of its files
    OUT/parts/                networks, vocabulary and onnxruntime-web's binaries, gzipped and named after their content
    OUT/runtime/              onnxruntime-web's modules
    OUT/text2latent.json      the model's record, with size and SHA-256 of each file
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copytree
from string import Template
from typing import Any

from text2latent.apps.exports import WEB
from text2latent.apps.exports.model_card import UNKNOWN_LICENSE
from text2latent.apps.exports.networks import GraphSettings, require_unit_embeddings
from text2latent.apps.exports.parity import difference_of
from text2latent.apps.exports.provenance import make_record, public, write_record
from text2latent.apps.exports.web import MODEL
from text2latent.apps.exports.web.graphs import NAMES, GraphPipeline, networks, write_graph
from text2latent.apps.exports.web.runtime_files import DEVICES, RuntimeFiles
from text2latent.apps.exports.web.tokenizer_file import tokenizer_file
from text2latent.common.files import new_parents, replacing
from text2latent.inference.drawing import describe
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.settings import Settings
from text2latent.models.sources.exported import SECTION

CARD = "README.md"
DIGEST_CHARACTERS = 12


@dataclass(frozen=True)
class WebExport:
    """What to write.

    Attributes:
        runtime: onnxruntime-web's files.
        texts: that the page offers as examples, at least one.
        graphs: the steps are part of the sampler, the guidance is where the page starts.
        license: identifier of the hub's list.
        metrics: measured figures to record.
    """

    runtime: RuntimeFiles
    texts: Sequence[str]
    graphs: GraphSettings = field(default_factory=GraphSettings)
    license: str = UNKNOWN_LICENSE
    metrics: dict[str, float] = field(default_factory=dict)


def export_web(
    pipeline: Text2LatentPipeline,
    folder: Path,
    wanted: WebExport,
    shown: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> dict[str, Any]:
    """Write a web folder; one that is there is replaced once the new one is whole.

    Args:
        pipeline: what to write, on the CPU.
        shown: gets the names of the steps and gives them back one by one, as a progress bar does.

    Returns:
        The folder's record, without its list of files.

    Raises:
        InputError: when a network or the tokenizer cannot be exported; nothing is left behind then.
    """
    require_unit_embeddings(pipeline.prior, folder)
    parts = {"tokenizer.json": tokenizer_file(pipeline.clip.tokenizer)}
    identities = {"generator": pipeline.generator.identity, "clip": pipeline.clip.identity}
    record = make_record(
        pipeline.record,
        {name: public(identity) for name, identity in identities.items() if identity is not None},
        [WEB],
        onnxruntime_web=wanted.runtime.version,
    )
    with new_parents(folder), replacing(folder) as partial, tempfile.TemporaryDirectory() as scratch:
        partial.mkdir()
        graphs = networks(pipeline, wanted.graphs)
        for name in shown(NAMES):
            parts[f"{name}.onnx"] = write_graph(name, *graphs[name], Path(scratch), record, wanted.graphs.int8)
        figures = {**wanted.metrics, **_difference(pipeline, Path(scratch), wanted)}
        record = {**record, SECTION: {**record[SECTION], "metrics": figures}}
        _write_page(partial, describe_model(pipeline, wanted), parts, wanted)
        write_record(partial, record)
    return record


def describe_model(pipeline: Text2LatentPipeline, wanted: WebExport) -> dict[str, Any]:
    """What the page has to know of a model, JSON-ready.

    Returns:
        `title`; `recipe`, as `infer` writes into its pictures; shapes; `text_centre`, which embeddings are seen from
        before they are made of unit length; `examples`.
    """
    how = wanted.graphs
    settings = Settings(how.num_inference_steps, how.guidance_scale)
    height, width = pipeline.generator.image_shape
    return {
        "title": pipeline.identity.name if pipeline.identity else "text2latent",
        "recipe": describe(pipeline, settings),
        "guidance_scale": how.guidance_scale,
        "context_length": pipeline.clip.context_length,
        "noise_shape": list(pipeline.prior.latent_shape),
        "image_shape": [pipeline.generator.image_channels, height, width],
        "text_centre": [float(value) for value in pipeline.prior.text_centre],
        "examples": list(wanted.texts),
    }


def _difference(pipeline: Text2LatentPipeline, scratch: Path, wanted: WebExport) -> dict[str, float]:
    """How far what the graphs draw is from what the pipeline draws; refuses graphs that draw something else."""
    name = "web_int8" if wanted.graphs.int8 else WEB
    draw = GraphPipeline(scratch, pipeline, wanted.graphs.guidance_scale)
    return {f"{name}_difference": difference_of(pipeline, name, draw, wanted.texts, wanted.graphs)}


def _write_page(folder: Path, model: dict[str, Any], parts: dict[str, bytes], wanted: WebExport) -> None:
    """Write all but the record; `parts` are the contents of parts of the model by name."""
    with as_file(files(__package__) / "site") as site:
        copytree(site, folder, dirs_exist_ok=True)
    card = Template((folder / CARD).read_text(encoding="utf-8"))
    (folder / CARD).write_text(card.substitute(title=model["title"], license=wanted.license), encoding="utf-8")
    (folder / "runtime").mkdir()
    for name, content in wanted.runtime.files.items():
        if name.endswith(".mjs"):
            (folder / "runtime" / name).write_bytes(content)
    binaries = {name: content for name, content in wanted.runtime.files.items() if not name.endswith(".mjs")}
    listed = dict(_write_parts(folder / "parts", {**parts, **binaries}))
    model = {**model, "devices": DEVICES, "parts": listed, "files": _small_files(folder)}
    (folder / MODEL).write_text(json.dumps(model, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _write_parts(folder: Path, parts: dict[str, bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Gzip contents into files whose names change with them, so that browsers may keep them for ever.

    Yields:
        Name of a part, and its `file` in the web folder and size in `bytes`.
    """
    folder.mkdir()
    for name, content in parts.items():
        packed = gzip.compress(content, mtime=0)
        digest = hashlib.sha256(packed).hexdigest()[:DIGEST_CHARACTERS]
        file = folder / f"{digest}-{name}.gz"
        file.write_bytes(packed)
        yield name, {"file": f"{folder.name}/{file.name}", "bytes": len(packed)}


def _small_files(folder: Path) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    return [name for name in names if not name.startswith("parts/") and name != CARD]
