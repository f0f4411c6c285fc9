from pathlib import Path

import pytest

from text2latent.common.errors import UsageError
from text2latent.models.sources import zoo as registry


def test_names_are_the_worlds_with_weights(zoo: Path) -> None:
    assert registry.zoo_names() == ["birds", "faces"]


def test_a_part_that_is_still_to_be_built_is_refused_with_the_way(zoo: Path) -> None:
    with pytest.raises(UsageError, match=r"ships no judge \(.*judge is missing\)$"):
        registry.part_folder("faces", "judge")
    (zoo / "faces" / "world.yaml").touch()
    with pytest.raises(UsageError, match=r"; python -m text2latent\.zoo\.build faces --only judge builds it$"):
        registry.part_folder("faces", "judge")
