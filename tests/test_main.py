"""The dispatcher `text2latent VERB` and the lazy names of the package."""

import subprocess
import sys
import types

import pytest

import text2latent
from text2latent.__main__ import VERBS, main


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
