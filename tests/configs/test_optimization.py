"""The configurations of optimisation that ship with the package are valid and mean what they say."""

from pathlib import Path

import pytest

from text2latent.apps.optimize.job import Job
from text2latent.common.command import CommandParser
from text2latent.configs import optimization
from text2latent.configs.optimization import OptimizeConfig
from text2latent.models.generators.formats.published import is_published

YAMLS = sorted((Path(optimization.__file__).parent / "optimize").glob("*.yaml"))


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_shipped_configurations_are_usable(path: Path) -> None:
    config = CommandParser("optimize", None, OptimizeConfig).parse(["--config", str(path), "--text", "a man"])
    job = Job(config)
    assert is_published(config.generator)
    assert job.num_iterations >= 1000
    assert job.cutouts.count == config.cutouts.count


def test_big_sleep_and_dalle_are_there() -> None:
    assert [path.stem for path in YAMLS] == ["big_sleep", "dalle_clip"]
