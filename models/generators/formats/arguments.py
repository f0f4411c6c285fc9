"""Arguments of a network in a file of the user's, for files of weights that don't say or show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from text2latent.common.errors import InputError, one_line

FLAG = "--generator-args"
PLAIN = (str, int, float, bool, type(None))


def read_arguments(path: str | Path, flag: str = FLAG, example: str = "conv_clamp: 256") -> dict[str, Any]:
    """Names and values of a YAML or JSON file.

    Args:
        path: the file.
        flag: that names it, for messages.
        example: a line of such a file, likewise.

    Raises:
        InputError: when it cannot be read or holds anything but names with plain values or lists of them.
    """
    import yaml

    expected = f"{flag}: {path}: expected a YAML or JSON file of arguments, such as {example}"
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{expected}: {one_line(error)}") from error
    if not isinstance(tree, dict) or not tree or not all(isinstance(name, str) for name in tree):
        raise InputError(expected)
    for name, value in tree.items():
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, PLAIN) for item in items):
            raise InputError(f"{flag}: {path}: {name}: expected a plain value or a list of them")
    return tree
