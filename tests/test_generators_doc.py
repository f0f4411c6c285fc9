"""What docs/generators.md says can be typed: its commands, names, links and Python."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from text2latent.__main__ import VERBS
from text2latent.models.generators import Generator

PAGE = Path(__file__).parents[1] / "docs" / "generators.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (text2latent|python) ([^#\n]+?) *(?:#.*)?$", TEXT, re.MULTILINE)


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_every_command_parses(program: str, command: str) -> None:
    verb, *arguments = shlex.split(command)
    name = VERBS[verb][0] if program == "text2latent" else f"text2latent.{verb.removesuffix('.py').replace('/', '.')}"
    module = importlib.import_module(name)
    assert module.build_parser().parse(arguments)


def test_the_route_is_whole() -> None:
    assert [command.split()[0] for program, command in COMMANDS if program == "text2latent"] == [
        "convert", "sample", "train", "infer", "convert", "inspect",
    ]  # fmt: skip


def test_every_link_exists() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert {"custom_generator.md", "clip.md"} <= set(targets)
    assert [name for name in targets if not (name.startswith("http") or (PAGE.parent / name).exists())] == []


def test_python_names_what_there_is() -> None:
    block = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert block
    calls = [
        node.func.attr
        for node in ast.walk(ast.parse(block[1]))
        if isinstance(getattr(node, "func", None), ast.Attribute)
    ]
    assert calls == ["sample_latents", "map", "synthesize"]
    assert all(hasattr(Generator, name) for name in calls)
