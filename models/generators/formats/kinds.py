"""What a file is that can't be read as a generator: named by what only such files hold, with what to do."""

from __future__ import annotations

import re

GZIP_PREFIX = b"\x1f\x8b"
OWN_CLASS = (
    "its networks are not among those that are drawn here; draw it with its own code, in a class of your own "
    "(docs/custom_generator.md)"
)
NETWORKS = (
    ("StyleGAN-XL", rb"SuperresGenerator|networks_stylegan3_resetting|embed_proj"),
    ("EG3D", rb"TriPlaneGenerator|OSGDecoder"),
    ("projected-gan's FastGAN", rb"FastganSynthesis|networks_fastgan"),
    ("StyleGAN-T", rb"StyleSplit|train_mode(?s:.{0,4096})conditional|conditional(?s:.{0,4096})train_mode"),
    ("ProGAN of TensorFlow", rb"tfutil(?s:.{1,4})Network|G_paper"),
    ("swagan", rb"iwt\.ll"),
    ("StyleSwin", rb"relative_position_bias_table"),
    ("FastGAN", rb"feat_8\.\d"),
    ("a VQGAN", rb"quantize\.embedding\.weight|quantize\.embed\b"),
    ("a latent diffusion model", rb"model\.diffusion_model\."),
)
"""Networks, and what is in all of their files and in no StyleGAN's: names of classes, arguments and tensors."""
LIBRARIES = re.compile(
    r"global (__torch__|torch|torchvision|timm|training|networks|pg_modules|feature_networks|models?|clip|einops|numpy|"
    r"dnnlib|torch_utils|tfutil|kornia|pytorch_lightning|omegaconf|pathlib|yacs|legacy|metrics|camera_utils)\b"
)
"""Refusals of names that networks' code and training programs have, rather than of what runs commands."""
WHOLE_NETWORK = re.compile(r"global (torch\.nn\.modules\.\S+|(?!torch)\w+(\.\w+)*\.[A-Z]\w*) is not allowed")


def describe(data: memoryview, refusal: str) -> str | None:
    """A line that names the kind of a refused file and says what to do; None where the refusal says more.

    Args:
        data: bytes of the file.
        refusal: why it was refused.
    """
    if bytes(data[: len(GZIP_PREFIX)]) == GZIP_PREFIX:
        return "compressed by gzip; expected the file inside: unpack it first, with gunzip"
    if refusal.startswith(("truncated", "damaged")) or ("global " in refusal and not LIBRARIES.search(refusal)):
        return None
    if data[:2] == b"PK" and re.search(rb"constants\.pkl", data) and re.search(rb"/code/|__torch__", data):
        return (
            "a TorchScript archive, which is a program; expected weights. Save the network's state_dict() instead, or "
            "let a class of your own run it (docs/custom_generator.md)"
        )
    for name, mark in NETWORKS:
        if re.search(mark, data):
            return f"{name}: {OWN_CLASS}"
    if WHOLE_NETWORK.search(refusal):
        return (
            "a network saved whole, with its classes; expected a StyleGAN. Save its state_dict() instead, or draw it "
            "in a class of your own (docs/custom_generator.md)"
        )
    return None
