"""The Python of docs/export.md runs as it is written there, in environments without text2latent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from text2latent.tests.apps.exports.alone import run_alone

PAGE = Path(__file__).resolve().parents[3] / "docs" / "export.md"
SNIPPET = re.compile(r"<!-- runs with (\w+) -->\n```python\n(.*?)```", re.DOTALL)
SNIPPETS = SNIPPET.findall(PAGE.read_text(encoding="utf-8"))


def test_every_python_snippet_says_where_it_runs() -> None:
    assert len(SNIPPETS) == PAGE.read_text(encoding="utf-8").count("```python") > 0


@pytest.mark.parametrize("tool", sorted({tool for tool, _ in SNIPPETS}))
def test_snippets_run(tool: str, faces_export: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    python: Path = request.getfixturevalue(f"{tool}_python")
    (tmp_path / "OUT").symlink_to(faces_export)
    run_alone(python, tmp_path, "-c", "\n".join(code for name, code in SNIPPETS if name == tool))
