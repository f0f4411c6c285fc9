"""Weights of a CLIP in a file of any kind, read as data: safetensors, `torch.save` in both layouts, TorchScript.

Checkpoints of training have them in a section, under names with something before them; what else they hold is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from text2latent.common.errors import InputError, one_line
from text2latent.models.clip.torchscript import is_torchscript, read_torchscript
from text2latent.models.generators.formats.pickle_machine import Budget, Globals, PickleError, shown
from text2latent.models.generators.formats.torch_files import (
    ENTRY_BYTES,
    TensorRecord,
    is_torch_file,
    read_torch_objects,
)
from text2latent.models.generators.formats.unpickling import ArrayRecord, load_tensors, map_file, network_globals

SECTIONS = ("state_dict", "model_state_dict", "model", "module", "clip", "net", "ema", "student")
"""Under which names programs keep a model's weights."""
SIGNATURE = "logit_scale"
"""A tensor that all CLIPs have; what is before it in a checkpoint's names is before all of the CLIP's names."""
COMPILED, SPREAD = "_orig_mod.", "module."
"""What `torch.compile` puts into names, and data-parallel training before them."""
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask", "text.attn_mask")
"""What OpenAI's and older files hold besides weights."""
POSITION_IDS = re.compile(r"\.position_ids$")
LONG_POSITIONS, KEPT_POSITIONS = "positional_embedding_res", 20
"""LongCLIP's second table of positions, of which all but the first so many are used, and of the first table those."""
WHOLE_MODEL = re.compile(
    r"global (?!(posix|os|builtins|__builtin__|nt|subprocess|sys|shutil)\.)\w+(\.\w+)*\.[A-Z]\w* is"
)
DICTIONARIES = (
    ("pytorch_lightning.utilities.parsing", "AttributeDict"),
    ("lightning.pytorch.utilities.parsing", "AttributeDict"),
    ("lightning.fabric.utilities.data", "AttributeDict"),
    ("lightning_fabric.utilities.data", "AttributeDict"),
)
"""Dictionaries in which Lightning keeps hyperparameters."""


def read_weights(path: Path, whole: bool = True) -> dict[str, Tensor]:
    """A CLIP's tensors by their plain names, on the CPU: float32, or as a safetensors file has them.

    Args:
        path: the file.
        whole: whether it is known to hold a whole CLIP; else all its tensors are taken, under the names that it has.

    Raises:
        InputError: when the file is damaged, no file of weights, holds none or several CLIPs, or asks for anything
            but tensors and plain containers.
    """
    if path.suffix == ".safetensors" or _is_safetensors(path):
        state = _read_safetensors(path)
        return _cleaned(_below_prefix(state, path) if whole else state)
    if not path.stat().st_size:
        raise InputError(f"{path}: expected weights of a CLIP, the file is empty")
    data = map_file(path)
    try:
        records = _records(path, data, whole)
        section = _below_prefix(records, path) if whole else records
        return _cleaned(load_tensors(section, len(data)))
    except PickleError as error:
        raise InputError(f"{path}: {_told(str(error))}") from error
    except (IndexError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        # Shapes are anyone's data: absurd ones can fail anywhere on their way into a tensor.
        raise InputError(f"{path}: not what a CLIP is made of: {one_line(error)}") from error


def read_shapes(path: Path) -> dict[str, Any]:
    """What has the `shape` of each tensor of a TorchScript archive, without reading the tensors; errors likewise."""
    try:
        records = read_torchscript(path, map_file(path))
    except PickleError as error:
        raise InputError(f"{path}: {_told(str(error))}") from error
    return {name: SimpleNamespace(shape=record.size) for name, record in records.items()}


def _told(message: str) -> str:
    if WHOLE_MODEL.search(message):
        return (
            f"{message}. It is a model saved whole, with its classes: save its state_dict() instead, or let a class "
            "of your own load it (--clip my_package.MyClip)"
        )
    return message


def _is_safetensors(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a complete safetensors file, got: {one_line(error)}") from error


def _records(path: Path, data: memoryview, whole: bool) -> dict[str, Any]:
    """Records of tensors, by name, of the part of a file that is a model's weights."""
    if not is_torch_file(data):
        raise PickleError(
            "expected weights of a CLIP: a safetensors file, a file of torch.save or a TorchScript archive"
        )
    if is_torchscript(path):
        return dict(read_torchscript(path, data))
    value = read_torch_objects(path, data, _checkpoint_globals)
    if not isinstance(value, dict):
        raise PickleError(f"a PyTorch file that holds {shown(value)}: expected a dictionary of weights")
    for section in _sections(value):
        tensors = {str(key): one for key, one in section.items() if isinstance(one, (TensorRecord, ArrayRecord))}
        if any(_is_signature(name) for name in tensors) or (tensors and not whole):
            return tensors
    names = ", ".join(shown(str(name), 40) for name in list(value)[:3])
    raise PickleError(f"expected a CLIP's weights, with a {SIGNATURE} among them; it holds {names or 'nothing'}")


def _sections(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in SECTIONS:
        if isinstance(value.get(name), dict):
            yield from _sections(value[name])
    yield value


def _checkpoint_globals(budget: Budget) -> Globals:
    """The allow-list of networks, and containers that training programs put beside weights."""

    def dictionary(*arguments: Any) -> dict[str, Any]:
        budget.spend(ENTRY_BYTES * len(arguments))
        return {}

    known = {**network_globals(budget), ("collections", "defaultdict"): dictionary}
    known |= dict.fromkeys(DICTIONARIES, dictionary)
    known |= {
        (module, name): _text for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")
    }
    return {**known, **{("builtins", name): None for name in ("dict", "list", "int", "float")}}


def _text(*parts: Any) -> str:
    return "/".join(map(str, parts))


def _is_signature(name: str) -> bool:
    return name == SIGNATURE or name.endswith(f".{SIGNATURE}")


def _below_prefix(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """What lies below the name under which a checkpoint has its CLIP.

    Raises:
        InputError: when there are several CLIPs.
    """
    plain = {_without_wrappers(name): value for name, value in state.items()}
    prefixes = sorted({name.removesuffix(SIGNATURE) for name in plain if _is_signature(name)}, key=_length)
    if not prefixes or prefixes[0] == "":
        return plain
    if len(prefixes) > 1:
        names = ", ".join(shown(prefix, 40) for prefix in prefixes[:4])
        raise InputError(f"{path}: expected the weights of one CLIP, it holds several, below {names}: save one alone")
    return {name[len(prefixes[0]) :]: value for name, value in plain.items() if name.startswith(prefixes[0])}


def _length(prefix: str) -> tuple[int, str]:
    return len(prefix), prefix


def _without_wrappers(name: str) -> str:
    name = name.replace(COMPILED, "")
    while name.startswith(SPREAD):
        name = name[len(SPREAD) :]
    return name


def _cleaned(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights alone, with LongCLIP's two tables of positions as the one that its network uses."""
    kept = {name: value for name, value in state.items() if name not in NOT_WEIGHTS and not POSITION_IDS.search(name)}
    late = kept.pop(LONG_POSITIONS, None)
    if late is not None and "positional_embedding" in kept and late.shape == kept["positional_embedding"].shape:
        early = kept["positional_embedding"]
        kept["positional_embedding"] = torch.cat([early[:KEPT_POSITIONS], late[KEPT_POSITIONS:]])
    elif late is not None:
        kept[LONG_POSITIONS] = late
    return kept
