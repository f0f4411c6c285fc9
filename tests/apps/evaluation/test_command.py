import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent.apps.evaluation import command as evaluate
from text2latent.apps.evaluation import measuring
from text2latent.apps.evaluation.metrics import compare_manifolds, frechet_distance
from text2latent.inference.domain import fit_domain, save_domain
from text2latent.inference.pipeline import Text2LatentPipeline

Evaluate = Callable[..., tuple[int, str, str]]
PROMPTS = ["a man", "a woman with glasses", "眼鏡", "an old man", "a child", "a dog", "a boat", "two men", "a hat"]
FEW = ("--num-images", "2", "--num-own", "12", "--batch-size", "6", "--device", "cpu")


@pytest.fixture
def run_evaluate(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Evaluate:
    """Runs evaluate with the tiny model on nine prompts; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    Path("p.txt").write_text("\n".join(PROMPTS), encoding="utf-8")

    def run(*arguments: str, model: str = str(tiny_model), prompts: str = "p.txt") -> tuple[int, str, str]:
        defaults = ("--model", model, "--prompts", prompts, *FEW)
        code = evaluate.main([*defaults, "--output", "out", *arguments])
        return code, *capsys.readouterr()

    return run


def test_results_are_those_of_the_pipelines_images(run_evaluate: Evaluate, tiny_model: Path) -> None:
    code, out, err = run_evaluate()
    assert code == 0, err
    assert sorted(os.listdir("out")) == ["grid-0000.png", "grid-0001.png", "metrics.json", "metrics.md", "plots.png"]
    assert out.strip() == Path("out/metrics.md").read_text(encoding="utf-8").strip()
    metrics = json.loads(Path("out/metrics.json").read_text(encoding="utf-8"))
    pipe = Text2LatentPipeline.from_pretrained(str(tiny_model))
    drawn = pipe(PROMPTS, num_images_per_prompt=2, seeds=[0, 1], output_type="pt")
    assert metrics["clip_score"] == pytest.approx(float(drawn.clip_scores.mean()), abs=1e-3)
    assert [image["clip_score"] for image in metrics["images"]] == pytest.approx(drawn.clip_scores.tolist(), abs=1e-3)
    embeddings = pipe.clip.encode_image(drawn.images)
    z = pipe.generator.sample_latents(12, measuring.OWN_SEED)
    own = pipe.clip.encode_image(pipe.generator.synthesize(pipe.generator.map(z)))
    assert metrics["frechet_distance"] == pytest.approx(frechet_distance(own, embeddings), abs=1e-3)
    assert metrics["coverage"] == pytest.approx(compare_manifolds(own, embeddings).coverage.mean(), abs=1e-5)
    assert metrics["attribute_accuracy"] is None
    assert metrics["seconds_per_image"] > 0
    assert Image.open("out/plots.png").size[0] > 1000
    sheet = Image.open("out/grid-0001.png")
    assert (sheet.size, sheet.text["prompt"]) == ((2 * 34 - 2, 32), "a hat")
    assert (
        np.abs(np.asarray(sheet)[:, :32].astype(float) - (drawn.images[16].permute(1, 2, 0) + 1).numpy() * 127.5).max()
        < 2
    )


def test_json_is_all_but_the_list_of_images(run_evaluate: Evaluate) -> None:
    code, out, err = run_evaluate("--json", "--rerank", "2", "--negative-text", "a boat")
    assert code == 0, err
    report = json.loads(out)
    metrics = json.loads(Path("out/metrics.json").read_text(encoding="utf-8"))
    assert {**report, "images": metrics["images"]} == metrics
    assert (report["settings"]["rerank"], report["settings"]["negative_text"]) == (2, "a boat")


def test_interrupted_run_goes_on(run_evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    stream = Text2LatentPipeline.stream

    def interrupt(self: Text2LatentPipeline, prompts: list, *rest: object) -> object:
        calls.append(len(prompts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return stream(self, prompts, *rest)

    monkeypatch.setattr(Text2LatentPipeline, "stream", interrupt)
    assert run_evaluate()[0] == 130
    assert "metrics.json" not in os.listdir("out")
    assert run_evaluate()[0] == 0
    assert calls == [16, 2, 2]
    first = json.loads(Path("out/metrics.json").read_text(encoding="utf-8"))
    shutil.rmtree("out")
    assert run_evaluate()[0] == 0
    again = json.loads(Path("out/metrics.json").read_text(encoding="utf-8"))
    for metrics in (first, again):
        assert metrics.pop("seconds_per_image") > 0
        metrics["intervals"].pop("seconds_per_image")
    assert again == first


def test_other_settings_do_not_take_up_old_parts(run_evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run_evaluate()[0] == 130
    assert run_evaluate("--steps", "1")[0] == 0
    one = json.loads(Path("out/metrics.json").read_text(encoding="utf-8"))
    shutil.rmtree("out")
    assert run_evaluate("--steps", "1")[0] == 0
    assert json.loads(Path("out/metrics.json").read_text(encoding="utf-8"))["images"] == one["images"]


def test_wanted_attributes_are_judged(run_evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny generator draws 32 pixels, which are enlarged to what the judge takes."""
    from text2latent.zoo import evaluation

    see = evaluation.see
    monkeypatch.setattr(
        evaluation, "see", lambda world, images: see(world, torch.nn.functional.interpolate(images, scale_factor=4.0))
    )
    lines = [{"text": text, "want": {"gender": gender}} for text in PROMPTS[:4] for gender in ("man", "woman")]
    Path("p.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    code, _, err = run_evaluate("--world", "faces", prompts="p.jsonl")
    assert code == 0, err
    metrics = json.loads(Path("out/metrics.json").read_text(encoding="utf-8"))
    # Whoever is drawn, one of the two wants is there.
    assert metrics["judge"] == "faces"
    assert metrics["attribute_accuracy"] == metrics["prompt_accuracy"] == 0.5
    assert metrics["by_attribute"] == {"gender": 0.5}


def test_wants_that_nobody_can_judge_are_warned_of(run_evaluate: Evaluate) -> None:
    Path("p.jsonl").write_text('{"text": "a man", "want": {"gender": "man"}}\n{"text": "a"}\n{"text": "b"}')
    code, _, err = run_evaluate(prompts="p.jsonl")
    assert code == 0
    assert "warning: no judge" in err


def test_out_of_domain_rate(tiny_model: Path, run_evaluate: Evaluate, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    pipe = Text2LatentPipeline.from_pretrained(str(tiny_model))
    near = pipe.encode_prompts(PROMPTS[:6])
    noise = 0.1 * torch.randn(120, 16, generator=torch.Generator().manual_seed(0))
    pipe.domain = fit_domain(near.repeat(8, 1), torch.nn.functional.normalize(near.repeat(20, 1) + noise, dim=1))
    save_domain(model, pipe.domain)
    assert run_evaluate(model=str(model))[0] == 0
    rate = json.loads(Path("out/metrics.json").read_text(encoding="utf-8"))["out_of_domain_rate"]
    outside = [score.is_outside for score in pipe.domain_scores(PROMPTS) or ()]
    assert outside[:6] == [False] * 6
    assert rate == pytest.approx(sum(outside) / 9, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--prompts", "none.txt"], 1, "--prompts: cannot read none.txt"),
        (["--num-own", "3"], 2, "--num-own"),
        (["--world", "horses"], 2, "--world: expected a zoo world"),
        (["--output", "p.txt"], 1, "p.txt is a file"),
        (["--steps", "0"], 2, "--steps"),
        (["--prompts", "one.txt"], 1, "expected more than 5 images, got 1 prompts of 2"),
        (["--prompts", "foreign.jsonl", "--world", "faces"], 1, "want: expected one of gender"),
    ],
)
def test_wrong_usage_is_one_line(run_evaluate: Evaluate, arguments: list[str], code: int, expected: str) -> None:
    Path("one.txt").write_text("a man")
    Path("foreign.jsonl").write_text('{"text": "a man", "want": {"wings": "two"}}')
    ended, out, err = run_evaluate(*arguments)
    assert (ended, out) == (code, "")
    assert expected in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("out/metrics.json").exists()


def test_missing_flags_are_named() -> None:
    assert evaluate.main([]) == 2


def test_results_that_are_there_stay(run_evaluate: Evaluate) -> None:
    Path("out").mkdir()
    Path("out/metrics.json").write_text("precious")
    code, _, err = run_evaluate()
    assert code == 1
    assert "out/metrics.json exists already" in err
    assert Path("out/metrics.json").read_text() == "precious"
