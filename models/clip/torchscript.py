"""TorchScript archives, as OpenAI published its CLIPs: their tensors by name, and what their programs say, unrun."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from text2latent.models.generators.formats.pickle_machine import Budget, Globals, PickleError
from text2latent.models.generators.formats.torch_files import TensorRecord, read_torch_objects
from text2latent.models.generators.formats.unpickling import network_globals

CLASSES = "__torch__"
"""Module of all classes of an archive's program; none is looked up."""
TAGS = "torch.jit._pickle"
MAX_DEPTH, MAX_MODULES = 32, 100_000
MAX_PROGRAM_BYTES = 8 << 20
PROGRAM = re.compile(r"[^/]+/code/.+\.py")


class ScriptModule:
    """A module of an archive: its attributes, of which some are modules or tensors."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def set_state(self, state: Any) -> None:
        """Take the attributes; TypeError for anything but a dictionary of them."""
        if not isinstance(state, dict):
            raise TypeError("expected a dictionary")
        self.attributes = state


class _ScriptGlobals(Mapping[tuple[str, str], Any]):
    """What networks' files may name, and the classes of an archive's own program, with a record in their place."""

    def __init__(self, known: Globals) -> None:
        plain = {(TAGS, "restore_type_tag"): lambda value, *_: value, (TAGS, "build_intlist"): lambda value: value}
        self._known = {**known, **plain}

    def __getitem__(self, key: tuple[str, str]) -> Any:
        is_class = key[0].split(".")[0] == CLASSES and all(part.isidentifier() for part in key[0].split("."))
        return ScriptModule if is_class and key[1].isidentifier() else self._known[key]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of `torch.jit.save`."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return {"data.pkl", "constants.pkl"} <= names


def read_torchscript(path: Path, data: memoryview) -> dict[str, TensorRecord]:
    """Records of an archive's tensors, by the names that its `state_dict()` would give.

    Raises:
        PickleError: when it is damaged, names anything but its own classes and tensors, or has modules without end.
    """
    root = read_torch_objects(path, data, _globals)
    if not isinstance(root, ScriptModule):
        raise PickleError("expected a module in a TorchScript archive, it holds something else")
    return dict(_tensors(root))


def _globals(budget: Budget) -> Globals:
    return _ScriptGlobals(network_globals(budget))


def _tensors(root: ScriptModule) -> Iterator[tuple[str, TensorRecord]]:
    waiting, seen = [("", root, 0)], 0
    while waiting:
        prefix, module, depth = waiting.pop()
        seen += 1
        if seen > MAX_MODULES or depth > MAX_DEPTH:
            raise PickleError("a TorchScript archive with modules in modules without end")
        for name, value in module.attributes.items():
            if isinstance(value, ScriptModule):
                waiting.append((f"{prefix}{name}.", value, depth + 1))
            elif isinstance(value, TensorRecord):
                yield f"{prefix}{name}", value


def uses_quick_gelu(path: Path) -> bool | None:
    """Whether an archive's program has QuickGELU, x times a sigmoid of it, or GELU; None where it has neither or both.

    The program is read as text, to a limit, and not run.
    """
    with zipfile.ZipFile(path) as archive:
        programs = [info for info in archive.infolist() if PROGRAM.fullmatch(info.filename)]
        text, left = "", MAX_PROGRAM_BYTES
        for info in programs:
            with archive.open(info) as file:
                part = file.read(max(0, left))
            left -= len(part)
            text += part.decode("utf-8", "replace")
    quick, plain = "torch.sigmoid(" in text, "torch.gelu(" in text
    return quick if quick != plain else None
