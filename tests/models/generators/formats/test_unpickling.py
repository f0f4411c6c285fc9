"""Hostile files: no code is run, nothing hangs, little memory is taken, and the error is one line.

All are loaded by one process with a limited address space, where any success or crash would show.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

DATA = Path(__file__).parents[3] / "data" / "generators"
PROTO = b"\x80\x04"
CODE = "import pathlib; pathlib.Path('CANARY').touch()"
EXTRA_BYTES = 512 << 20
SECONDS = 20

LOADER = """
import json, re, resource, sys, time, warnings
warnings.simplefilter("error")
from pathlib import Path
from text2latent.common.errors import InputError
{loading}
used = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + {room}, used + {room}))
for path in sorted(Path("files").iterdir()):
    started = time.perf_counter()
    try:
        load(path)
        result = ("loaded", "")
    except InputError as error:
        result = ("InputError", str(error))
    except BaseException as error:
        result = (type(error).__name__, str(error)[:500])
    print(json.dumps([path.name, *result, time.perf_counter() - started]), flush=True)
"""
LOADING = f"""
from text2latent.models.generators import load_generator as load
import text2latent.models.generators.stylegan2, text2latent.models.generators.stylegan3, yaml
load({str(DATA / "sg2ada-cond-32.pkl")!r})
load({str(DATA / "rosinality-64.pt")!r})
"""


def load_hostile(folder: Path, files: dict[str, tuple[bytes, str]], loading: str) -> types.SimpleNamespace:
    """What became of each file, and the folder in which they were loaded.

    `loading` is the source that defines `load` and loads good files first, so that their memory doesn't count.
    """
    (folder / "files").mkdir()
    for name, (data, _) in files.items():
        (folder / "files" / name).write_bytes(data)
    script = LOADER.format(loading=loading, room=EXTRA_BYTES)
    ran = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-2000:]
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    return types.SimpleNamespace(folder=folder, files={name: result for name, *result in lines})


class Call:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def named(module: str, name: str) -> bytes:
    """Opcodes that push a global by its name, which may be dotted."""
    return text(module) + text(name) + b"\x93"


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


def binary(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def whole(body: bytes) -> bytes:
    return PROTO + body + b"."


def snapshot(body: bytes) -> bytes:
    return whole(b"}" + text("G_ema") + body + b"s")


def persistent(state: bytes) -> bytes:
    return called(
        "torch_utils.persistence",
        "_reconstruct_persistent_obj",
        b"}(" + text("type") + text("class") + text("class_name") + text("Generator") + text("state") + state + b"u",
    )


def stream(body: bytes, *keys: str, data: bytes = b"") -> bytes:
    """What `torch.save` wrote before it used zips, around the pickle of an object."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system)]
    return b"".join(head) + b"\x80\x02" + body + b"." + pickle.dumps(list(keys), 2) + data


def storage_id(numel: int) -> bytes:
    return b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(numel) + b"NtQ"


def stored(numel: int, held: int = 4) -> bytes:
    """Opcodes of a storage that claims `numel` floats and holds `held`."""
    data = struct.pack("<q", held) + bytes(4 * held)
    return called("torch.storage", "_load_from_bytes", binary(stream(storage_id(numel), "0", data=data)))


def tensor(storage: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    shape = [b"(" + b"".join(map(number, values)) + b"t" for values in (size, stride)]
    hooks = called("collections", "OrderedDict")
    return called("torch._utils", "_rebuild_tensor_v2", storage, number(offset), *shape, b"\x89", hooks)


def array(dtype: str, shape: tuple[int, ...], data: bytes) -> bytes:
    described = called("numpy", "dtype", text(dtype), b"\x89", b"\x88")
    empty = called("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), b"K\x00\x85", binary(b"b"))
    return empty + b"(K\x01(" + b"".join(map(number, shape)) + b"t" + described + b"\x89" + binary(data) + b"tb"


def laughs(depth: int = 64) -> bytes:
    """A pair of the same pair twice, of the same pair twice, and so on: 2^64 empty tuples to walk through."""
    body = b")q\x00"
    for level in range(depth):
        body += b"h" + bytes([level]) + b"\x86q" + bytes([level + 1])
    return body


def modules_in_modules() -> bytes:
    """A snapshot of a network whose every module has two children, which are the same: 2^64 modules to walk through."""
    networks = persistent(b"}" + text("_modules") + b"}s") + b"q\x00"
    for level in range(64):
        child = b"h" + bytes([level])
        children = b"}(" + text("b4") + child + text("synthesis") + child + b"u"
        arguments = text("_init_args") + b")" + text("_init_kwargs") + b"}"
        networks += persistent(b"}(" + text("_modules") + children + arguments + b"u") + b"q" + bytes([level + 1])
    return whole(b"}(" + text("all") + b"(" + networks + b"t" + text("G_ema") + b"h\x40u")


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def real(name: str) -> bytes:
    return (DATA / name).read_bytes()


def system_call() -> Call:
    import os

    return Call(os.system, "touch CANARY")


EVIL = pickle.dumps(system_call(), 4)


def zip_of(body: bytes, *storages: bytes) -> bytes:
    """What `torch.save` writes of an object, by its pickle and its storages."""
    held = {f"archive/data/{i}": data for i, data in enumerate(storages)}
    return zipped({"archive/data.pkl": b"\x80\x02" + body + b".", **held, "archive/version": b"3\n"})


def whole_network(body: bytes, *storages: bytes) -> bytes:
    """A file of `torch.save(G)` whose network has `body` as its state."""
    return zip_of(persistent(body), *storages)


def dictionary(name: str, body: bytes) -> bytes:
    return b"}" + text(name) + body + b"s"


def safetensors_file(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def state_dict_of(name: str, value: bytes) -> bytes:
    """Opcodes of a state dictionary that looks like a generator's, with one value."""
    return b"}(" + text("synthesis.b4.conv1.weight") + value + text(name) + value + b"u"


def new_doors() -> dict[str, tuple[bytes, str]]:
    """What is tried on each door: networks of `torch.save`, state dictionaries in both layouts, safetensors."""
    system = b"cposix\nsystem\n" + text("touch CANARY") + b"\x85R"
    four = struct.pack("<4f", *range(4))
    network = dictionary("_modules", b"}")
    far = tensor(storage_id(4), 2, (4,), (1,))
    large = tensor(storage_id(4), 0, (1 << 20, 1 << 20), (0, 0))
    known = {
        "code": (system, "global posix.system is not allowed"),
        "code-in-call": (called("torch._utils", "_rebuild_tensor_v2", system), "global posix.system is not allowed"),
        "dotted-name": (called("torch._utils", "torch.os.system", text("true")), "torch.os.system is not allowed"),
        "tensor-beyond": (far, "its storage holds only 4"),
        "tensor-claims": (large, "its storage holds only 4"),
        "storage-claims": (tensor(storage_id(1 << 40), 0, (1,), (1,)), "claims 4398046511104 bytes"),
        "laughs-as-key": (b"}" + laughs() + b"Ns", "a tuple as a key"),
        "long-text": (b"\x8d" + struct.pack("<Q", 1 << 62) + b"a", "truncated: 4611686018427387904 bytes"),
        "memo-missing": (b"h\x77", "damaged pickle"),
        "endless": (b"N" * 600_000, "more than 500000 pickle opcodes"),
        "no-tensor": (text("words"), "expected a tensor|expected a generator|expected a network"),
        "deep": (b"]" * 2000 + b"a" * 1999, "expected a tensor|expected a generator|expected a network"),
    }
    found = {}
    for kind, (body, message) in known.items():
        parameters = dictionary("_parameters", dictionary("weight", body))
        found[f"network-{kind}.pt"] = (whole_network(parameters, four), message)
        found[f"weights-{kind}.pt"] = (zip_of(dictionary("G_ema", state_dict_of("a", body)), four), message)
        found[f"old-weights-{kind}.pt"] = (
            stream(dictionary("G_ema", state_dict_of("a", body)), "0", data=struct.pack("<q", 4) + four),
            f"{message}|its list of storages|claim",
        )
    headers = {
        "claims": (b'{"synthesis.b4.conv1.weight":{"dtype":"F32","shape":[99999999],"data_offsets":[0,399999996]}}',
                   "expected safetensors weights"),
        "overlap": (b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],'
                    b'"data_offsets":[0,16]}}', "expected safetensors weights"),
        "no-json": (b"{" + b"[" * 5000, "expected safetensors weights"),
        "other": (b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', "expected a generator's weights"),
    }  # fmt: skip
    found |= {f"{kind}.safetensors": (safetensors_file(head, four), error) for kind, (head, error) in headers.items()}
    found["empty-network.pt"] = (whole_network(network), "expected a generator with a synthesis network")
    found["half-a-network.pt"] = ((DATA / "kinds" / "pti-model.pt").read_bytes()[:20_000], "cannot be read|truncated")
    found["half-a-dictionary.pt"] = (
        (DATA / "kinds" / "ada-state-dict.pt").read_bytes()[:-400], "cannot be read|truncated"
    )  # fmt: skip
    return found


HOSTILE: dict[str, tuple[bytes, str]] = {
    "os-system.pkl": (EVIL, "global posix.system is not allowed"),
    "in-snapshot.pkl": (pickle.dumps({"G_ema": system_call()}, 3), "global posix.system is not allowed"),
    "eval.pkl": (pickle.dumps(Call(eval, f"exec({CODE!r})"), 4), "global builtins.eval is not allowed"),
    "exec-python2.pkl": (b"\x80\x02c__builtin__\nexec\n" + text(CODE) + b"\x85R.", "global __builtin__.exec is not"),
    "chain.pkl": (
        pickle.dumps(Call(getattr, Call(__import__, "os"), "system"), 4),
        "global builtins.getattr is not allowed",
    ),
    "dotted.pkl": (whole(called("torch._utils", "torch.os.system", text("touch CANARY"))), "torch.os.system is not"),
    "importer.pkl": (whole(called("torch._utils", "_import_dotted_name", text("os"))), "_import_dotted_name is not"),
    "numpy-runstring.pkl": (
        whole(called("numpy.testing._private.utils", "runstring", text(CODE), b"}")),
        "global numpy.testing._private.utils.runstring is not allowed",
    ),
    "numpy-memmap.pkl": (whole(called("numpy", "memmap", text("CANARY"))), "global numpy.memmap is not allowed"),
    "embedded-class.pkl": (whole(called("training.networks", "Generator")), "a network saved whole, with its classes"),
    "call-of-a-name.pkl": (whole(called("numpy", "ndarray", number(2))), "a call of numpy.ndarray"),
    "call-of-a-text.pkl": (whole(text("os.system") + b")R"), "a call of os.system"),
    "encode.pkl": (whole(called("_codecs", "encode", text("a"), text("zip"))), "encoding zip: expected latin1"),
    "nested-pickle.pkl": (
        snapshot(called("torch.storage", "_load_from_bytes", binary(EVIL))),
        "global posix.system is not allowed",
    ),
    "nested-stream.pkl": (
        snapshot(called("torch.storage", "_load_from_bytes", binary(stream(EVIL[2:-1])))),
        "is not allowed|opcode FRAME|damaged|truncated",
    ),
    "nested-zip.pkl": (
        snapshot(called("torch.storage", "_load_from_bytes", binary(saved(torch.zeros(2))))),
        "not what torch.save writes|opcode|damaged",
    ),
    "nested-twice.pkl": (
        snapshot(called("torch.storage", "_load_from_bytes", binary(stream(stored(4))))),
        "global torch.storage._load_from_bytes is not allowed",
    ),
    "set-state.pkl": (whole(b"]" + b"}" + text("append") + b"Nsb"), "a state for a list"),
    "inst.pkl": (PROTO + b"(" + text("touch CANARY") + b"iposix\nsystem\n.", "global posix.system is not"),
    "obj.pkl": (PROTO + b"(" + b"cposix\nsystem\n" + text("touch CANARY") + b"o.", "global posix.system|opcode OBJ"),
    "extension.pkl": (PROTO + b"\x82\x01.", "pickle opcode EXT1"),
    "persistent-id.pkl": (PROTO + b"Pposix.system\n.", "pickle opcode PERSID"),
    "binary-persistent-id.pkl": (whole(text("posix.system") + b"Q"), "a persistent id"),
    "new-object-with-keywords.pkl": (whole(named("dnnlib.util", "EasyDict") + b")}\x92"), "pickle opcode NEWOBJ_EX"),
    "lines-in-name.pkl": (whole(b"\x8c\x02o\n\x8c\x06system\x93"), "global o .system is not allowed"),
    "memo-bomb.pkl": (whole(b"Nr\xff\xff\xff\xff"), "it holds something else"),
    "memo-missing.pkl": (whole(b"h\x07"), "damaged pickle"),
    "laughs-as-key.pkl": (whole(b"}" + laughs() + b"Ns"), "a tuple as a key"),
    "laughs.pkl": (snapshot(laughs()), "it holds something else"),
    "laughs-of-modules.pkl": (modules_in_modules(), "modules in modules without end"),
    "deep.pkl": (whole(b"]" * 20_000 + b"a" * 19_999), "it holds something else"),
    "endless.pkl": (whole(b"N" * 2_000_000), "more than 500000 pickle opcodes"),
    "long-text.pkl": (whole(b"\x8d" + struct.pack("<Q", 1 << 62) + b"a"), "truncated: 4611686018427387904 bytes"),
    "long-bytes.pkl": (whole(b"\x8e" + struct.pack("<Q", (1 << 64) - 1) + b"a"), "truncated"),
    "long-number.pkl": (whole(b"\x8a\xff" + b"\x01" * 255), "an integer of 255 bytes"),
    "frame.pkl": (PROTO + b"\x95" + struct.pack("<Q", 1 << 60) + b"N.", "truncated: a frame"),
    "encoded-over-and-over.pkl": (
        whole(b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00]("
              + called("_codecs", "encode", b"h\x00", text("latin1")) * 5000 + b"e"),
        "claim more memory than the file's size accounts for",
    ),
    "storage-claims.pkl": (snapshot(stored(1 << 40)), "its tensors claim 4398046511112 bytes"),
    "tensor-claims.pkl": (snapshot(tensor(stored(4), 0, (1 << 20, 1 << 20), (0, 0))), "its storage holds only 4"),
    "tensor-beyond.pkl": (snapshot(tensor(stored(4), 2, (4,), (1,))), "its storage holds only 4"),
    "tensor-before.pkl": (snapshot(tensor(stored(4), -1, (4,), (1,))), "no natural number"),
    "array-claims.pkl": (whole(array("f4", (1 << 20, 1 << 20), bytes(16))), "a wrong state for a ArrayRecord"),
    "array-of-objects.pkl": (whole(array("O8", (2,), bytes(16))), "dtype O8: expected plain numbers"),
    "array-structured.pkl": (whole(array("f4,O8", (2,), bytes(24))), "dtype f4,O8: expected plain numbers"),
    "protocol.pkl": (b"\x80\xffN.", "pickle protocol 255"),
    "protocol-0.pkl": (pickle.dumps(system_call(), 0), "global posix.system is not allowed"),
    "protocol-1.pkl": (b"(" + EVIL, "global posix.system is not allowed"),
    "inst-of-known.pkl": (PROTO + b"(icollections\nOrderedDict\n.", "opcode INST of collections.OrderedDict"),
    "empty.pkl": (b"", "the file is empty"),
    "one-byte.pkl": (b"\x80", "truncated"),
    "no-stop.pkl": (PROTO + b"N", "truncated"),
    "text.pkl": (b"hello", "expected a network pickle"),
    "nothing.pkl": (whole(b"N"), "it holds something else"),
    "truncated.pkl": (real("sg2ada-cond-32.pkl")[:100_000], "truncated"),
    "truncated-tensorflow.pkl": (real("tf-sg2-64.pkl")[:-100], "truncated"),
    "truncated.pt": (real("rosinality-64.pt")[:-1000], "cannot be read"),
    "zip-as-pickle.pkl": (zipped({"a.txt": b"hello"}), "a zip without the data.pkl"),
    "zip-with-code.pt": (zipped({"archive/data.pkl": EVIL}), "global posix.system is not allowed"),
    "zip-bomb.pt": (
        zipped({"archive/data.pkl": pickle.dumps({}, 2), "archive/data/0": bytes(1 << 28)}, zipfile.ZIP_DEFLATED),
        "a zip whose files are compressed",
    ),
    "zip-claims.pt": (
        zipped({"archive/data.pkl": b"\x80\x02}" + text("g_ema") + tensor(storage_id(1 << 40), 0, (1,), (1,)) + b"s.",
                "archive/data/0": bytes(16), "archive/version": b"3\n"}),
        "storage 0 claims 4398046511104 bytes",
    ),
    "stream-with-code.pt": (stream(b"cposix\nsystem\n" + text("touch CANARY") + b"\x85R"), "posix.system is not"),
    "stream-claims.pt": (stream(storage_id(1 << 40), "0", data=bytes(16)), "its tensors claim"),
    "list.pt": (saved([1, 2]), "holds a list: expected a dictionary"),
    "model-object.pt": (saved(torch.nn.Linear(2, 2)), r"a network saved whole, .*Save its state_dict\(\) instead"),
    "other-model.pt": (
        saved({"g_ema": torch.nn.Linear(2, 2).state_dict()}),
        "expected a generator's weights; it holds g_ema",
    ),
    **new_doors(),
    "two-networks.pkl": (
        whole(b"(" + (named("dnnlib.tflib.network", "Network") + b")\x81") * 2 + b"t"),
        r"expected the three networks \(G, D, Gs\)",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> types.SimpleNamespace:
    return load_hostile(tmp_path_factory.mktemp("hostile"), HOSTILE, LOADING)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line(outcomes, name):
    kind, message, seconds = outcomes.files[name]
    assert kind == "InputError", message
    assert message.startswith(f"files/{name}: ")
    assert "\n" not in message
    assert len(message) < 500
    assert seconds < SECONDS
    assert re.search(HOSTILE[name][1], message), message


def test_no_code_was_run(outcomes):
    assert sorted(path.name for path in outcomes.folder.iterdir()) == ["files"]
