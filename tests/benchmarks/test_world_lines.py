"""What a world is made of is counted right, and a world needs no code but a renderer and grammars."""

from pathlib import Path

import pytest

from text2latent.benchmarks.report import read_parts
from text2latent.benchmarks.world_lines import KINDS, count_lines, kind_of, main
from text2latent.zoo.world import load_world


@pytest.mark.parametrize(
    ("text", "lines"),
    [('"""Only words.\n\nMore of them."""\n', 0), ('"""Words."""\n\nx = 1\n\n\n', 2), ("", 0)],
)
def test_blank_lines_and_lone_docstrings_do_not_count(tmp_path: Path, text: str, lines: int) -> None:
    file = tmp_path / "module.py"
    file.write_text(text)
    assert count_lines(file) == lines


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("scenes/renderer.py", "renderer"),
        ("language/grammar_en.py", "grammar"),
        ("language/en.yaml", "words"),
        ("world.yaml", "world.yaml"),
        ("fit/clip.py", "other code"),
        ("more.py", "other code"),
        ("clip_config.json", None),
    ],
)
def test_files_are_told_apart(file: str, kind: str | None) -> None:
    world = load_world("landscapes")
    assert kind_of(world, world.folder / file) == kind


def test_landscapes_have_no_code_but_their_renderer_and_grammars(tmp_path: Path) -> None:
    assert main(["--json", str(tmp_path / "lines.json")]) == 0
    found = {figure.name: figure for figure in read_parts(tmp_path / "lines.json")["lines"]["figures"]}
    assert {name.split(", ")[1] for name in found} == set(KINDS)
    other = found["landscapes, other code"]
    assert (other.value, other.verdict) == (0, "ok")
    assert found["landscapes, renderer"].value > 100
    assert found["faces, other code"].value == 0
