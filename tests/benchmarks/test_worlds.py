"""The quality figures: they distinguish a good part from an untrained one."""

import pytest

from text2latent.benchmarks.report import read_parts
from text2latent.benchmarks.worlds import PARTS, main
from text2latent.zoo.world import load_world

FACES = load_world("faces")

# The tiny CLIP reads 24 tokens of a caption.
pytestmark = pytest.mark.filterwarnings("ignore:prompt .* tokens")
FEW = ("--num-renders", "40", "--num-z", "24", "--num-captions", "6", "--num-images", "2")


def figures(tmp_path, *arguments: str) -> dict[str, list]:
    file = tmp_path / "figures.json"
    assert main([*FEW, "--json", str(file), *arguments]) == 0
    return {name: part["figures"] for name, part in read_parts(file).items()}


def test_judge_that_ships_is_good(tmp_path):
    mean, lowest, *each = figures(tmp_path, "--only", "judge")["judge"]
    assert (mean.target, lowest.target) == (0.98, 0.94)
    assert mean.value > 0.97
    assert [figure.name.split(", ")[1] for figure in each] == list(FACES.names)


def test_untrained_parts_fall_short(tmp_path, untrained_faces, capsys):
    model = ("--model", str(untrained_faces))
    only = [word for part in ("clip", "generator", "prior", "rerank") for word in ("--only", part)]
    parts = figures(tmp_path, *model, *only)
    assert list(parts) == ["clip", "generator", "prior", "rerank"]
    judged = {figure.name: figure for part in parts.values() for figure in part}
    means = [figure for name, figure in judged.items() if name.endswith(", mean")]
    assert [(figure.target, figure.verdict) for figure in means] == [(0.93, "short"), (0.93, "short"), (0.96, "short")]
    for language in ("en", "ja"):
        named = judged[f"named attributes that are there ({language})"]
        assert (named.target, named.verdict) == (0.93, "short")
        assert judged[f"named attributes that are there, best of 8 by CLIP ({language})"].target == 0.95
        assert judged[f"pictures with all that is named ({language})"].verdict == "short"
        assert 0 <= judged[f"variety of what is not named ({language})"].value <= 1
    assert all(0 <= figure.value <= 1 for part in ("clip", "generator", "rerank") for figure in parts[part])
    assert capsys.readouterr().out.count("short") >= 6


def test_same_seed_gives_the_same_figures(tmp_path, untrained_faces):
    flags = ("--model", str(untrained_faces), "--only", "rerank", "--seed")
    first, again, other = (figures(tmp_path, *flags, seed)["rerank"] for seed in ("5", "5", "6"))
    assert first == again
    assert first != other


def test_wrong_input_is_one_line(tmp_path, capsys):
    assert main(["--only", "nose"]) == 2
    assert main(["--num-captions", "0"]) == 2
    assert main(["--only", "prior", "--model", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 3
    assert set(PARTS) == {"judge", "clip", "generator", "prior", "rerank"}
