"""Files of prompts without images to them, which tell where texts are in CLIP's space."""

from __future__ import annotations

from pathlib import Path

from text2latent.configs.errors import InputError

PACKAGED = Path(__file__).parents[1] / "configs" / "prompts"


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
