"""Prompts without images to them, which show where texts are in CLIP's space: files of them, and general ones."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from text2latent.common.errors import InputError
from text2latent.models.clip.files import own_prompts

if TYPE_CHECKING:
    from torch import Tensor

    from text2latent.models.clip.encoder import ClipEncoder

PACKAGED = Path(__file__).parents[1] / "configs" / "prompts"
GENERAL = PACKAGED / "general.yaml"
AUTO = "auto"
LANGUAGES = ("en", "ja")
KNOWN_SHARE = 0.2
"""Share of words that a CLIP which knows a language finds among their translations; by chance it would be 0.002."""


def embed_prompts(clip: ClipEncoder, name: str) -> Tensor:
    """Embeddings of the prompts that show where a CLIP's texts lie.

    They are made anew each time, in seconds: what is kept of them, in a prior's folder, is their mean.

    Args:
        clip: the encoder.
        name: as `read_prompt_list` takes it; or `auto`, which is the list that lies in the CLIP's folder, as in the
            zoo's, and else the package's general prompts, in those of their languages that the CLIP knows.

    Returns:
        `[M, E]`, L2-normalised.

    Raises:
        InputError: when there is no such file, it isn't UTF-8 text, or has no prompts.
    """
    if name != AUTO:
        return clip.encode_text(read_prompt_list(name))
    own = None if clip.identity is None else own_prompts(clip.identity.source)
    return _embed_general(clip) if own is None else clip.encode_text(read_prompt_list(str(own)))


def _embed_general(clip: ClipEncoder) -> Tensor:
    """The English texts, and the Japanese ones if CLIP finds enough Japanese words among their translations.

    To a CLIP that knows only English all Japanese lies in a place of its own, where no prompt for it will be.
    """
    import torch

    english, japanese = (clip.encode_text(texts) for texts in general_prompts().values())
    num_words = len(english) // 2
    nearest = (japanese[:num_words] @ english[:num_words].T).argmax(dim=1).cpu()
    share = float((nearest == torch.arange(num_words)).float().mean())
    return torch.cat([english, japanese]) if share >= KNOWN_SHARE else english


def general_prompts() -> dict[str, list[str]]:
    """The package's own short texts of all kinds, by language, `en` and `ja`.

    The first half of each language's are its words alone, with the same meanings in the same order as in the other; the
    second half is each word in a template.
    """
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
