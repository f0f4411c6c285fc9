"""Lists of prompts that show where a CLIP's texts lie in its space; their embeddings are kept for the next time."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.common.errors import InputError
from text2latent.common.files import replacing
from text2latent.models.sources.fetching import cache_folder

if TYPE_CHECKING:
    from torch import Tensor

    from text2latent.models.clip.encoder import ClipEncoder

PACKAGED = Path(__file__).parents[1] / "configs" / "prompts"
GENERAL = PACKAGED / "general.yaml"
AUTO = "auto"
LANGUAGES = ("en", "ja")
WORDS_PER_QUESTION = 4
"""To find out whether a CLIP knows a language, one word of so many is asked for."""
KNOWN_SHARE = 0.2
"""Share of them that it finds among their translations if so; by chance it would be 0.007."""
KEPT = "embeddings"
"""Name of the one tensor in a file that is kept."""
SAME = 1e-3
"""Most that a coordinate of the same text's embedding differs in another precision or on another device."""


def embed_prompt_list(clip: ClipEncoder, name: str) -> Tensor:
    """Embeddings of the prompts that show where a CLIP's texts lie.

    They are made once, in seconds, and kept in `cache_folder()` under the identity of the CLIP, for the next training.

    Args:
        name: as `read_prompt_list` takes it; or `auto`, which is the list that lies in the CLIP's folder, as in the
            zoo's, and else the package's general prompts, in those of their languages that the CLIP knows.

    Returns:
        `[M, E]`, L2-normalised.

    Raises:
        InputError: when there is no such file, it isn't UTF-8 text, or has no prompts.
    """
    if name != AUTO:
        return _embed_by_length(clip, read_prompt_list(name))
    own = clip.own_prompts
    return _embed_general(clip) if own is None else _embed_by_length(clip, read_prompt_list(str(own)))


def _embed_general(clip: ClipEncoder) -> Tensor:
    """The English texts, and the Japanese ones if CLIP finds enough Japanese words among their translations.

    To a CLIP that knows only English all Japanese lies in a place of its own, where no prompt for it will be.
    """
    english, japanese = general_prompts().values()
    return _embed_by_length(clip, [*english, *japanese] if _knows_japanese(clip) else english)


def _knows_japanese(clip: ClipEncoder) -> bool:
    """Whether CLIP finds enough of some Japanese words among their English translations."""
    words = [texts[: len(texts) // 2 : WORDS_PER_QUESTION] for texts in general_prompts().values()]
    english, japanese = (clip.encode_text(part) for part in words)
    nearest = (japanese @ english.T).argmax(dim=1).tolist()
    return sum(row == found for row, found in enumerate(nearest)) >= KNOWN_SHARE * len(nearest)


def _embed_by_length(clip: ClipEncoder, texts: Sequence[str]) -> Tensor:
    """Embeddings `[N, E]` of texts, the short ones first: a batch costs what its longest text does."""
    texts = sorted(texts, key=len)
    file = _kept_file(clip, texts)
    kept = None if file is None else _read_kept(file, len(texts))
    # Nothing else than what this CLIP gives is taken, whatever lies in the cache.
    if kept is not None and _is_near(kept[:1], clip.encode_text(texts[:1]).cpu()):
        return kept
    embeddings = clip.encode_text(texts).cpu()
    if file is not None:
        _keep(file, embeddings)
    return embeddings


def _kept_file(clip: ClipEncoder, texts: Sequence[str]) -> Path | None:
    """Where the embeddings of texts are kept, which all of them and the CLIP's identity decide."""
    if clip.identity is None:
        return None
    identity = [clip.identity.sha256, *itertools.chain(*sorted(clip.identity.settings.items()))]
    digest = hashlib.sha256("\0".join([*identity, *texts]).encode()).hexdigest()
    return cache_folder() / "prompts" / f"{digest}.safetensors"


def _read_kept(file: Path, count: int) -> Tensor | None:
    """The embeddings `[count, E]` in a file, if there is such a file and it holds them."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        kept = load_file(file)[KEPT]
    except (SafetensorError, OSError, KeyError):
        return None
    return kept.float() if kept.ndim == 2 and len(kept) == count and bool(kept.isfinite().all()) else None


def _is_near(kept: Tensor, embeddings: Tensor) -> bool:
    return kept.shape == embeddings.shape and bool((kept - embeddings).abs().max() < SAME)


def _keep(file: Path, embeddings: Tensor) -> None:
    """Write embeddings into a file; a cache that can't be written is done without."""
    from safetensors.torch import save_file

    try:
        with replacing(file) as partial:
            save_file({KEPT: embeddings.cpu().contiguous()}, partial)
    except OSError:
        return


def general_prompts() -> dict[str, list[str]]:
    """The package's own short texts of all kinds, by language, `en` and `ja`.

    The first half of each language's are its words alone, with the same meanings in the same order as in the other; the
    second half is each word in a template.
    """
    import yaml

    kinds: dict[str, Any] = yaml.safe_load(GENERAL.read_text(encoding="utf-8"))
    texts: dict[str, list[str]] = {}
    for column, language in enumerate(LANGUAGES):
        alone, placed = [], []
        for kind in kinds.values():
            words = [pair[column] for pair in kind["words"].items()]
            alone += words
            templates = cycle(kind["templates"][language])
            placed += [template.format(word) for word, template in zip(words, templates, strict=False)]
        texts[language] = alone + placed
    return texts


def read_prompt_list(name: str) -> list[str]:
    """The lines of a text file that aren't blank, without those that begin with `#`.

    Args:
        name: the file; where there is none of that name, one in the package's `configs/prompts`, with or without .txt.

    Raises:
        InputError: when there is no such file, it isn't UTF-8 text, or has no prompts.
    """
    candidates = [Path(name), PACKAGED / name, PACKAGED / f"{name}.txt"]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise InputError(f"prompts {name}: expected a text file, here or in {PACKAGED}")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected UTF-8 text: {error}") from error
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise InputError(f"{path}: expected prompts, a line each, found none")
    return prompts
