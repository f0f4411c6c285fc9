from pathlib import Path

import pytest

from text2latent.models.sources import zoo as registry


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of two worlds, one of which can draw, whose code isn't to be imported."""
    folder = tmp_path / "zoo"
    for world in ("birds", "faces"):
        (folder / world / "weights" / "generator").mkdir(parents=True)
    (folder / "faces" / "weights" / "prior").mkdir()
    (folder / "unfinished").mkdir()
    (folder / "birds" / "__init__.py").write_text("raise RuntimeError('zoo code was imported')")
    monkeypatch.setattr(registry, "ZOO", folder)
    return folder
