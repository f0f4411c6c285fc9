"""How extras are got: every line that says so, in pages and messages, works as it is printed."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

from text2latent.common import extras
from text2latent.common.errors import InputError
from text2latent.common.extras import install_hint, optional_module, require_extra

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "zoo").rglob("*.md")]
SOURCES = [path for path in ROOT.rglob("*.py") if not {"build", "tests", ".venv", "runs"} & set(path.parts)]
COMMAND = re.compile(r"pip install [^\n`|]*")
EXTRA = re.compile(r"\[(\w+)\]")


def known_extras() -> set[str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return set(setup["options.extras_require"])


def test_pages_install_extras_from_the_clone_alone() -> None:
    lines = [(path.name, line) for path in PAGES for line in COMMAND.findall(path.read_text(encoding="utf-8"))]
    named = [(name, line, EXTRA.findall(line)) for name, line in lines if EXTRA.search(line)]
    assert len(named) >= 9
    for name, line, found in named:
        assert line.startswith(f'pip install -e ".[{found[0]}]"'), name
        assert set(found) <= known_extras(), name
    # The name is nobody's on the package index, so anybody could take it.
    assert [line for line in lines if re.search(r"install\s+[\"']?text2latent", line[1])] == []


def test_one_function_writes_what_messages_tell_to_install() -> None:
    assert len(SOURCES) > 100
    # Model cards say what other tools need, which is none of this project's extras.
    hint = re.compile(r"pip install[^\n]*(?:\[|-e |text2latent)")
    writers = [path.name for path in SOURCES if hint.search(path.read_text(encoding="utf-8"))]
    assert writers == ["extras.py"]


def test_every_extra_that_sources_name_exists() -> None:
    calls = re.compile(r"(?:require_extra|optional_module)\([^()]*?\"(\w+)\"(?:, \[|\)|, \w+\))")
    named = {name for path in SOURCES for name in calls.findall(path.read_text(encoding="utf-8"))}
    assert {"clip", "evaluate", "export", "logging", "video", "zoo"} <= named <= known_extras()


def test_the_hint_is_for_where_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert install_hint("serve") == 'pip install -e ".[serve]"'
    monkeypatch.chdir(tmp_path)
    assert install_hint("serve") == f'pip install -e "{ROOT}[serve]"'


def test_the_hint_of_a_clone_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Looking only, without a network: what the extra requires isn't asked for.
    looking = f"{sys.executable} -m {install_hint('serve')} --dry-run --no-deps --no-build-isolation"
    ran = subprocess.run(looking, shell=True, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "Would install text2latent" in ran.stdout
    assert "does not provide the extra" not in ran.stdout + ran.stderr


def test_without_a_clone_the_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "ROOT", tmp_path)
    assert install_hint("evaluate") == 'pip install "matplotlib>=3.9"'
    assert '"gradio' in install_hint("serve")
    with pytest.raises(KeyError):
        install_hint("no-such-extra")


def test_what_is_missing_is_named_with_the_hint() -> None:
    require_extra("counting", "zoo", ["json", "os.path"])
    with pytest.raises(InputError, match=r"^counting needs no_such, no.such_either, not inst.*; pip install .*zoo"):
        require_extra("counting", "zoo", ["json", "no_such", "no.such_either"])


def test_a_missing_module_refuses_when_it_is_used() -> None:
    assert optional_module("json", "counting", "zoo").dumps(1) == "1"
    missing = optional_module("no_such", "counting", "zoo")
    with pytest.raises(InputError, match=r"^counting needs no_such"):
        missing.add(1, 2)
