"""The page on serving: its flags and fields are those of the server, and its commands are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from text2latent.apps.serving import command as serve
from text2latent.apps.serving.limits import MIB, Limits

pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")

from text2latent.apps.serving.schemas import image_request

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"^(?:    |ExecStart=).*?text2latent serve(?= |$)(.*)$", re.MULTILINE)


def test_commands_are_understood() -> None:
    commands = [shlex.split(flags, comments=True) for flags in COMMAND.findall(TEXT)]
    assert len(commands) >= 5
    for flags in commands:
        serve.build_parser().parse_args(flags)


def test_flags_that_are_named_exist() -> None:
    known = set(re.findall(r"--[a-z][a-z-]*", serve.build_parser().format_help()))
    assert set(re.findall(r"`(--[a-z-]+)", TEXT)) <= known


def test_limits_are_the_default_ones() -> None:
    limits = Limits()
    documented = dict(re.findall(r"\| `--(max-[a-z]+)` \| (\d+) \|", TEXT))
    assert documented == {
        "max-prompt": str(limits.max_prompt_characters),
        "max-images": str(limits.max_images),
        "max-upload": f"{limits.max_upload_bytes / MIB:g}",
        "max-megapixels": f"{limits.max_upload_pixels / 1e6:g}",
        "max-streams": str(limits.max_streams),
    }


def test_all_fields_are_told() -> None:
    table = TEXT.partition("| field |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", table)) - {"auto", "url", "b64_json"} == set(
        image_request(Limits()).model_fields
    )
