"""A dataset of numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from text2latent.tests.data.pair_folders import write_numbers


@pytest.fixture(scope="session")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """230 pairs in shards of 32, as `write_numbers` makes them; read only."""
    return write_numbers(tmp_path_factory.mktemp("numbers") / "pairs", 230, shard_size=32)
