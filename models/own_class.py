"""Classes of a user's own, by a class path such as `my_package.MyGenerator`: imported, made, and told from another."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from text2latent.common.errors import InputError, UsageError, named_line, one_line
from text2latent.models.sources import zoo

CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
FILE_SUFFIXES = frozenset(
    (".pkl", ".pt", ".pth", ".ckpt", ".yaml", ".yml", ".safetensors", ".zip", ".bin", ".tar", ".npz")
)
YAML_SUFFIXES = (".yaml", ".yml")
KEYS = ("class_path", "init_args")
Own = TypeVar("Own", bound=nn.Module)


def is_class_path(source: str) -> bool:
    """Whether a source reads as a class path: dotted names, neither of the zoo nor of a file or folder that exists."""
    named = CLASS_PATH.fullmatch(source) is not None and Path(source).suffix.lower() not in FILE_SUFFIXES
    return named and not zoo.is_zoo_name(source) and not Path(source).exists()


def read_class_file(path: Path, part: str) -> dict[str, Any]:
    """The mapping `{class_path: ..., init_args: {...}}` of a YAML file.

    Raises:
        InputError: when it cannot be read or holds something else.
    """
    import yaml

    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: expected a YAML file: {one_line(error)}") from error
    if not isinstance(tree, dict) or "class_path" not in tree:
        raise InputError(f"{path}: expected the keys class_path and init_args of a {part}")
    return tree


def check_spec(spec: Mapping[str, Any], part: str) -> tuple[str, dict[str, Any]]:
    """Class path and arguments of a mapping; `part` is what is made, `generator` or `clip`.

    Raises:
        UsageError: for other keys and for values of other types.
    """
    unknown = sorted(set(map(str, spec)) - set(KEYS))
    class_path, init_args = spec.get("class_path"), spec.get("init_args") or {}
    if unknown:
        raise UsageError(f"{part}: {unknown[0]}: expected the keys {' and '.join(KEYS)}")
    if not isinstance(class_path, str) or not CLASS_PATH.fullmatch(class_path):
        raise UsageError(f"{part}: class_path: expected one such as my_package.MyGenerator, got {class_path!r}")
    if not isinstance(init_args, Mapping):
        raise UsageError(f"{part}: init_args: expected keys and values, got {init_args!r}")
    return class_path, dict(init_args)


def refuse_import(class_path: str, part: str) -> InputError:
    """What is raised where a file names a class, and not the user."""
    return InputError(
        f"{part}: made with the class {class_path}, which is imported only when you name it yourself; "
        f"expected --{part} {class_path}"
    )


def import_class(class_path: str, base: type[Own], part: str) -> type[Own]:
    """The class of a path, a subclass of `base`.

    Raises:
        UsageError: when there is no such module or class.
        InputError: when its module fails.
    """
    module_name, _, name = class_path.rpartition(".")
    root = module_name.partition(".")[0]
    if importlib.util.find_spec(root) is None:
        raise UsageError(
            f"--{part} {class_path}: no module {root}; expected a name of the zoo, a file, a folder, an address, or "
            "a class in a module that is installed or on PYTHONPATH"
        )
    try:
        cls = getattr(importlib.import_module(module_name), name, None)
    except Exception as error:
        # Whatever the user's own module raises.
        raise InputError(f"--{part} {class_path}: cannot be imported: {describe(error)}") from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UsageError(f"--{part} {class_path}: expected a subclass of text2latent's {base.__name__}")
    return cls


def construct(cls: type[Own], class_path: str, init_args: Mapping[str, Any], part: str) -> Own:
    """An object of a class, in evaluation mode, without gradients to its weights.

    Raises:
        UsageError: for arguments that it doesn't take.
        InputError: when its constructor fails.
    """
    try:
        inspect.signature(cls).bind(**init_args)
    except TypeError as error:
        raise UsageError(f"--{part} {class_path}: init_args: {error}") from error
    try:
        return cls(**init_args).eval().requires_grad_(False)
    except InputError:
        raise
    except Exception as error:
        # Whatever the user's own code raises.
        raise InputError(f"--{part} {class_path}: its constructor failed: {describe(error)}") from error


def describe(error: Exception) -> str:
    """What a user's own code raised, on one line."""
    return one_line(error) if isinstance(error, InputError) else named_line(error)


def digest(module: nn.Module, class_path: str, init_args: Mapping[str, Any]) -> str:
    """SHA-256 over the class path, the constructor's arguments and all tensors of a module's state."""
    found = hashlib.sha256(json.dumps([class_path, init_args], sort_keys=True, default=str).encode())
    for name, value in sorted(module.state_dict().items()):
        found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
