"""Pickles of networks and of their weights, read without running or importing anything that they name.

The allow-list holds what tensors, arrays and containers need, under the names of all versions of Python, NumPy and
PyTorch that wrote such files. Networks become records of their class name and state: the Python source that the files
embed stays a text that nobody reads.
"""

from __future__ import annotations

import mmap
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.models.generators.formats.pickle_machine import (
    Budget,
    Globals,
    PickleError,
    PickleMachine,
    plain_key,
    shown,
)
from text2latent.models.generators.formats.torch_files import (
    ENTRY_BYTES,
    Attributes,
    TensorRecord,
    load_storage,
    tensor_globals,
)

DTYPE_NAME = re.compile(r"[<=|]?(b1|[iu][1248]|f[248])")
MAX_ARRAY_DIMENSIONS = 8
FIRST_OPCODES = (pickle.PROTO, pickle.GLOBAL, pickle.MARK, pickle.EMPTY_DICT, pickle.EMPTY_LIST)


@dataclass(eq=False)
class PersistentObject:
    """An object that `torch_utils.persistence` wrote, such as a network or one of its layers.

    Attributes:
        class_name: such as `Generator`; the class itself is never looked up.
        state: its attributes, of which `_parameters`, `_buffers` and `_modules` make up a network.
    """

    class_name: str
    state: dict[str, Any]


@dataclass(eq=False)
class TensorFlowNetwork:
    """A `dnnlib.tflib.network.Network`: `state` has `version`, `static_kwargs`, `components` and `variables`."""

    state: dict[str, Any] = field(default_factory=dict)

    def set_state(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise TypeError("expected a dictionary")
        self.state = state


@dataclass(eq=False)
class DataType:
    """A NumPy dtype of plain numbers."""

    dtype: np.dtype[Any]

    def set_state(self, state: Any) -> None:
        """Take the byte order, the second item; the others are of dtypes that aren't plain numbers."""
        order = state[1]
        if order not in ("<", "|", "="):
            raise ValueError("expected little-endian numbers")


@dataclass(eq=False)
class ArrayRecord:
    """A NumPy array: `values` is a view of the file."""

    values: NDArray[Any]

    def set_state(self, state: Any) -> None:
        """Take `(version, shape, dtype, is_fortran, data)`, as `ndarray.__setstate__` does."""
        _, shape, dtype, is_fortran, data = state
        self.values = view_array(data, dtype, shape, "F" if is_fortran else "C")

    @property
    def nbytes(self) -> int:
        return int(self.values.nbytes)

    def load(self) -> Tensor:
        return torch.from_numpy(np.array(self.values, order="C"))


def view_array(data: Any, dtype: Any, shape: Any, order: str = "C") -> NDArray[Any]:
    """Array of a shape over bytes that are exactly as long as it needs; raises TypeError or ValueError otherwise."""
    if (
        not isinstance(data, (bytes, memoryview))
        or not isinstance(dtype, DataType)
        or len(shape) > MAX_ARRAY_DIMENSIONS
    ):
        raise TypeError("expected bytes, a dtype and a shape")
    flat = np.frombuffer(data, dtype.dtype) if len(data) else np.empty(0, dtype.dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _data_type(name: Any, *_: Any) -> DataType:
    if not isinstance(name, str) or not DTYPE_NAME.fullmatch(name):
        raise ValueError(f"dtype {shown(name)}: expected plain numbers")
    return DataType(np.dtype(name))


def _scalar(dtype: Any, data: Any) -> Any:
    return view_array(data, dtype, ()).item()


def _empty_array(*_: Any) -> ArrayRecord:
    return ArrayRecord(np.empty(0))


def _array_of_buffer(data: Any, dtype: Any, shape: Any, order: str = "C") -> ArrayRecord:
    return ArrayRecord(view_array(data, dtype, shape, order))


def _persistent_object(meta: Any) -> PersistentObject:
    if not isinstance(meta, dict) or meta.get("type") != "class" or not isinstance(meta.get("state"), dict):
        raise ValueError("expected the description of a class and its state")
    return PersistentObject(str(meta.get("class_name")), meta["state"])


def network_globals(budget: Budget) -> Globals:
    """The allow-list of network pickles, with our own functions in place of what it names."""

    def encode(text: str, encoding: str = "latin1") -> bytes:
        budget.spend(len(text))
        if encoding not in ("latin1", "latin-1"):
            raise ValueError(f"encoding {shown(encoding)}: expected latin1")
        return text.encode("latin-1")

    def make_set(items: list[Any] | tuple[Any, ...] = ()) -> set[Any]:
        budget.spend(ENTRY_BYTES * len(items))
        return {plain_key(item) for item in items}

    known: dict[tuple[str, str], Any] = {
        **tensor_globals(budget),
        ("torch.storage", "_load_from_bytes"): lambda data: load_storage(data, budget),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent_object,
        ("dnnlib.tflib.network", "Network"): TensorFlowNetwork,
        ("dnnlib.util", "EasyDict"): dict[str, Any],
        ("dnnlib", "EasyDict"): dict[str, Any],
        ("argparse", "Namespace"): Attributes,
        ("_codecs", "encode"): encode,
        ("numpy", "dtype"): _data_type,
        ("numpy", "ndarray"): None,
    }
    for package in ("numpy.core", "numpy._core"):
        known[f"{package}.multiarray", "scalar"] = _scalar
        known[f"{package}.multiarray", "_reconstruct"] = _empty_array
        known[f"{package}.numeric", "_frombuffer"] = _array_of_buffer
    for builtins in ("builtins", "__builtin__"):
        known[builtins, "set"] = make_set
        known[builtins, "bytes"] = lambda: b""
    return known


def is_pickle(data: memoryview) -> bool:
    """Whether bytes begin as a pickle: of protocol 2 or later, or with a global or container of an earlier one."""
    return bytes(data[:1]) in FIRST_OPCODES


def read_pickle(data: memoryview) -> Any:
    """The value of a network pickle, with records in place of networks, tensors and arrays.

    Raises:
        PickleError: when it is damaged, claims more than it holds, or names anything that isn't in the allow-list.
    """
    budget = Budget(len(data))
    return PickleMachine(data, network_globals(budget), budget).load()


def load_tensors(records: Mapping[str, TensorRecord | ArrayRecord], file_bytes: int) -> dict[str, Tensor]:
    """Tensors of records, float32 on the CPU.

    Raises:
        PickleError: when they add up to more than the file holds, as tensors do that share their bytes.
    """
    total = sum(record.nbytes for record in records.values())
    if total > file_bytes:
        raise PickleError(f"its tensors claim {total} bytes, the file has {file_bytes}")
    return {name: record.load().float() for name, record in records.items()}


def load_section(section: Any, file_bytes: int, what: str) -> dict[str, Tensor]:
    """Tensors of a dictionary of records, as `load_tensors`; `what` names it in messages.

    Raises:
        PickleError: for anything but a dictionary of tensors, and as `load_tensors`.
    """
    if not isinstance(section, dict):
        raise PickleError(f"{what}: expected a dictionary of tensors, got {shown(section)}")
    wrong = [key for key, value in section.items() if not isinstance(value, (TensorRecord, ArrayRecord))]
    if wrong:
        raise PickleError(f"{what}: {shown(wrong[0])}: expected a tensor, got {shown(section[wrong[0]])}")
    return load_tensors({str(key): value for key, value in section.items()}, file_bytes)


def map_file(path: Path) -> memoryview:
    """The bytes of a file, read as they are used.

    Raises:
        InputError: when it is empty or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError as error:
        raise InputError(f"{path}: expected a generator, the file is empty") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
