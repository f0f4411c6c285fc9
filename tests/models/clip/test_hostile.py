"""Hostile files on each door of CLIPs: no code is run, nothing hangs, little memory is taken, the error is one line.

All are loaded by one process with a limited address space, where any success or crash would show.
"""

from __future__ import annotations

import io
import json
import re
import struct
import types
import zipfile

import pytest
import torch

from text2latent.tests.models.generators.formats.test_unpickling import (
    EVIL,
    SECONDS,
    called,
    dictionary,
    laughs,
    load_hostile,
    safetensors_file,
    storage_id,
    stream,
    tensor,
    text,
    zip_of,
    zipped,
)

LOADING = """
from text2latent.models.clip.arguments import read_clip_arguments
from text2latent.models.clip.encoder import ClipEncoder
import open_clip

def load(path):
    if path.name.startswith("args-"):
        return ClipEncoder.from_pretrained("faces", read_clip_arguments(str(path)))
    if path.name.startswith("script-"):
        return ClipEncoder.from_pretrained(str(path), {"quick_gelu": True})
    return ClipEncoder.from_pretrained(f"ViT-B-32-quickgelu/{path}")

ClipEncoder.from_pretrained("faces")
"""
SYSTEM = b"cposix\nsystem\n" + text("touch CANARY") + b"\x85R"
FOUR = struct.pack("<4f", *range(4))
NO_WEIGHTS = "expected a CLIP's weights|expected weights that fit|one of OpenAI's|expected a TorchScript|a TorchScript"
TWELVE: dict[str, tuple[bytes, str]] = {
    "code": (SYSTEM, "global posix.system is not allowed"),
    "code-in-call": (called("torch._utils", "_rebuild_tensor_v2", SYSTEM), "global posix.system is not allowed"),
    "dotted-name": (called("torch._utils", "torch.os.system", text("true")), "torch.os.system is not allowed"),
    "tensor-beyond": (tensor(storage_id(4), 2, (4,), (1,)), "its storage holds only 4"),
    "tensor-claims": (tensor(storage_id(4), 0, (1 << 20, 1 << 20), (0, 0)), "its storage holds only 4"),
    "storage-claims": (tensor(storage_id(1 << 40), 0, (1,), (1,)), "claims? 4398046511104 bytes|claim"),
    "laughs-as-key": (b"}" + laughs() + b"Ns", "a tuple as a key"),
    "long-text": (b"\x8d" + struct.pack("<Q", 1 << 62) + b"a", "truncated: 4611686018427387904 bytes"),
    "memo-missing": (b"h\x77", "damaged pickle"),
    "endless": (b"N" * 600_000, "more than 500000 pickle opcodes"),
    "no-tensor": (text("words"), NO_WEIGHTS),
    "deep": (b"]" * 2000 + b"a" * 1999, NO_WEIGHTS),
}
"""Opcodes in the place of a tensor, and what is said of them."""


def archive(state: bytes, *storages: bytes, code: bytes = b"", compressed: bool = True) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("m/data.pkl", b"\x80\x02" + state + b".")
        for index, data in enumerate(storages):
            file.writestr(f"m/data/{index}", data)
        packing = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        file.writestr("m/code/__torch__/clip.py", code, packing)
        file.writestr("m/constants.pkl", b"\x80\x02).")
        file.writestr("m/version", b"3\n")
    return buffer.getvalue()


def module(state: bytes, name: str = "__torch__.clip\nCLIP") -> bytes:
    return f"c{name}\n".encode() + b")\x81" + state + b"b"


def modules_without_end() -> bytes:
    """A module whose two children are the same, and so on: 2^64 modules to walk through."""
    body = module(b"}") + b"q\x00"
    for level in range(64):
        child = b"h" + bytes([level])
        body += module(b"}(" + text("a") + child + text("b") + child + b"u") + b"q" + bytes([level + 1])
    return body


def hostile_files() -> dict[str, tuple[bytes, str]]:
    found: dict[str, tuple[bytes, str]] = {}
    for kind, (body, told) in TWELVE.items():
        section = b"}(" + text("visual.conv1.weight") + body + text("logit_scale") + body + b"u"
        found[f"weights-{kind}.pt"] = (zip_of(dictionary("state_dict", section), FOUR), told)
        old = stream(dictionary("model", section), "0", data=struct.pack("<q", 4) + FOUR)
        found[f"old-{kind}.pt"] = (old, f"{told}|its list of storages|claim")
        inner = module(dictionary("weight", body), "__torch__.torch.nn\nConv2d")
        found[f"script-{kind}.pt"] = (archive(module(dictionary("conv1", inner)), FOUR), told)
    own_class = b"c__torch__.x\nos.system\n" + b")\x81"
    found |= {
        "script-laughs-of-modules.pt": (archive(modules_without_end()), "modules in modules without end"),
        "script-dotted-class.pt": (archive(own_class), "global __torch__.x.os.system is not allowed"),
        "script-other-class.pt": (archive(module(b"}", "training.networks\nCLIP")), "training.networks.CLIP is not"),
        "script-no-module.pt": (archive(b"}"), "expected a module in a TorchScript archive"),
        "script-compressed.pt": (
            zipped(
                {"m/data.pkl": b"\x80\x02}.", "m/data/0": bytes(1 << 28), "m/constants.pkl": b""}, zipfile.ZIP_DEFLATED
            ),
            "a zip whose files are compressed",
        ),
        "script-code-bomb.pt": (archive(module(b"}"), code=b" " * (1 << 28)), NO_WEIGHTS),
        "zip-with-code.pt": (zipped({"archive/data.pkl": EVIL}), "global posix.system is not allowed"),
        "whole-model.pt": (
            zip_of(b"copen_clip.model\nCLIP\n)\x81}b"), r"a model saved whole, .*--clip my_package.MyClip"
        ),
        "empty.pt": (b"", "the file is empty"),
        "text.pt": (b"hello", "expected weights of a CLIP: "),
        "claims.safetensors": (
            safetensors_file(b'{"a":{"dtype":"F32","shape":[99999999],"data_offsets":[0,399999996]}}', FOUR),
            "expected a complete safetensors file",
        ),
        "overlap.safetensors": (
            safetensors_file(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
                             b'"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', FOUR),
            "expected a complete safetensors file",
        ),
        "no-json.safetensors": (safetensors_file(b"{" + b"[" * 5000, FOUR), "expected a complete safetensors file"),
        "escapes.safetensors": (
            safetensors_file(json.dumps({f"\x1b[31mred.{name}": {"dtype": "F32", "shape": [2], "data_offsets": place}
                                         for name, place in (("logit_scale", [0, 8]), ("visual.conv1.weight", [8, 16]))
                                         }).encode(), FOUR),
            "expected weights that fit",
        ),
        "args-code.yaml": (b"!!python/object/apply:os.system ['touch CANARY']", "expected a YAML or JSON file"),
        "args-laughs.yaml": (
            b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (98 + i, 98 + i, 97 + i, 97 + i) for i in range(20)),
            "expected a plain value|expected any of",
        ),
        "args-deep.yaml": (b"[" * 5_000, "expected a YAML or JSON file"),
        "args-claims.yaml": (b"image_size: 99999999999", "image_size: expected a whole number of pixels from 1"),
    }  # fmt: skip
    return found


HOSTILE = hostile_files()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> types.SimpleNamespace:
    return load_hostile(tmp_path_factory.mktemp("hostile"), HOSTILE, LOADING)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line(outcomes, name):
    kind, message, seconds = outcomes.files[name]
    assert kind == "InputError", message
    assert name in message or name.startswith("args-")
    assert message.isprintable()
    assert len(message) < 700
    assert seconds < SECONDS
    assert re.search(HOSTILE[name][1], message), message


def test_no_code_was_run(outcomes):
    assert sorted(path.name for path in outcomes.folder.iterdir()) == ["files"]


HEADER = {"logit_scale": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}
FOLDERS: dict[str, tuple[dict[str, bytes], str]] = {
    "weights-code": ({"pytorch_model.bin": zipped({"a/data.pkl": EVIL})}, "global posix.system is not allowed"),
    "weights-claim": (
        {"model.safetensors": safetensors_file(b'{"a":{"dtype":"F32","shape":[99999999],"data_offsets":[0,9]}}')},
        "expected a complete safetensors file",
    ),
    "index-outside": (
        {"model.safetensors.index.json": b'{"weight_map": {"a": "/etc/passwd"}}'},
        "expected the names of files in the folder",
    ),
    "no-json": ({"config.json": b"{" * 5000}, "expected open_clip's config of a CLIP model, the file is missing"),
    "huge": (
        {"config.json": b'{"model_type": "clip", "text_config": {"vocab_size": 99999999999}, "vision_config": {}}',
         "model.safetensors": safetensors_file(json.dumps(HEADER).encode(), bytes(4))},
        "CLIPModel|expected weights",
    ),
    "nested": ({"config.json": b'{"model_type": ["clip"]}'}, "model_type: expected one of"),
    "kernel": (
        {"config.json": b'{"model_type": "clip", "attn_implementation": "evil/kernel", "text_config": {}}',
         "model.safetensors": safetensors_file(json.dumps(HEADER).encode(), bytes(4))},
        "not a config and weights of CLIPModel: ValueError: it would be of 151277313 numbers",
    ),
    "template": (
        {"config.json": b'{"model_type": "vision-text-dual-encoder", "auto_map": {"AutoModel": "evil--code.A"}}'},
        "whose code comes with it and is not run",
    ),
}  # fmt: skip
"""Files that lie in a folder of the transformers library."""


@pytest.mark.parametrize("name", FOLDERS)
def test_hostile_folders_are_refused_in_one_line(name, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    from text2latent.common.errors import InputError
    from text2latent.models.clip.encoder import ClipEncoder

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    files, told = FOLDERS[name]
    (tmp_path / "clip").mkdir()
    for file, data in {"config.json": b'{"model_type": "clip"}', **files}.items():
        (tmp_path / "clip" / file).write_bytes(data)
    (tmp_path / "clip" / "evil.py").write_text("import pathlib; pathlib.Path('CANARY').touch()")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=told) as raised:
        ClipEncoder.from_pretrained("clip")
    assert str(raised.value).isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]
    assert torch.get_default_dtype() == torch.float32
