"""The sweep over guidance scales and steps."""

import json

import pytest

from text2latent.benchmarks.priors.settings import COLUMNS, main

# The tiny CLIP reads 24 tokens of a caption.
pytestmark = pytest.mark.filterwarnings("ignore:prompt .* tokens")
FEW = ("--num-captions", "3", "--num-images", "2")


def test_a_row_per_setting_and_language(tmp_path, untrained_faces, capsys):
    file = tmp_path / "rows.json"
    settings = ("--guidance-scales", "1", "2.5", "--steps", "1", "3", "--json", str(file))
    assert main(["--model", str(untrained_faces), *FEW, *settings]) == 0
    rows = json.loads(file.read_text())
    assert [(row["guidance"], row["steps"], row["language"]) for row in rows] == [
        (guidance, steps, language) for guidance in (1, 2.5) for steps in (1, 3) for language in ("en", "ja")
    ]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("named", "complete", "variety"))
    assert all(row["ms/image"] > 0 and row["sharpness"] > 0 for row in rows)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == list(COLUMNS)
    assert len(lines) == len(rows)


@pytest.mark.parametrize("wrong", [("--steps", "0"), ("--guidance-scales", "nan"), ("--num-captions", "-1")])
def test_wrong_settings_are_one_line(wrong, capsys):
    assert main([*wrong]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert wrong[0].strip("-").replace("-", "_") in error.replace("-", "_")
