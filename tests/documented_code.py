"""The code that a page of the documentation shows, as a module that a test can import."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


def importable_example(page: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes the first Python example of `docs/page` into `folder` as the module `name`, which can then be imported."""
    source = re.search(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert source is not None
    path = folder / f"{name}.py"
    path.write_text(source[1], encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return path
