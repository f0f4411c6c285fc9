"""What docs/clip.md says can be typed: its commands, names and keys; and that its table has every kind."""

from __future__ import annotations

import importlib
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from text2latent.__main__ import VERBS
from text2latent.models.clip.arguments import ClipArguments, read_clip_arguments
from text2latent.models.clip.own import PREPROCESSING, ClipModel
from text2latent.tests.models.clip.small_transformers import KINDS

PAGE = Path(__file__).parents[1] / "docs" / "clip.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (?:PYTHONPATH=. )?text2latent ([^\n]+)$", TEXT, re.MULTILINE)
TRIED = TEXT[TEXT.index("## What was tried") :]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: str) -> None:
    verb, *arguments = shlex.split(command)
    config = importlib.import_module(VERBS[verb][0]).build_parser().parse(arguments)
    if config.clip_args is not None:
        assert read_clip_arguments(config.clip_args)


def test_every_clip_is_one_that_open_clip_publishes() -> None:
    import open_clip

    names = re.findall(r"`([\w-]+/[\w.-]+)`", TEXT[: TEXT.index("## What a file of weights")])
    published = [name for name in names if not name.endswith((".safetensors", ".pt"))]
    assert len(published) == 6
    for name in published:
        assert open_clip.get_pretrained_cfg(*name.split("/")), name


def test_every_key_is_documented() -> None:
    table = TEXT[TEXT.index("| key | value |") : TEXT.index("Pairs and priors keep what was said")]
    keys = {key for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)}
    assert keys == {field.name for field in fields(ClipArguments)}


def test_every_attribute_of_a_class_is_there() -> None:
    assert all(hasattr(ClipModel, name) for name in ("encode_text", "encode_image", "settings", *PREPROCESSING))


def test_every_kind_of_the_transformers_library_was_tried() -> None:
    assert {kind for kind in KINDS if f"`{kind}`" in TRIED} == set(KINDS)


def test_links_and_their_places_exist() -> None:
    headings = {
        re.sub(r"[^a-z ]", "", line.lower()).strip().replace(" ", "-") for line in re.findall(r"^#+ (.*)$", TEXT, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert target.removeprefix("#") in headings if target.startswith("#") else (PAGE.parent / target).exists()
