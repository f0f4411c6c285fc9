"""What is installed beyond the core: extras, how to get them, and one line for who lacks one."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from text2latent.common.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w.-]+)["']""")


def install_hint(extra: str) -> str:
    """The command that installs an extra here.

    No package index has this project: in a clone the clone itself is installed once more with the extra, elsewhere the
    packages that the extra stands for.

    Args:
        extra: its name in `setup.cfg`.
    """
    if (ROOT / "setup.cfg").is_file():
        return f'pip install -e "{"." if Path.cwd() == ROOT else ROOT}[{extra}]"'
    return " ".join(["pip install", *(f'"{requirement}"' for requirement in requirements_of(extra))])


def requirements_of(extra: str) -> list[str]:
    """What an extra of the installed package requires, such as `onnx>=1.17`, by its metadata.

    Raises:
        KeyError: when there is no such extra.
    """
    required = [line.partition(";") for line in importlib.metadata.requires("text2latent") or ()]
    found = [name.strip() for name, _, marker in required if extra in _EXTRA.findall(marker)]
    if not found:
        raise KeyError(extra)
    return found


def require_extra(what: str, extra: str, modules: Sequence[str]) -> None:
    """Refuse to go on without modules of an extra.

    Args:
        what: the verb, flag or file that needs them.
        extra: its name in `setup.cfg`.

    Raises:
        InputError: naming what is missing and how to get it.
    """
    missing = [name for name in modules if not _is_there(name)]
    if missing:
        raise _missing(what, extra, missing)


def optional_module(name: str, what: str, extra: str) -> Any:
    """A module of an extra, or, where that isn't installed, what refuses in one line as soon as it is used."""
    return importlib.import_module(name) if _is_there(name) else _Missing(name, what, extra)


class _Missing:
    """Stands for a module that isn't installed."""

    def __init__(self, name: str, what: str, extra: str) -> None:
        self._name, self._what, self._extra = name, what, extra

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # what Python itself looks for, such as __path__
            raise AttributeError(attribute)
        raise _missing(self._what, self._extra, [self._name])


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


def _missing(what: str, extra: str, modules: Sequence[str]) -> InputError:
    return InputError(f"{what} needs {', '.join(modules)}, not installed here; {install_hint(extra)}")
