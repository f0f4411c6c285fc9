"""The page's scripts are clean to eslint and to TypeScript's checks, where npm has installed these."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from text2latent.tests.apps.exports.web.conftest import SOURCES


@pytest.mark.skipif(
    shutil.which("npm") is None or not (SOURCES / "node_modules" / "typescript").is_dir(),
    reason="eslint and tsc are not installed; make lint does so where npm is",
)
def test_scripts_are_clean() -> None:
    ran = subprocess.run(["npm", "run", "--silent", "lint"], cwd=SOURCES, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
