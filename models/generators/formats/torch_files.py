"""Files and byte strings that `torch.save` wrote, read as data.

Our own machine runs the pickles inside, so that a global that isn't about tensors is named, and no tensor may claim
more than the file holds. Both layouts are known: the zip of PyTorch 1.6 and later, and the stream of pickles
and raw bytes of earlier versions, which storages inside of other pickles still have.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from text2latent.models.generators.formats.pickle_machine import (
    Budget,
    Globals,
    PickleError,
    PickleMachine,
    plain_key,
    shown,
)

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
MAGIC_PREFIX = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
ZIP_PREFIX = b"PK\x03\x04"
ZIP_HEADER_BYTES, ZIP_LENGTHS = 30, 26
"""Size of a member's local header, and where in it the lengths of its name and of its extra field are."""
MEMBERS, STORAGES = ("data.pkl", "byteorder"), "data/"
"""What is read of a zip: the others, such as the program of a TorchScript archive, are left alone."""
MAX_DIMENSIONS = 8
ENTRY_BYTES = 128

DTYPES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(eq=False)
class StorageRecord:
    """A storage of `numel` elements.

    It lies in `data`, a stream of `torch.save`, or is the bytes `raw`; both are None where it lies elsewhere.
    """

    dtype: torch.dtype
    numel: int
    data: memoryview | None = None
    raw: memoryview | None = None

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


@dataclass(eq=False)
class TensorRecord:
    """A tensor as a pickle describes it: a view of a storage."""

    storage: StorageRecord
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.size) * self.storage.dtype.itemsize

    def load(self) -> Tensor:
        """The tensor, on the CPU.

        Raises:
            PickleError: when PyTorch refuses the storage.
        """
        if not self.storage.numel:
            return torch.empty(self.size, dtype=self.storage.dtype)
        if self.storage.raw is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that the buffer is not writable, as the copy is
                values = torch.frombuffer(self.storage.raw, dtype=self.storage.dtype)
            return values.as_strided(self.size, self.stride, self.offset).clone()
        assert self.storage.data is not None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that typed storages are deprecated
                storage = torch.load(io.BytesIO(self.storage.data), map_location="cpu", weights_only=True)
                return torch.empty(0, dtype=self.storage.dtype).set_(storage, self.offset, self.size, self.stride)
        except Exception as error:
            # A damaged storage raises many kinds; with weights_only none of its code has run.
            raise PickleError(f"a tensor that PyTorch cannot read: {shown(error, 200)}") from error


class Attributes:
    """Stand-in for an `argparse.Namespace`, the settings of a training run; they are not used."""

    def set_state(self, state: Any) -> None:
        """Drop the attributes."""


def rebuild_tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> TensorRecord:
    """In place of `torch._utils._rebuild_tensor_v2`: the tensor's description, once it is known to fit its storage.

    Raises:
        PickleError: when it reaches beyond its storage or repeats elements.
    """
    if not isinstance(storage, StorageRecord) or not len(size) == len(stride) <= MAX_DIMENSIONS:
        raise PickleError("a tensor without a storage, or of a shape that is none")
    if not all(isinstance(number, int) and number >= 0 for number in (offset, *size, *stride)):
        raise PickleError("a tensor whose shape, stride or offset is no natural number")
    numel = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if numel > storage.numel or (numel and last >= storage.numel):
        raise PickleError(f"a tensor of shape {list(size)}: its storage holds only {storage.numel} elements")
    return TensorRecord(storage, offset, tuple(size), tuple(stride))


def rebuild_parameter(data: Any, *_: Any) -> TensorRecord:
    """In place of `torch._utils._rebuild_parameter`: the description of its tensor."""
    if not isinstance(data, TensorRecord):
        raise PickleError(f"a parameter made of {shown(data)}: expected a tensor")
    return data


def tensor_globals(budget: Budget) -> Globals:
    """The globals that tensors and containers of them need, under their names in all versions of PyTorch."""

    def ordered_dict(pairs: list[tuple[str, Any]] | None = None) -> dict[str, Any]:
        budget.spend(ENTRY_BYTES * len(pairs or ()))
        return {plain_key(key): value for key, value in pairs or ()}

    def size(lengths: tuple[int, ...] = ()) -> tuple[int, ...]:
        budget.spend(ENTRY_BYTES * len(lengths))
        return tuple(lengths)

    known: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): ordered_dict,
        ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter,
        ("torch", "Size"): size,
        ("torch", "device"): lambda *_: None,
    }
    for module in ("torch", "torch._C", "torch.storage"):
        known |= {(module, name): None for name in DTYPES}
    known |= {("torch", str(dtype).removeprefix("torch.")): None for dtype in DTYPES.values()}
    return known


class _Storages:
    """The storages that a stream or zip refers to by persistent ids, by key."""

    def __init__(self) -> None:
        self.records: dict[str, StorageRecord] = {}

    def __call__(self, identifier: Any) -> Any:
        """The storage of an id `("storage", type, key, device, numel[, view])`.

        The id `("module", class, file, source)`, under which old streams have a network's class, is that class's
        name; the source stays a text that nobody reads.
        """
        if isinstance(identifier, tuple) and identifier[:1] == ("module",):
            return identifier[1]
        kind, storage_type, key, _, numel, *view = identifier
        name = getattr(storage_type, "name", None)
        if kind != "storage" or name not in DTYPES or not isinstance(numel, int) or numel < 0 or any(view):
            raise PickleError(f"a storage that is none of {', '.join(DTYPES)}")
        return self.records.setdefault(str(key), StorageRecord(DTYPES[name], numel))


def check_stream(data: memoryview, budget: Budget, known: Globals | None = None) -> Any:
    """Check what `torch.save` wrote without a zip, and return its value, with records in place of tensors.

    Raises:
        PickleError: when it isn't one, holds anything but plain values, or is shorter than its storages.
    """
    storages = _Storages()
    machine = PickleMachine(data, {}, budget)
    if machine.load() != MAGIC_NUMBER or machine.load() != PROTOCOL_VERSION:
        raise PickleError("not what torch.save writes: its magic number is missing")
    system = machine.load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleError("expected a file of a little-endian machine")
    machine = PickleMachine(data, known or tensor_globals(budget), budget, storages, machine.position)
    value, keys = machine.load(), machine.load()
    if not isinstance(keys, list) or set(map(str, keys)) != set(storages.records) or len(keys) != len(set(keys)):
        raise PickleError("damaged: its list of storages is not that of its tensors")
    needed = sum(8 + record.nbytes for record in storages.records.values())
    if needed > len(data) - machine.position:
        raise PickleError(f"truncated: its tensors claim {needed} bytes, {len(data) - machine.position} follow")
    position = machine.position
    for record in map(storages.records.__getitem__, map(str, keys)):
        record.raw = data[position + 8 : position + 8 + record.nbytes]
        position += 8 + record.nbytes
    return value


def load_storage(data: Any, budget: Budget) -> StorageRecord:
    """In place of `torch.storage._load_from_bytes`: the storage that lies in a checked byte string."""
    if not isinstance(data, (bytes, memoryview)):
        raise PickleError(f"a storage made of {shown(data)}: expected bytes")
    view = memoryview(data)
    record = check_stream(view, budget)
    if not isinstance(record, StorageRecord):
        raise PickleError(f"a storage that holds {shown(record)}: expected one storage")
    return StorageRecord(record.dtype, record.numel, view)


def _read_zip(path: Path, data: memoryview, budget: Budget, known: Globals) -> Any:
    """Check the zip layout of `torch.save`: stored uncompressed, a pickle and the storages that it names.

    Returns its value, with records in place of tensors, whose bytes are views of the file.
    """
    with zipfile.ZipFile(path) as archive:
        names = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        files = {name: info for name, info in names.items() if name in MEMBERS or name.startswith(STORAGES)}
        packed = [info.filename for info in files.values() if info.compress_type != zipfile.ZIP_STORED]
        if "data.pkl" not in files:
            raise PickleError("a zip without the data.pkl of a PyTorch file")
        if packed or sum(info.file_size for info in files.values()) > len(data):
            raise PickleError(f"a zip whose files are compressed or overlap: {shown((packed or ['data.pkl'])[0])}")
        if "byteorder" in files and archive.read(files["byteorder"]) != b"little":
            raise PickleError("expected a file of a little-endian machine")
        pickled = memoryview(archive.read(files["data.pkl"]))
    storages = _Storages()
    value = PickleMachine(pickled, known, budget, storages).load()
    for key, record in storages.records.items():
        held = files[f"data/{key}"].file_size if f"data/{key}" in files else 0
        if record.nbytes > held:
            raise PickleError(f"truncated: storage {shown(key)} claims {record.nbytes} bytes, the file holds {held}")
        if record.nbytes:
            record.raw = _member(data, files[f"data/{key}"])[: record.nbytes]
    return value


def _member(data: memoryview, info: zipfile.ZipInfo) -> memoryview:
    """The bytes of an uncompressed member, which follow its own header, its name and what else is said of it."""
    name_bytes, extra_bytes = struct.unpack_from("<HH", data, info.header_offset + ZIP_LENGTHS)
    start = info.header_offset + ZIP_HEADER_BYTES + name_bytes + extra_bytes
    if start + info.file_size > len(data):
        raise PickleError(f"truncated: {shown(info.filename)} ends beyond the file")
    return data[start : start + info.file_size]


def is_torch_file(data: memoryview) -> bool:
    """Whether a file begins as `torch.save` lets it begin, or as any other zip."""
    return bytes(data[: len(ZIP_PREFIX)]) == ZIP_PREFIX or bytes(data[: len(MAGIC_PREFIX)]) == MAGIC_PREFIX


def read_torch_objects(path: Path, data: memoryview, known: Callable[[Budget], Globals] = tensor_globals) -> Any:
    """What `torch.save` wrote, with our own functions in place of the classes that it names.

    Args:
        known: the names that may occur and what stands in for them, given the budget that they have to keep to.

    Returns:
        The value, with `TensorRecord`s in place of tensors.

    Raises:
        PickleError: when it is damaged, or names anything else.
    """
    budget = Budget(len(data))
    if bytes(data[: len(ZIP_PREFIX)]) != ZIP_PREFIX:
        return check_stream(data, budget, known(budget))
    try:
        return _read_zip(path, data, budget, known(budget))
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        struct.error,
    ) as error:
        # NotImplementedError and RuntimeError: of encrypted members, and of those packed in an unknown way.
        raise PickleError(f"a PyTorch file that cannot be read: {shown(error, 200)}") from error
