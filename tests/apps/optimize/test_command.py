"""The verb on a tiny world: what it writes, resuming, Ctrl-C, comparison, other generators, and every refusal."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent.apps.contact_sheet import contact_sheet
from text2latent.apps.optimize import command as optimize
from text2latent.apps.optimize.run import Run
from text2latent.inference.images import from_pil
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import load_generator

DATA = Path(__file__).resolve().parents[2] / "data"
FEW = ("--cutouts.count", "2", "--device", "cpu")
TEXT = "a man"
Optimize = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_optimize(
    tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Optimize:
    """Runs optimize in an empty current folder; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, model: str = str(tiny_world)) -> tuple[int, str, str]:
        named = () if {"--generator", "--clip"} <= {*arguments} else ("--model", model)
        code = optimize.main([*arguments, *named, *FEW])
        return code, *capsys.readouterr()

    return run


def points(folder: str) -> list[dict[str, str]]:
    with open(Path(folder) / "curve.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def score(world: Path, file: str | Path, text: str = TEXT) -> float:
    clip = ClipEncoder.from_pretrained(str(world))
    return float((clip.encode_image(from_pil(Image.open(file))[None]) * clip.encode_text([text])).sum())


def test_what_a_run_writes(run_optimize: Optimize, tiny_world: Path) -> None:
    code, out, err = run_optimize(TEXT, "--iterations", "6", "--save-every", "3", "--json")
    assert code == 0, err
    report, rows = json.loads(out), points("a-man-0")
    names = {"best.npz", "best.png", "curve.csv", "curves.png", "image.png", "progress", "run.json", "state.pt"}
    assert set(os.listdir("a-man-0")) == names | {"trajectory.png"}
    assert sorted(os.listdir("a-man-0/progress")) == ["000000.png", "000003.png", "000006.png"]
    scores = [float(row["clip_score"]) for row in rows]
    assert [int(row["iteration"]) for row in rows] == list(range(7))
    assert report["clip_score"] == pytest.approx(scores[-1])
    assert report["best"]["clip_score"] == pytest.approx(max(scores))
    assert scores[-1] > scores[0]
    # Pictures have 8 bits per channel.
    assert score(tiny_world, "a-man-0/image.png") == pytest.approx(scores[-1], abs=5e-3)
    assert score(tiny_world, "a-man-0/best.png") == pytest.approx(max(scores), abs=5e-3)
    assert Image.open("a-man-0/best.png").text["prompt"] == TEXT
    shown = [Image.open(f"a-man-0/progress/{i:06d}.png") for i in (0, 3, 6)]
    strip = contact_sheet(shown, [f"{i}: {100 * scores[i]:.1f}" for i in (0, 3, 6)], 3)
    assert Image.open("a-man-0/trajectory.png").tobytes() == strip.tobytes()
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)


def test_best_latents_draw_the_best_image(run_optimize: Optimize, tiny_world: Path) -> None:
    assert run_optimize(TEXT, "--iterations", "3", "--lr", "0.5")[0] == 0
    w = torch.from_numpy(np.load("a-man-0/best.npz")["w"])
    drawn = load_generator(str(tiny_world)).synthesize(w)[0]
    assert (from_pil(Image.open("a-man-0/best.png")) - drawn).abs().max() < 2 / 255


def test_same_seed_same_image_and_another_seed_another(run_optimize: Optimize) -> None:
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run_optimize(TEXT, "--iterations", "2", "--output", folder, "--seed", seed)[0] == 0
    one, same, other = (Image.open(f"{folder}/image.png").tobytes() for folder in "abc")
    assert one == same != other


def test_a_run_goes_on_as_if_it_had_not_stopped(run_optimize: Optimize) -> None:
    assert run_optimize(TEXT, "--iterations", "4", "--output", "whole")[0] == 0
    assert run_optimize(TEXT, "--iterations", "2", "--output", "parts")[0] == 0
    assert run_optimize(TEXT, "--iterations", "2", "--epochs", "2", "--output", "parts")[0] == 0
    assert Image.open("whole/image.png").tobytes() == Image.open("parts/image.png").tobytes()
    whole, parts = ([row["clip_score"] for row in points(folder)] for folder in ("whole", "parts"))
    assert whole == parts


def test_an_interruption_saves_and_can_be_gone_on_from(run_optimize: Optimize, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Run._step

    def interrupt(self: Run) -> None:
        step(self)
        if self.descent.iteration == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", interrupt)
        code, _, err = run_optimize(TEXT, "--iterations", "4", "--output", "parts", "--video", "way.gif")
    assert code == 130
    assert "run the same command again" in err
    assert [row["iteration"] for row in points("parts")] == ["0", "1", "2"]
    assert Path("parts/best.png").is_file()
    assert Path("way.gif").is_file()
    assert run_optimize(TEXT, "--iterations", "4", "--output", "parts", "--video", "way.gif")[0] == 0
    assert run_optimize(TEXT, "--iterations", "4", "--output", "whole")[0] == 0
    assert Image.open("whole/image.png").tobytes() == Image.open("parts/image.png").tobytes()


def test_ctrl_c_of_the_process(tiny_world: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "text2latent", "optimize", TEXT, "--model", str(tiny_world), *FEW]
    started = subprocess.Popen(
        [*command, "--iterations", "1000000", "--save-every", "1", "--output", "out"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (tmp_path / "out/state.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=300)
    assert started.returncode == 130, err
    assert "Traceback" not in err
    assert (tmp_path / "out/best.png").is_file()


def test_other_settings_are_refused_and_overwrite_starts_again(run_optimize: Optimize) -> None:
    assert run_optimize(TEXT, "--iterations", "2", "--save-every", "1")[0] == 0
    code, _, err = run_optimize(TEXT, "--iterations", "2", "--accumulate", "2")
    assert (code, err.count("\n")) == (1, 1)
    assert "a-man-0 holds another run (accumulate: '1' there, '2' asked)" in err
    assert len(points("a-man-0")) == 3
    assert run_optimize(TEXT, "--iterations", "1", "--accumulate", "2", "--overwrite")[0] == 0
    assert len(points("a-man-0")) == 2
    assert sorted(os.listdir("a-man-0/progress")) == ["000000.png", "000001.png"]


def test_init_prior_starts_from_what_infer_draws(run_optimize: Optimize, tiny_model: Path) -> None:
    code, out, err = run_optimize(TEXT, "--iterations", "0", "--init", "prior", "--json", model=str(tiny_model))
    assert code == 0, err
    drawn = Text2LatentPipeline.from_pretrained(str(tiny_model))(TEXT, seeds=[0])
    score = float(drawn.clip_scores[0])
    assert json.loads(out)["clip_score"] == pytest.approx(score, abs=1e-3)
    # The strip ends with what the prior draws, which is where this run starts.
    start = Image.open("a-man-0/progress/000000.png")
    strip = contact_sheet([start, drawn.images[0]], [f"0: {100 * score:.1f}", f"prior: {100 * score:.1f}"], 2)
    difference = np.asarray(Image.open("a-man-0/trajectory.png")).astype(int) - np.asarray(strip)
    assert np.abs(difference).max() <= 2
    assert run_optimize(TEXT, "--init", "prior", "--generator", "faces")[0] == 1


def test_init_prior_is_infer_refine(run_optimize: Optimize, tiny_model: Path) -> None:
    cutouts = {"count": "4", "distribution": "uniform", "min-size": "0.8", "max-size": "1", "jitter": "0.1"}
    settings = ["--lr", "0.03", "--latent", "w", "--iterations", "3"]
    flags = [word for name, value in cutouts.items() for word in (f"--cutouts.{name}", value)]
    code = optimize.main([TEXT, "--model", str(tiny_model), "--init", "prior", "--device", "cpu", *settings, *flags])
    assert code == 0
    pipeline = Text2LatentPipeline.from_pretrained(str(tiny_model))
    plain, refined = (pipeline(TEXT, seeds=[0], refine=steps).latents[0] for steps in (0, 3))
    w = torch.from_numpy(np.load("a-man-0/best.npz")["w"])[0, :1]
    last = float(points("a-man-0")[-1]["clip_score"])
    assert last == max(float(row["clip_score"]) for row in points("a-man-0"))
    torch.testing.assert_close(w, refined, atol=1e-3, rtol=1e-3)
    assert (refined - plain).abs().max() > 0.01


def test_text_and_image_and_what_to_avoid(run_optimize: Optimize, tiny_world: Path) -> None:
    generator = load_generator(str(tiny_world))
    picture = generator.synthesize(generator.map(generator.sample_latents(1, 77)))[0]
    Image.fromarray(((picture + 1) * 127.5).byte().permute(1, 2, 0).numpy()).save("goal.png")
    scores = {}
    for weight in ("0", "1"):
        arguments = ("--image", "goal.png", "--image-weight", weight, "--iterations", "0", "--json", "--output", weight)
        scores[weight] = json.loads(run_optimize(TEXT, *arguments)[1])["clip_score"]
    alone = json.loads(run_optimize("--image", "goal.png", "--iterations", "0", "--json", "--output", "alone")[1])
    text = json.loads(run_optimize(TEXT, "--iterations", "0", "--json", "--output", "text")[1])
    assert scores["1"] == pytest.approx(alone["clip_score"], abs=1e-5)
    assert scores["0"] == pytest.approx(text["clip_score"], abs=1e-5)
    assert run_optimize(f"{TEXT}:2 | a dog", "--avoid", "blur | zoom", "--iterations", "1", "--output", "avoid")[0] == 0


@pytest.mark.parametrize(
    ("source", "extra"),
    [
        ("biggan", ("--max-classes", "2", "--class-temperature", "1", "--ema-decay", "0.5", "--latent", "w")),
        ("biggan", ("--init", "mean")),
        ("dalle/decoder.pkl", ("--tokens.sampling", "gumbel", "--augmentations", "[crop, 'rotation:10']")),
    ],
)
def test_other_generators(run_optimize: Optimize, tiny_world: Path, source: str, extra: tuple) -> None:
    arguments = ("--generator", str(DATA / source), "--clip", str(tiny_world), "--iterations", "2", "--output", "out")
    code, _, err = run_optimize(TEXT, *arguments, *extra)
    assert code == 0, err
    assert Image.open("out/image.png").size[0] == load_generator(DATA / source).image_size


def test_comparison(run_optimize: Optimize, tiny_model: Path) -> None:
    Path("p.txt").write_text("a man\na | man")
    arguments = ("--compare", "sgd,Adam", "--prompts", "p.txt", "--num-seeds", "2", "--iterations", "2", "--json")
    code, out, err = run_optimize(*arguments, model=str(tiny_model))
    assert code == 0, err
    folder, report = Path("comparison-0"), json.loads(out)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert {row["method"]: row["lr"] for row in results["rows"]} == {"amortised prior": None, "sgd": 15, "adam": 0.05}
    means = [row["mean"] for row in results["rows"]]
    assert means == sorted(means, reverse=True)
    for row in report["rows"]:
        of_method = [image for image in results["images"] if image["method"] == row["method"]]
        assert len(of_method) == 4
        assert row["mean"] == pytest.approx(sum(image["score"] for image in of_method) / 4)
        assert row["by_prompt"]["a man"] == pytest.approx(sum(image["score"] for image in of_method[:2]) / 2)
    table = (folder / "table.md").read_text(encoding="utf-8")
    assert f"| | prompt | {' | '.join(row['method'] for row in report['rows'])} |" in table
    for number, prompt in enumerate(("a man", "a | man"), start=1):
        cells = " | ".join(f"{row['by_prompt'][prompt]:.2f}" for row in report["rows"])
        assert f"| {number} | {prompt.replace('|', chr(92) + '|')} | {cells} |" in table
    assert Image.open(folder / "curves.png").size[0] > 1000
    optimised = [one for one in results["images"] if one["folder"]]
    # Two texts of the same letters have folders of their own.
    assert len({one["folder"] for one in optimised}) == len(optimised) == 8
    for one in optimised:
        assert 100 * float(points(str(folder / one["folder"]))[-1]["clip_score"]) == pytest.approx(one["score"])


def test_a_comparison_goes_on_and_keeps_what_is_there(run_optimize: Optimize) -> None:
    arguments = (TEXT, "--compare", "adam", "--output", "study")
    assert run_optimize(*arguments, "--iterations", "1")[0] == 0
    assert run_optimize(*arguments, "--iterations", "2")[0] == 0
    assert [row["iteration"] for row in points("study/runs/adam/a-man-0")] == ["0", "1", "2"]
    before = Path("study/table.md").read_text()
    code, _, err = run_optimize(*arguments, "--ema-decay", "0.5")
    assert (code, err.count("\n")) == (1, 1)
    assert "study holds another run (ema_decay: '0.0' there, '0.5' asked)" in err
    Path("mine").mkdir()
    Path("mine/table.md").write_text("mine")
    code, _, err = run_optimize(TEXT, "--compare", "adam", "--output", "mine")
    assert (code, err.count("\n")) == (1, 1)
    assert "expected a new folder or one of a run, found table.md" in err
    assert (Path("study/table.md").read_text(), Path("mine/table.md").read_text()) == (before, "mine")


def test_divergence_keeps_the_best_and_says_the_iteration(run_optimize: Optimize) -> None:
    code, _, err = run_optimize(TEXT, "--optimizer", "sgd", "--lr", "1e38", "--output", "out")
    assert (code, err.strip().splitlines()[-1].count("\n")) == (1, 0)
    assert "in iteration " in err
    assert "the best so far, of iteration 0, is in out/best.png" in err
    assert Path("out/best.png").is_file()
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "--text: expected a text, an --image or both"),
        (("x" * 10_000,), 2, "expected at most 2000 characters, got 10000"),
        ((TEXT, "--lr", "0"), 2, "--lr: expected"),
        ((TEXT, "--lr", "-1"), 2, "--lr: expected"),
        ((TEXT, "--lr", "nan"), 2, "--lr: expected"),
        ((TEXT, "--optimizer", "lion"), 2, "optimizer: expected one of"),
        ((TEXT, "--optimizer-arguments", "momentum=1"), 2, "optimizer_arguments: Adam takes"),
        ((TEXT, "--compare", "adam,lion"), 2, "optimizer: expected one of"),
        ((TEXT, "--compare", "adam,adam"), 2, "--compare: expected each optimizer once"),
        ((TEXT, "--compare", "adam", "--video", "x.gif"), 2, "--video: expected no --compare"),
        ((TEXT, "--num-seeds", "2"), 2, "expected --compare"),
        ((TEXT, "--augmentations", "[blur]"), 2, "augmentations: expected"),
        ((TEXT, "--cutouts.min-size", "0.99"), 2, "cutouts.min_size: expected at most max_size"),
        ((TEXT, "--cutouts.count", "0"), 2, "--cutouts.count: expected"),
        ((TEXT, "--memory", "0.000001"), 2, "memory: expected at least"),
        ((TEXT, "--max-classes", "0"), 2, "--max-classes: expected"),
        (
            (TEXT, "--generator", str(DATA / "biggan"), "--clip", "faces", "--max-classes", "6"),
            2,
            "max_classes: expected a whole number from 1 to 5",
        ),
        ((TEXT, "--video", "x.avi"), 2, "--video: expected a file name that ends in .gif or .mp4"),
        ((TEXT, "--image", "none.png"), 1, "none.png: no such file"),
        ((TEXT, "--image", "text.txt"), 1, "text.txt: expected an image file"),
        ((TEXT, "--output", "text.txt"), 1, "expected a folder, text.txt is a file"),
        ((TEXT, "--output", "text.txt/run"), 1, "text.txt is a file"),
        ((TEXT, "--output", "/proc/run"), 1, "cannot write into /proc"),
        ((TEXT, "--video", "/proc/x.gif"), 1, "--video: cannot write into /proc"),
        ((TEXT, "--output", "full"), 1, "expected a new folder or one of a run, found other.txt"),
        ((TEXT, "--output", "damaged"), 1, "run.json: damaged"),
        ((TEXT, "--init", "prior"), 1, "expected a trained prior"),
        ((TEXT, "--wrong", "1"), 2, "--wrong: unknown key"),
        ((TEXT, "--avoid", "a||b"), 2, "expected a text in each part"),
    ],
)
def test_refusals(run_optimize: Optimize, arguments: tuple[str, ...], code: int, message: str) -> None:
    Path("text.txt").write_text("no image")
    for folder, file in (("full", "other.txt"), ("damaged", "run.json")):
        Path(folder).mkdir()
        Path(folder, file).write_text("{")
    got, _, err = run_optimize(*arguments)
    assert (got, err.count("\n")) == (code, 1), err
    assert message in err
    assert sorted(os.listdir()) == ["damaged", "full", "text.txt"]


def test_a_damaged_state_is_told(run_optimize: Optimize) -> None:
    assert run_optimize(TEXT, "--iterations", "1")[0] == 0
    Path("a-man-0/state.pt").write_bytes(b"no state")
    code, _, err = run_optimize(TEXT, "--iterations", "2")
    assert (code, err.count("\n")) == (1, 1)
    assert "state.pt: expected the state of a run" in err


def test_settings_are_read_from_yaml(run_optimize: Optimize) -> None:
    Path("c.yaml").write_text(
        "cutouts: {count: 2, center_bias: 2.0}\naugmentations: [rotation:5, noise]\niterations: 1\n"
    )
    code, _, err = run_optimize(TEXT, "--config", "c.yaml")
    assert code == 0, err
    report = json.loads(Path("a-man-0/run.json").read_text())
    assert (report["augmentations"], report["cutouts"]["center_bias"]) == (["rotation:5", "noise"], 2.0)
