"""Comparison, ablations and detailed prompts from end to end in seconds, and what they make of known results."""

from __future__ import annotations

import dataclasses
import json
import math
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from text2latent import sample
from text2latent.apps.evaluation.metrics import Estimate, frechet_distance
from text2latent.benchmarks import pictures, tables
from text2latent.benchmarks.priors import ablate, compare, detailed, training
from text2latent.benchmarks.priors.claims import OPTIMISATION, PAPER, SIMPLE, WITHOUT_DIFFUSION, claims
from text2latent.benchmarks.priors.configs import PLAIN, decisive, our_config, packaged_config, paper_config
from text2latent.benchmarks.priors.measuring import Bench, Drawn, Measured, captions_in_turns, estimate_frechet
from text2latent.benchmarks.priors.methods import OptimizationTrials, start_seed
from text2latent.benchmarks.priors.report import Results, Row, by_attribute, markdown, rows_below
from text2latent.benchmarks.priors.training import Fitted, Pairs, Recipe, train_recipe
from text2latent.benchmarks.report import Figure
from text2latent.configs.schema import DataConfig, DiffusionConfig, TextConfig, TrainConfig
from text2latent.inference.optimization.refine import LatentDistribution
from text2latent.zoo.world import load_world

FACES = load_world("faces")


@pytest.fixture(scope="session")
def untrained_pairs(untrained_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "untrained"
    words = ["--model", str(untrained_faces), "--output", str(folder), "--num-pairs", "60", "--shard-size", "32"]
    assert sample.main([*words, "--device", "cpu"]) == 0
    return folder


def bench(world: Path, folder: Path, num_images: int = 2) -> Bench:
    return Bench(str(world), captions_in_turns(4, 0), range(num_images), folder)


def constant(bench: Bench) -> Drawn:
    return Drawn(bench.generator.map(bench.generator.sample_latents(16, 0)))


def test_measurement_is_kept_and_taken_up(untrained_faces: Path, tmp_path: Path) -> None:
    one, calls = bench(untrained_faces, tmp_path), []

    def draw(texts: torch.Tensor, prompts: list[str], seeds: list[int]) -> Drawn:
        calls.append((len(texts), prompts, seeds))
        return constant(one)

    first = one.measure("constant", draw)
    assert [count for count, _, _ in calls] == [16]
    assert calls[0][2] == [0, 1] * 8
    assert [caption.language for caption in one.captions[:4]] == ["en", "ja", "en", "ja"]
    again = bench(untrained_faces, tmp_path).measure("constant", draw)
    assert len(calls) == 1
    np.testing.assert_array_equal(again.embeddings, first.embeddings)
    assert first.clip_scores.shape == (16,)
    assert first.codes.shape == (16, len(FACES.names))


def test_own_time_counts_instead_of_what_passed(untrained_faces: Path, tmp_path: Path) -> None:
    one = bench(untrained_faces, tmp_path)
    measured = one.measure("slow", lambda *_: dataclasses.replace(constant(one), seconds=800.0))
    assert (measured.seconds > 50).all()
    assert measured.latent_seconds.tolist() == [50.0]


def test_figures_are_shares_of_named_attributes(untrained_faces: Path, tmp_path: Path) -> None:
    one = bench(untrained_faces, tmp_path)
    allowed = [caption.allowed.argmax(axis=1) for caption in one.captions for _ in one.seeds]
    right = np.stack(allowed)
    embeddings = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    perfect = Measured(embeddings, np.zeros(16), right, np.ones(2), np.ones(2) / 2, 8)
    bald = FACES.names.index("hair_color")
    assert one.summarize(perfect)["named"].value > (0.9 if any(c.mentioned[bald] for c in one.captions) else 0.999)
    wrong = np.stack([(~caption.allowed).argmax(axis=1) for caption in one.captions for _ in one.seeds])
    figures = one.summarize(dataclasses.replace(perfect, codes=wrong))
    assert figures["named"].value == 0
    assert figures["complete"].value == 0
    assert figures["diversity"].value == pytest.approx(
        np.mean([1 - embeddings[2 * i] @ embeddings[2 * i + 1] for i in range(8)]), abs=1e-6
    )
    subset = one.summarize(perfect, 4)
    assert "frechet" not in subset
    assert (subset["seconds"].value, subset["latent_seconds"].value) == (1, 0.5)


def test_frechet_interval_holds_the_distance() -> None:
    rng = np.random.default_rng(0)
    images, own = rng.normal(size=(60, 4, 5)) + 0.5, rng.normal(size=(300, 5))
    estimate = estimate_frechet(images, own)
    assert estimate.value == pytest.approx(frechet_distance(images.reshape(-1, 5), own))
    assert estimate.low < estimate.value < estimate.high


def test_optimisation_of_fewer_steps_and_starts_is_part_of_the_longest(untrained_faces: Path, tmp_path: Path) -> None:
    one = bench(untrained_faces, tmp_path, num_images=1)
    distribution = LatentDistribution(torch.zeros(1, 16), torch.ones(1, 16))
    trials = OptimizationTrials(one, distribution, [1, 3], candidates=2)
    text = one.clip.encode_text(["a hat"])
    drawn = {(steps, best): trials.method(steps, best)(text, ["a hat"], [0]) for steps in (1, 3) for best in (1, 2)}
    assert drawn[3, 1].seconds == pytest.approx(drawn[3, 2].seconds / 2)
    assert drawn[1, 2].seconds < drawn[3, 2].seconds
    scores = {
        key: float(one.clip.encode_image(one.generator.synthesize(value.latents))[0] @ text[0])
        for key, value in drawn.items()
    }
    assert scores[3, 2] >= scores[3, 1]
    again = OptimizationTrials(one, distribution, [1, 3], candidates=2).method(3, 2)(text, ["a hat"], [0])
    assert torch.equal(again.latents, drawn[3, 2].latents)


def test_start_seeds_differ_between_prompts_and_images() -> None:
    seeds = {start_seed(prompt, seed) for prompt in ("a", "b", "帽子") for seed in (20_000_000, 20_000_001)}
    assert len(seeds) == 6


@pytest.mark.slow
def test_comparison_from_end_to_end(untrained_faces: Path, untrained_pairs: Path, tmp_path: Path) -> None:
    words = ["--model", str(untrained_faces), "--pairs", str(untrained_pairs), "--quick"]
    words += ["--work", str(tmp_path / "work"), "--output", str(tmp_path / "results")]
    assert compare.main(words) == 0
    results = Results.load(tmp_path / "results/priors.json")
    names = [row.name for row in results.rows]
    assert len(names) == len(set(names))
    for expected in ("random latents", "nearest training pair", "conditional VAE", "paper's recipe, 1000 steps"):
        assert expected in names
    assert {f"ours, {steps} steps" for steps in (2, 4, 8, 32)} <= set(names)
    assert all(0 <= row.figures["named"].low <= row.figures["named"].high <= 1 for row in results.rows)
    assert all(row.figures["seconds"].value > 0 for row in results.rows)
    assert len(results.curves["ours"]) > 1
    claims = {claim.name: claim for claim in results.claims}
    assert claims["speed over the paper's recipe in 100 steps, from text to image, one alone"].value > 0
    assert claims["named attributes, the low end of ours less the high end of nearest training pair"].value <= 100
    assert len([name for name in claims if name.startswith("time of refine 20 over that of CLIP gradient, ")]) == 2
    output = str(tmp_path / "results")
    assert pictures.main(["--only", "priors", "--results", output, "--output", output]) == 0
    assert (tmp_path / "results/priors.svg").read_text().startswith("<?xml")
    kept = stamps(tmp_path / "work")
    again = ["--paper-guidance-scale", "1.5", "--keep-optimization", str(tmp_path / "results/priors.json")]
    assert compare.main([*words, *again]) == 0
    new = stamps(tmp_path / "work")
    assert {name: new[name] for name in kept} == kept
    assert new.keys() - kept.keys()
    assert all(name.startswith(("paper-s-recipe-", "curve-")) for name in new.keys() - kept.keys())
    second = Results.load(tmp_path / "results/priors.json")
    assert [row for row in second.rows if row.group == OPTIMISATION] == [
        row for row in results.rows if row.group == OPTIMISATION
    ]
    assert "rows of optimisation" in second.note
    assert second.note in markdown(second)
    times = [claim for claim in results.claims if claim.name.startswith("time of refine")]
    assert times == [claim for claim in second.claims if claim.name.startswith("time of refine")]


def stamps(folder: Path) -> dict[str, int]:
    """When each file was written last."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_results_without_optimisation_cannot_stand_for_it(
    untrained_faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Results("x", [method("ours", "ours", 0.9, 0.5)]).save(tmp_path / "priors.json")
    words = ["--model", str(untrained_faces), "--pairs", "none", "--work", str(tmp_path / "work"), "--quick"]
    words += ["--keep-optimization", str(tmp_path / "priors.json")]
    assert compare.main(words) == 1
    assert "expected rows of optimisation, got none" in capsys.readouterr().err
    command = f"python benchmarks/priors/compare.py --pairs none --model {untrained_faces} --optimized-prompts 3"
    Results(command, [method("CLIP gradient, 1000 steps", OPTIMISATION, 0.9, 0.5)]).save(tmp_path / "priors.json")
    assert compare.main(words) == 1
    assert "rows of --num-prompts 100, asked for 4" in capsys.readouterr().err


def flags(*words: str) -> Namespace:
    parsed = compare.build_parser().parse(["--pairs", "pairs", "--model", "faces", *words])
    assert isinstance(parsed, Namespace)
    return parsed


def test_rival_is_the_papers_recipe_but_for_want_of_time() -> None:
    paper, recipe = paper_config(flags("--val-pairs", "20")), packaged_config(PLAIN)
    ours, plain = decisive(paper), decisive(recipe)
    changed = {key for key in plain if ours[key] != plain[key]}
    size = {"prior.width", "prior.num_heads"}
    short = {
        "optimizer.lr",
        "optimizer.warmup_steps",
        "optimizer.schedule",
        "data.batch_size",
        "data.val_pairs",
        "max_minutes",
    }
    assert changed == size | short


def test_recipes_are_known_by_what_they_do_not_by_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that is added, off in the plain recipe and in this one, leaves the digest; one that is on doesn't."""
    recipe = Recipe("ours", our_config(flags("--val-pairs", "20")))
    before, settings = recipe.digest, training.decisive
    for added, same in ((0.0, True), (0.5, False)):
        monkeypatch.setattr(training, "plain_settings", lambda: {**settings(packaged_config(PLAIN)), "new": 0.0})
        monkeypatch.setattr(training, "decisive", lambda config, on=added: {**settings(config), "new": on})
        assert (recipe.digest == before) is same
        monkeypatch.undo()
    assert Recipe("ours", dataclasses.replace(recipe.config, seed=1)).digest != before


def test_kept_training_of_other_settings_is_not_taken(
    untrained_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = our_config(flags("--minutes-ours", "0.01", "--val-pairs", "20"))
    data = dataclasses.replace(config.data, batch_size=8)
    small = dataclasses.replace(config, data=data, text=TextConfig(prompts=None))
    pairs, recipe = Pairs(untrained_pairs, 20), Recipe("ours", small)
    first = train_recipe(recipe, pairs, tmp_path)
    (file,) = tmp_path.iterdir()
    assert train_recipe(recipe, pairs, tmp_path).digest == first.digest
    settings = training.decisive
    for kept, taken in (({"gone.setting": 1}, True), ({"seed": 99}, False)):
        monkeypatch.setattr(training, "decisive", lambda config, kept=kept: {**settings(config), **kept})
        training._keep(file, recipe, Fitted(first.minutes, first.steps, first.snapshots))
        monkeypatch.undo()
        assert training._says_the_same(file, recipe) is taken


def test_ablations_from_end_to_end(untrained_faces: Path, untrained_pairs: Path, tmp_path: Path) -> None:
    words = ["--model", str(untrained_faces), "--pairs", str(untrained_pairs), "--quick", "--only", "guidance"]
    words += ["--only", "latents", "--work", str(tmp_path / "work"), "--output", str(tmp_path)]
    assert ablate.main(words) == 0
    results = Results.load(tmp_path / "ablations.json")
    groups = {row.group for row in results.rows}
    assert groups == {"as configured", "guidance", "latents"}
    assert "--only guidance --only latents" in results.command


def test_retrieval_has_as_few_pairs_as_the_priors(untrained_faces: Path, untrained_pairs: Path, tmp_path: Path) -> None:
    pairs, one = Pairs(untrained_pairs, 20), bench(untrained_faces, tmp_path)
    variants = [ablate.Variant("as configured", "all"), ablate.Variant("pairs", "two", num_pairs=2)]
    few, whole = ablate.retrieval_rows(variants, pairs, one)
    assert [few.name, whole.name] == ["nearest of 2 pairs", f"nearest of {len(pairs.tensors[0])} pairs"]
    assert whole.figures["clip_score"].value > few.figures["clip_score"].value
    assert ablate.retrieval_rows(variants[:1], pairs, one) == []


def test_unknown_group_of_ablations_is_refused(
    untrained_faces: Path, untrained_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(untrained_faces), "--pairs", str(untrained_pairs), "--work", str(tmp_path), "--quick"]
    assert ablate.main([*words, "--only", "luck"]) == 2
    assert "--only: expected one of objective, sampler" in capsys.readouterr().err


def test_every_ablation_is_a_valid_configuration_and_has_its_own_name() -> None:
    base = TrainConfig(output="o", data=DataConfig(path="p"), diffusion=DiffusionConfig(noise_scale=2.0))
    variants = ablate.choose_variants(base, 20_000, None)
    assert len({(variant.group, variant.name) for variant in variants}) == len(variants)
    assert not variants[0].changes_anything(base)
    assert all(variant.changes_anything(base) for variant in variants[1:])
    assert "random noise up to 2" not in [variant.name for variant in variants]
    assert [variant.num_pairs for variant in variants if variant.group == "pairs"] == [1000, 4000, 16_000]


def method(name: str, group: str, named: float, seconds: float, diversity: float = 0.5) -> Row:
    figures = row(name, named=named, seconds=seconds, latent_seconds=seconds / 2, diversity=diversity).figures
    return Row(name, group, figures, 8, subset=figures)


def test_claims_are_those_of_the_rows() -> None:
    rows = [
        method("random latents", SIMPLE, 0.2, 0.01),
        method("nearest training pair", SIMPLE, 0.75, 0.01),
        method("conditional VAE", WITHOUT_DIFFUSION, 0.5, 0.01),
        method("CLIP gradient, 1000 steps, best of 1", OPTIMISATION, 0.88, 50.0),
        method("CLIP gradient, 1000 steps, best of 4", OPTIMISATION, 0.95, 200.0),
        method("paper's recipe, 100 steps", PAPER, 0.68, 1.0, 0.4),
        method("ours, 2 steps", "ours", 0.885, 0.02),
        method("ours, 8 steps", "ours", 0.9, 0.04),
        method("ours, 8 steps, refine 20", "ours", 0.92, 1.0),
        method("ours, 32 steps", "ours", 0.9, 0.1),
        method("distilled, 2 steps", "distilled", 0.895, 0.02),
    ]
    points = [{"seconds": 10.0, "value": 0.5}, {"seconds": 40.0, "value": 0.8}, {"seconds": 100.0, "value": 0.7}]
    curves = {"ours": points, "paper's recipe": points}
    found = claims(rows, curves, {"ours, 8 steps": 0.05, "paper's recipe, 100 steps": 1.0})
    above = "named attributes, the low end of ours less the high end of"
    expected = {
        f"{above} nearest training pair": (-5, "short"),
        f"{above} conditional VAE": (20, "ok"),
        f"{above} paper's recipe, 100 steps": (2, "ok"),
        "diversity over that of the paper's recipe": (1.25, "ok"),
        "named attributes, ours in 32 steps less ours, 2 steps": (1.5, "short"),
        "named attributes, ours in 32 steps less distilled, 2 steps": (0.5, "ok"),
        "speed over the paper's recipe in 100 steps, from the text's embedding to the latent": (25, "ok"),
        "speed over the paper's recipe in 100 steps, from text to image, one alone": (20, "ok"),
        "speed over the paper's recipe in 100 steps, from text to image, many together": (25, "ok"),
        "named attributes, refine 20 less CLIP gradient, 1000 steps, best of 1": (4, "ok"),
        "time of refine 20 over that of CLIP gradient, 1000 steps, best of 1": (0.02, "ok"),
        "named attributes, refine 20 less CLIP gradient, 1000 steps, best of 4": (-3, "short"),
        "time of refine 20 over that of CLIP gradient, 1000 steps, best of 4": (0.005, "ok"),
        "training time to the paper's recipe's final accuracy, over its own": (0.4, "short"),
    }
    assert {claim.name: (pytest.approx(claim.value), claim.verdict) for claim in found} == expected


def test_accuracy_that_is_never_reached_takes_for_ever() -> None:
    rows = [method(name, "ours", 0.9, 0.04) for name in ("ours, 2 steps", "ours, 8 steps", "ours, 8 steps, refine 20")]
    rows += [
        method(name, PAPER, 0.9, 1.0) for name in ("ours, 32 steps", "distilled, 2 steps", "paper's recipe, 100 steps")
    ]
    curves = {name: [{"seconds": 9.0, "value": value}] for name, value in (("ours", 0.5), ("paper's recipe", 0.6))}
    last = claims(rows, curves, {"ours, 8 steps": 1.0, "paper's recipe, 100 steps": 1.0})[-1]
    assert (last.value, last.verdict) == (math.inf, "short")


def row(name: str, **figures: float) -> Row:
    return Row(name, "group", {key: Estimate(value, value - 0.1, value + 0.1) for key, value in figures.items()}, 8)


def test_table_shows_values_with_half_their_interval() -> None:
    results = Results("command", [row("ours", named=0.9, seconds=0.5, **{"named age": 0.25})])
    lines = markdown(results).splitlines()
    assert lines[0] == "| method | named attributes | ms/image | training min | parameters |"
    assert "| ours | 90.0 ± 10.0 | 500.0 ± 100.0 |" in lines[3]
    assert by_attribute(results).splitlines()[-1] == "| ours | 25 |"


def test_plot_leaves_out_a_few_rows_far_below() -> None:
    rows = [method(f"ours, {steps} steps", "ours", 0.95, 0.1 * steps) for steps in (2, 4, 8)]
    rows.append(method("random latents", SIMPLE, 0.4, 0.1))
    assert [row.name for row in rows_below(rows)] == ["random latents"]
    assert rows_below([*rows[2:], *rows[3:]]) == []


def write_tables(folder: Path, *names: str) -> int:
    """Write tables of a folder's results into pages there, which have the lines that they go between."""
    codes = []
    for name in names:
        page = folder / f"{name}.md"
        page.write_text("\n".join(["top", *tables.marks(name), "end"]), encoding="utf-8")
        codes.append(tables.main(["--only", name, "--json", str(folder / f"{name}.json"), "--page", str(page)]))
    return max(codes)


def test_results_come_back_from_json_into_the_pages(tmp_path: Path) -> None:
    claim = Figure("speed", 25.0, target=20.0)
    results = Results("python benchmarks/x.py", [method("ours", "ours", 0.9, 0.5)], claims=[claim])
    names = ("priors", "detailed", "ablations")
    for name in names:
        results.save(tmp_path / f"{name}.json")
    assert Results.load(tmp_path / "priors.json") == results
    assert write_tables(tmp_path, *names) == 0
    for name in names:
        text = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
        assert text.count("| ours | 90.0 ± 10.0 |") == 1
        assert "| speed | 25.000 | >= 20.000 | ok |" in text
        assert text.endswith("end")
    assert pictures.main(["--only", "priors", "--results", str(tmp_path), "--output", str(tmp_path)]) == 0
    assert (tmp_path / "priors.svg").is_file()


def test_foreign_results_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "priors.json").write_text(json.dumps({"rows": 3}))
    assert write_tables(tmp_path, "priors") == 1
    assert "expected results that a comparison of priors has kept" in capsys.readouterr().err


def test_detailed_prompts_from_end_to_end(
    untrained_faces: Path, untrained_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detailed, "NUM_NAMED", (1, 10))
    words = ["--model", str(untrained_faces), "--pairs", str(untrained_pairs), "--val-pairs", "20"]
    words += ["--num-prompts", "3", "--work", str(tmp_path / "work"), "--output", str(tmp_path)]
    assert detailed.main(words) == 0
    results = Results.load(tmp_path / "detailed.json")
    names = [row.name for row in results.rows]
    assert len(set(names)) == len(names) == 3 * len(detailed.NUM_NAMED)
    assert names[:3] == ["nearest of 40 pairs, 1 named", "ours, 8 steps, 1 named", "ours, 8 steps, best of 8, 1 named"]
    by_name = {row.name: row.figures["named"] for row in results.rows}
    assert [claim.name.rpartition("high end of ")[2] for claim in results.claims] == names[::3]
    for claim, retrieval, ours in zip(results.claims, names[::3], names[1::3], strict=True):
        assert claim.value == pytest.approx(100 * (by_name[ours].low - by_name[retrieval].high))
    kept = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "work").iterdir())
    assert detailed.main(words) == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "work").iterdir()) == kept
