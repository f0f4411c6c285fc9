from pathlib import Path

from text2latent.models.sources import zoo as registry


def test_names_are_the_worlds_with_weights(zoo: Path) -> None:
    assert registry.zoo_names() == ["birds", "faces"]
