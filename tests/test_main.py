"""The dispatcher `text2latent VERB` and the lazy names of the package."""

import ast
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import text2latent
from text2latent.__main__ import VERBS, main

ROOT = Path(__file__).resolve().parents[1]


def test_no_verb_prints_the_verbs(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {verb} " in printed for verb in VERBS)


def test_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{text2latent.__version__}\n"


def test_unknown_verb_is_a_usage_error_in_one_line(capsys):
    assert main(["paint"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "'paint'" in error
    assert "sample, train, infer" in error


def test_verb_gets_the_rest_of_the_line_and_gives_the_exit_code(monkeypatch):
    seen = []
    verb = types.SimpleNamespace(main=lambda argv: seen.append(argv) or 7)
    monkeypatch.setitem(sys.modules, "text2latent.sample", verb)
    assert main(["sample", "--seed", "3"]) == 7
    assert seen == [["--seed", "3"]]


def test_importing_the_package_imports_no_library():
    code = "import sys, text2latent.__main__; print(*{'torch', 'lightning', 'jsonargparse'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "\n"


@pytest.mark.parametrize("name", text2latent.__all__)
def test_public_names_are_found(name):
    assert getattr(text2latent, name).__name__ == name
    assert name in dir(text2latent)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Text2Image'"):
        _ = text2latent.Text2Image


PROGRAM = re.compile(r"from (text2latent[\w.]*) import (\([^)]*\)|[\w, ]+)|import (text2latent\.[\w.]+)")
"""An import of the package in a program, wherever it is quoted."""


@pytest.mark.parametrize(
    "path",
    [
        *sorted(ROOT.glob("docs/**/*.md")),
        *sorted(ROOT.glob("examples/*.ipynb")),
        *sorted(ROOT.glob("zoo/*/weights/README.md")),
        ROOT / "README.md",
        ROOT / "apps" / "serving" / "recipes.py",
    ],
    ids=lambda path: path.name,
)
def test_programs_that_users_are_shown_import_from_the_package_itself(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":  # only what is in its strings is a program
        strings = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
        text = "\n".join(string for string in strings if isinstance(string, str))
    for module, names, whole in PROGRAM.findall(text):
        assert (module, whole) == ("text2latent", ""), f"{path}: expected a short import, got {module or whole}"
        assert set(re.findall(r"\w+", names)) <= set(text2latent.__all__)


def test_recipes_name_what_the_package_has():
    tree = ast.parse((ROOT / "apps" / "serving" / "recipes.py").read_text(encoding="utf-8"))
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_pipeline"
    ]
    names = {argument.value for call in calls for argument in call.args[1:]}
    assert len(calls) >= 4
    assert names
    assert names <= set(text2latent.__all__)
