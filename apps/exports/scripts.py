"""Scripts that travel with an exported folder: this package's own modules, with their imports made relative to it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

RUNTIME = "text2latent.apps.exports.runtime"


def write_scripts(names: Sequence[str], folder: Path) -> None:
    """Copy modules of `exports/runtime` beside one another, importing each other by plain name."""
    for name in names:
        spec = importlib.util.find_spec(f"{RUNTIME}.{name}")
        assert spec is not None
        assert spec.origin is not None
        text = Path(spec.origin).read_text(encoding="utf-8").replace(f"from {RUNTIME}.", "from ")
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
