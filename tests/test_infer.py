import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent import infer
from text2latent.models.domain import fit_domain, save_domain
from text2latent.models.images import to_pil
from text2latent.models.pipeline import Text2LatentPipeline

TEXT, JAPANESE = "blonde woman with glasses", "眼鏡をかけた金髪の女性"
Infer = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_infer(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Infer:
    """Runs infer with the tiny model in an empty current folder; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, model: str = str(tiny_model)) -> tuple[int, str, str]:
        code = infer.main(["--model", model, "--device", "cpu", *arguments])
        return code, *capsys.readouterr()

    return run


def pixels(path: str | Path) -> bytes:
    return Image.open(path).convert("RGB").tobytes()


def differ(one: bytes, other: bytes) -> int:
    """Largest difference of two pictures' bytes."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def test_default_names_lie_in_the_current_folder(run_infer: Infer, tmp_path: Path) -> None:
    code, out, _ = run_infer("--text", TEXT, "--text", JAPANESE)
    names = ["blonde-woman-with-glasses-0.png", "眼鏡をかけた金髪の女性-0.png"]
    assert (code, out.splitlines()) == (0, names)
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_json_tells_what_was_drawn(run_infer: Infer, tiny_model: Path) -> None:
    code, out, _ = run_infer("--text", TEXT, "--text", JAPANESE, "--num-images", "2", "--seed", "5", "--json")
    report = json.loads(out)
    assert code == 0
    assert [(image["prompt"], image["seed"]) for image in report["images"]] == [
        (text, seed) for text in (TEXT, JAPANESE) for seed in (5, 6)
    ]
    assert all(Path(image["file"]).is_file() and -1 <= image["clip_score"] <= 1 for image in report["images"])
    assert set(report["seconds"]) == {"load", "draw"}
    assert min(report["seconds"].values()) > 0
    record = json.loads((tiny_model / "text2latent.json").read_text())
    assert report["generator"]["sha256"] == record["generator"]["sha256"]


def test_settings_reach_the_picture_and_its_metadata(run_infer: Infer, tiny_model: Path) -> None:
    flags = {"--steps": "3", "--guidance-scale": "1.5", "--truncation": "0.7", "--rerank": "3", "--seed": "9"}
    assert (
        run_infer("--text", JAPANESE, "--output", "a.png", *[part for flag in flags.items() for part in flag])[0] == 0
    )
    text = Image.open("a.png").text
    everything = json.loads(text["text2latent"])
    assert (text["prompt"], text["seed"]) == (JAPANESE, "9")
    assert everything["settings"] == {
        "num_inference_steps": 3,
        "guidance_scale": 1.5,
        "truncation": 0.7,
        "rerank": 3,
        "refine": 0,
    }
    pipe = Text2LatentPipeline.from_pretrained(str(tiny_model))
    drawn = pipe(JAPANESE, num_inference_steps=3, guidance_scale=1.5, truncation=0.7, rerank=3, seeds=[9])
    assert differ(pixels("a.png"), drawn.images[0].tobytes()) <= 1
    assert everything["images"][0]["clip_score"] == pytest.approx(drawn.clip_scores[0].item(), abs=1e-3)


def test_same_seed_same_image_whatever_is_drawn_beside_it(run_infer: Infer, tiny_model: Path) -> None:
    run_infer("--text", TEXT, "--seed", "3", "--output", "alone.png")
    run_infer("--text", JAPANESE, "--text", TEXT, "--num-images", "4", "--batch-size", "3", "--output", "many/")
    assert differ(pixels("alone.png"), pixels("many/blonde-woman-with-glasses-3.png")) <= 1
    assert differ(pixels("alone.png"), pixels("many/blonde-woman-with-glasses-2.png")) > 1
    pipe = Text2LatentPipeline.from_pretrained(str(tiny_model))
    drawn = pipe(TEXT, generator=torch.Generator().manual_seed(3)).images[0]
    assert differ(pixels("alone.png"), drawn.tobytes()) <= 1


def test_grid_has_a_row_per_text(run_infer: Infer) -> None:
    code, out, _ = run_infer("--text", TEXT, "--text", JAPANESE, "--num-images", "3", "--grid", "--json")
    report = json.loads(out)
    (name,) = os.listdir()
    assert code == 0
    assert {image["file"] for image in report["images"]} == {name} == {"blonde-woman-with-glasses-grid.png"}
    assert Image.open(name).size == (3 * 34 - 2, 2 * 34 - 2)
    assert len(json.loads(Image.open(name).text["text2latent"])["images"]) == 6
    run_infer("--text", JAPANESE, "--num-images", "2", "--output", "single.png")
    cell = Image.open(name).convert("RGB").crop((34, 34, 66, 66))
    assert differ(cell.tobytes(), pixels("single-1.png")) <= 1


def test_existing_files_stop_it_before_any_work(run_infer: Infer, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out").mkdir()
    Path("out/a-man-1.png").write_text("precious")
    with monkeypatch.context() as patch:
        patch.setattr(Text2LatentPipeline, "from_pretrained", lambda *_: pytest.fail("the model was loaded"))
        code, out, err = run_infer("--text", "a man", "--num-images", "2", "--output", "out")
    assert (code, out) == (1, "")
    assert err.strip().endswith("out/a-man-1.png exists already; expected a new name, or --overwrite")
    assert os.listdir("out") == ["a-man-1.png"]
    assert Path("out/a-man-1.png").read_text() == "precious"
    assert run_infer("--text", "a man", "--num-images", "2", "--output", "out", "--overwrite")[0] == 0
    assert Image.open("out/a-man-1.png").size == (32, 32)


@pytest.mark.parametrize(
    "text",
    ["😀🎉", "امرأة شقراء", "[1, 2]", '{"a": 1}', "null", "true", "12", "@file", "a\nb", "x" * 2000, "100%", "-"],
)
def test_unusual_texts_are_drawn_as_they_are(run_infer: Infer, text: str) -> None:
    code, out, err = run_infer(f"--text={text}", "--json")
    assert code == 0, err
    assert json.loads(out)["images"][0]["prompt"] == text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--text", ""], "prompt ''"),
        (["--text", " \t "], "prompt"),
        (["--text", "a\0b"], "control"),
        (["--text", "x" * 10_000], "2000 characters, got 10000"),
        (["--text", TEXT, "--text", ""], "prompt ''"),
        ([], "--text"),
        (["--text", TEXT, "--num-images", "0"], "whole number >= 1"),
        (["--text", TEXT, "--num-images", "-3"], "whole number >= 1"),
        (["--text", TEXT, "--num-images", "1000000000"], "100000"),
        (["--text", TEXT, "--steps", "0"], "whole number >= 1"),
        (["--text", TEXT, "--steps", "2.5"], "whole number"),
        (["--text", TEXT, "--rerank", "0"], "whole number >= 1"),
        (["--text", TEXT, "--batch-size", "0"], "whole number >= 1"),
        (["--text", TEXT, "--guidance-scale", "nan"], "finite number >= 0"),
        (["--text", TEXT, "--guidance-scale", "-1"], "finite number >= 0"),
        (["--text", TEXT, "--truncation", "inf"], "finite number >= 0"),
        (["--text", TEXT, "--seed", "-1"], "whole number >= 0"),
        (["--text", TEXT, "--seed", str(2**63)], "2^63"),
        (["--text", TEXT, "--output", "a.jpg"], ".png"),
        (["--text", TEXT, "--output", "{color}.png"], "{prompt}"),
        (["--text", TEXT, "--colour", "red"], "--colour"),
        (["--text", TEXT, "--device", "tpu"], "--device"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run_infer: Infer, arguments: list[str], expected: str) -> None:
    code, out, err = run_infer(*arguments)
    assert (code, out) == (2, "")
    assert expected in err
    assert len(err.strip().splitlines()) == 1
    assert os.listdir() == []


def test_unknown_model_lists_the_zoo(run_infer: Infer) -> None:
    code, _, err = run_infer("--text", TEXT, model="horses")
    assert code == 2
    assert "'horses': expected a name of the zoo" in err
    assert os.listdir() == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_missing_gpu_is_a_failure(run_infer: Infer) -> None:
    code, _, err = run_infer("--text", TEXT, "--device", "cuda")
    assert code == 1
    assert "no CUDA device" in err
    assert os.listdir() == []


def test_folder_without_a_model_is_a_failure(run_infer: Infer, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = run_infer("--text", TEXT, model="empty")
    assert code == 1
    assert "empty: expected a trained prior" in err


def test_foreign_generator_is_a_failure_naming_both(run_infer: Infer, other_world: Path) -> None:
    code, _, err = run_infer("--text", TEXT, "--generator", str(other_world))
    assert code == 1
    assert "generator: expected" in err
    assert os.listdir() == []


def test_output_below_a_file_is_refused(run_infer: Infer) -> None:
    Path("file").touch()
    code, _, err = run_infer("--text", TEXT, "--output", "file/a.png")
    assert code == 1
    assert "file is a file" in err


@pytest.mark.skipif(not Path("/dev/full").exists() or not Path("/proc/version").exists(), reason="needs Linux")
def test_unwritable_folder_is_refused_before_any_work(run_infer: Infer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Text2LatentPipeline, "from_pretrained", lambda *_: pytest.fail("the model was loaded"))
    code, _, err = run_infer("--text", TEXT, "--output", "/proc/a.png")
    assert code == 1
    assert "/proc" in err


def test_full_disk_leaves_nothing_half_written(run_infer: Infer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(self: Image.Image, path: Path, **_: Any) -> None:
        Path(path).write_text("half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Image.Image, "save", full_disk)
    code, out, err = run_infer("--text", TEXT)
    assert (code, out) == (1, "")
    assert "No space left on device" in err
    assert os.listdir() == []


def test_interruption_keeps_what_is_finished(run_infer: Infer, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = Image.Image.save, []

    def interrupt(self: Image.Image, path: Path, **options: Any) -> None:
        save(self, path, **options)
        saved.append(path)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    code, out, err = run_infer("--text", TEXT, "--num-images", "4", "--batch-size", "2")
    assert (code, out) == (130, "")
    assert "interrupted" in err
    assert os.listdir() == ["blonde-woman-with-glasses-0.png"]
    assert Image.open("blonde-woman-with-glasses-0.png").size == (32, 32)


def test_cut_text_is_warned_of_in_one_line(run_infer: Infer) -> None:
    code, _, err = run_infer("--text", "a man " * 40)
    assert code == 0
    assert [line for line in err.splitlines() if "warning: prompt" in line] == err.strip().splitlines()


def test_start_up_imports_no_training_libraries(tiny_model: Path, tmp_path: Path) -> None:
    heavy = ("lightning", "webdataset", "matplotlib", "torchmetrics", "tensorboard")
    script = (
        "import sys; from text2latent import infer\n"
        f"assert infer.main(['--text', 'a man', '--model', {str(tiny_model)!r}, '--device', 'cpu']) == 0\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["a-man-0.png", "[]"]
    assert done.stderr == ""


def test_usage_errors_do_not_wait_for_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from text2latent import infer\n"
        "assert infer.main(['--text', 'a man', '--steps', '0']) == 2; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_while_starting_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "text2latent", "infer", "--text", TEXT, "--num-images", "5000", "--model"]
    process = subprocess.Popen([*command, str(tiny_model)], cwd=tmp_path, stdout=-1, stderr=-1, text=True)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert out == ""
    assert not [name for name in os.listdir(tmp_path) if not name.endswith(".png")]


SMALL = ("--num-images", "2", "--seed", "3")


def test_weighted_and_negative_texts_are_those_of_the_pipeline(run_infer: Infer, tiny_model: Path) -> None:
    prompt = "a woman:1.0 | glasses:0.5"
    code, out, err = run_infer("--text", prompt, "--negative-text", "a man", "--output", "a.png", "--json")
    assert code == 0, err
    told = json.loads(out)["settings"]
    assert (told["negative_text"], told["guidance_scale"]) == ("a man", 2.0)
    pipe = Text2LatentPipeline.from_pretrained(str(tiny_model))
    drawn = pipe(prompt, negative_prompt="a man", seeds=[0]).images[0]
    assert differ(pixels("a.png"), drawn.tobytes()) <= 1


def test_images_are_varied_and_mixed_with_texts(run_infer: Infer, tiny_model: Path) -> None:
    picture = Image.radial_gradient("L").convert("RGB")
    picture.save("sun set.png")
    assert run_infer("--image", "sun set.png", "--output", "varied.png")[0] == 0
    code, out, _ = run_infer("--image", "sun set.png", "--text", TEXT, "--image-weight", "0.3", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["settings"]["image"], report["settings"]["image_weight"]) == (["sun set.png"], 0.3)
    assert [image["file"] for image in report["images"]] == ["blonde-woman-with-glasses-sun-set-0.png"]
    pipe = Text2LatentPipeline.from_pretrained(str(tiny_model))
    varied, mixed = (pipe(text, image=picture, image_weight=0.3, seeds=[0]).images[0] for text in (None, TEXT))
    assert differ(pixels("varied.png"), varied.tobytes()) <= 1
    assert differ(pixels(report["images"][0]["file"]), mixed.tobytes()) <= 1


def test_prompt_files_stream_and_go_on_where_they_stopped(run_infer: Infer) -> None:
    Path("p.jsonl").write_text(f'{{"text": "{TEXT}"}}\n{{"text": "{JAPANESE}", "want": {{"age": "old"}}}}\n')
    arguments = ("--prompts", "p.jsonl", *SMALL, "--output", "out/", "--batch-size", "2")
    assert run_infer(*arguments)[0] == 0
    names = sorted(os.listdir("out"))
    assert len(names) == 4
    before = {name: pixels(f"out/{name}") for name in names}
    os.remove(f"out/{names[1]}")
    Path(f"out/{names[0]}").write_text("mine")
    assert run_infer(*arguments)[0] == 1
    code, out, err = run_infer(*arguments, "--skip-existing", "--json")
    assert code == 0, err
    assert [image["file"] for image in json.loads(out)["images"]] == [f"out/{names[1]}"]
    assert differ(pixels(f"out/{names[1]}"), before[names[1]]) <= 1
    assert Path(f"out/{names[0]}").read_text() == "mine"


def test_latents_are_kept_and_drawn_again(run_infer: Infer, tiny_model: Path) -> None:
    assert run_infer("--text", TEXT, "--text", JAPANESE, *SMALL, "--output", "a/", "--save-latents", "w.npz")[0] == 0
    with np.load("w.npz") as arrays:
        assert (arrays["w"].shape, arrays["w"].dtype) == ((4, 8, 16), np.float32)
    code, out, err = run_infer("--latents", "w.npz", "--output", "b/{index}.png", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["settings"]["latents"], report["images"][0]["clip_score"]) == ("w.npz", None)
    names = [f"a/{slug}-{seed}.png" for slug in ("blonde-woman-with-glasses", JAPANESE) for seed in (3, 4)]
    for index, name in enumerate(names):
        assert differ(pixels(f"b/{index}.png"), pixels(name)) <= 1


def test_edits_of_latents_texts_and_random_images(run_infer: Infer, tiny_model: Path) -> None:
    edit = ("--edit", "a man", "a woman")
    assert run_infer("--text", TEXT, *SMALL, "--output", "a/", "--save-latents", "w.npz")[0] == 0
    assert run_infer("--latents", "w.npz", *edit, "--output", "b/", "--save-latents", "v.npz")[0] == 0
    code, out, err = run_infer("--text", TEXT, *SMALL, *edit, "--strength", "1", "--output", "c/", "--json")
    assert code == 0, err
    assert json.loads(out)["settings"]["edit"] == ["a man", "a woman"]
    for file, other in zip(sorted(os.listdir("b")), sorted(os.listdir("c")), strict=True):
        assert differ(pixels(f"b/{file}"), pixels(f"c/{other}")) <= 1
    with np.load("w.npz") as before, np.load("v.npz") as after:
        moved = after["w"] - before["w"]
    assert np.abs(moved - moved[:1]).max() < 1e-4 < np.abs(moved).max()
    assert run_infer(*edit, "--strength", "0", "--seed", "7", "--output", "own.png")[0] == 0
    generator = Text2LatentPipeline.from_pretrained(str(tiny_model)).generator
    own = to_pil(generator.synthesize(generator.map(generator.sample_latents(1, 7))))[0]
    assert differ(pixels("own.png"), own.tobytes()) <= 1


def test_interpolations_move_or_lie_side_by_side(run_infer: Infer) -> None:
    way = ("--interpolate", "a man", "a woman", "--frames", "4", *SMALL)
    code, out, err = run_infer(*way, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert {image["file"] for image in report["images"]} == {"a-man-to-a-woman-3.gif"}
    assert [image["seed"] for image in report["images"]] == [3, 4] * 4
    with Image.open("a-man-to-a-woman-3.gif") as moving:
        assert (moving.n_frames, moving.size) == (4, (2 * 34 - 2, 32))
    assert run_infer(*way, "--output", "way.png")[0] == 0
    assert run_infer(*way, "--grid", "--output", "grid.png")[0] == 0
    assert Image.open("way.png").size == (4 * 34 - 2, 2 * 34 - 2)
    assert pixels("way.png") == pixels("grid.png")
    run_infer("--text", "a man", "--seed", "4", "--output", "start.png")
    run_infer("--text", "a woman", "--seed", "3", "--output", "end.png")
    sheet = Image.open("way.png").convert("RGB")
    assert differ(sheet.crop((0, 34, 32, 66)).tobytes(), pixels("start.png")) <= 1
    assert differ(sheet.crop((102, 0, 134, 32)).tobytes(), pixels("end.png")) <= 1


def test_refined_image_is_the_pipelines(run_infer: Infer, tiny_model: Path) -> None:
    code, out, _ = run_infer("--text", TEXT, "--refine", "8", "--output", "a.png", "--json")
    assert (code, json.loads(out)["settings"]["refine"]) == (0, 8)
    pipe = Text2LatentPipeline.from_pretrained(str(tiny_model))
    refined, plain = (pipe(TEXT, refine=k, seeds=[0]).images[0].tobytes() for k in (8, 0))
    assert differ(pixels("a.png"), refined) <= 1 < differ(refined, plain)


def test_foreign_prompts_are_warned_of_and_told(tiny_model: Path, run_infer: Infer, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    near = Text2LatentPipeline.from_pretrained(str(tiny_model)).encode_prompts(["a man", "a dog"]).repeat(50, 1)
    noise = 0.1 * torch.randn(near.shape, generator=torch.Generator().manual_seed(0))
    save_domain(model, fit_domain(near, torch.nn.functional.normalize(near + noise, dim=1)))
    foreign = "quarterly report on the price of steel"
    code, out, err = run_infer("--text", "a man", "--text", foreign, "--json", model=str(model))
    assert code == 0
    told = [image["out_of_domain"] for image in json.loads(out)["images"]]
    assert told == [
        {"percentile": 0.0, "threshold": 99.0, "is_outside": False},
        {"percentile": 100.0, "threshold": 99.0, "is_outside": True},
    ]
    (line,) = err.strip().splitlines()
    assert f"warning: prompt {foreign!r} seems to be beyond what this model draws (out-of-domain score 100.0" in line


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--text", "a | :2"], 2, "expected a text in each part"),
        (["--text", TEXT, "--negative-text", ""], 2, "prompt ''"),
        (["--text", TEXT, "--negative-text", "x", "--guidance-scale", "1"], 2, "--guidance-scale other than 1"),
        (["--text", TEXT, "--prompts", "p.txt"], 2, "--prompts: expected no --text"),
        (["--prompts", "none.txt"], 1, "--prompts: cannot read none.txt"),
        (["--image", "none.png"], 1, "--image: none.png: no such file"),
        (["--text", TEXT, "--image-weight", "2"], 2, "--image-weight"),
        (["--text", TEXT, "--latents", "w.npz"], 2, "--latents: expected no --text"),
        (["--latents", "w.npz"], 1, "--latents: w.npz"),
        (["--interpolate", "a", "b", "--text", "c"], 2, "--interpolate: expected no --text"),
        (["--interpolate", "a", "b", "--frames", "1"], 2, "--frames"),
        (["--interpolate", "a", "b", "--output", "a.jpg"], 2, ".png or .gif or .mp4"),
        (["--interpolate", "a", ""], 2, "prompt ''"),
        (["--edit", "a", "b", "--strength", "99"], 2, "--strength"),
        (["--edit", "a"], 2, "--edit"),
        (["--text", TEXT, "--refine", "-1"], 2, "--refine"),
        (["--text", TEXT, "--skip-existing", "--grid"], 2, "--skip-existing: expected no --grid"),
        (["--text", TEXT, "--save-latents", "/proc/w.npz"], 1, "/proc"),
    ],
)
def test_wrong_controls_are_one_line(run_infer: Infer, arguments: list[str], code: int, expected: str) -> None:
    ended, out, err = run_infer(*arguments)
    assert (ended, out) == (code, "")
    assert expected in err
    assert len(err.strip().splitlines()) == 1
    assert os.listdir() == []


def test_image_that_is_none_and_foreign_latents_are_refused(run_infer: Infer) -> None:
    Path("fake.png").write_text("no image")
    np.savez("w.npz", w=np.zeros((1, 3, 3)))
    for flag, name, expected in (
        ("--image", "fake.png", "expected an image file"),
        ("--latents", "w.npz", "[N, 8, 16]"),
    ):
        code, _, err = run_infer(flag, name)
        assert (code, len(err.strip().splitlines())) == (1, 1)
        assert f"{flag}: {name}" in err
        assert expected in err
    assert sorted(os.listdir()) == ["fake.png", "w.npz"]
