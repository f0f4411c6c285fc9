"""The schema: its defaults obey its own ranges, every field has a help line, and the YAML of each domain fits it."""

import dataclasses
from pathlib import Path

import docstring_parser
import pytest

from text2latent.common.validation import Given, check_arguments, find_mistake, leaves
from text2latent.configs import schema
from text2latent.configs.schema import DataConfig, SampleConfig, TrainConfig

SECTIONS = [value for name, value in vars(schema).items() if name.endswith("Config")]
YAMLS = sorted(Path(schema.__file__).parent.glob("*.yaml"))


def values(config, prefix=""):
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from values(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


@pytest.mark.parametrize("config", [SampleConfig(output="o"), TrainConfig(output="o", data=DataConfig(path="p"))])
def test_defaults_obey_the_ranges(config):
    known = leaves(type(config))
    given = dict(values(config))
    assert set(given) == set(known)
    assert [find_mistake(Given(key, value, key), known) for key, value in given.items()] == [None] * len(given)


@pytest.mark.parametrize("section", SECTIONS)
def test_sections_are_frozen_and_every_field_has_one_help_line(section):
    described = {argument.arg_name: argument.description for argument in docstring_parser.parse(section.__doc__).params}
    assert set(described) == {field.name for field in dataclasses.fields(section)}
    assert all(text and "\n" not in text for text in described.values())
    assert section.__dataclass_params__.frozen


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_yaml_of_each_domain_fits_the_schema(path):
    check_arguments(["--config", str(path), "--output", "o", "--data.path", "p"], TrainConfig)
