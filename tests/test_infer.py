"""The verb infer: what it draws of texts and where it puts it, what it refuses, and how it starts and stops."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from text2latent.inference import prompts
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.prompts import parse_prompt
from text2latent.tests.pictures import JAPANESE, TEXT, Infer, differ, pixels


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


def test_a_prompt_is_parsed_once_however_many_images_are_drawn_of_it(
    run_infer: Infer, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(prompts, "parse_prompt", lambda text: parsed.append(text) or parse_prompt(text))
    Image.new("RGB", (9, 9)).save("a.png")
    Image.new("RGB", (9, 9), "red").save("b.png")
    words = ["--text", TEXT, "--text", "a man | a hat:2", "--image", "a.png", "--image", "b.png", "--num-images", "2"]
    assert run_infer(*words, "--negative-text", JAPANESE, "--grid", "--rerank", "2")[0] == 0
    assert sorted(parsed) == sorted([TEXT, "a man | a hat:2", JAPANESE])


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
        (["--text", TEXT, "--num-images", "1000000000"], "100000"),
        (["--text", TEXT, "--steps", "0"], "whole number >= 1"),
        (["--text", TEXT, "--rerank", "0"], "whole number >= 1"),
        (["--text", TEXT, "--batch-size", "0"], "whole number >= 1"),
        (["--text", TEXT, "--guidance-scale", "nan"], "finite number >= 0"),
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
    def full_disk(self: Path, data: bytes) -> None:
        self.write_text("half")
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full_disk)
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


def test_start_up_imports_no_libraries_of_other_verbs_and_looks_for_no_garbage(
    tiny_model: Path, tmp_path: Path
) -> None:
    heavy = (
        "lightning",
        "webdataset",
        "matplotlib",
        "torchmetrics",
        "tensorboard",
        "skia",
        "gradio",
        "fastapi",
        "onnx",
    )
    script = (
        "import sys; from text2latent import infer\n"
        f"assert infer.main(['--text', 'a man', '--model', {str(tiny_model)!r}, '--device', 'cpu']) == 0\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
        "import gc; print(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["a-man-0.png", "[]", "True True"]
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


def test_drawing_in_the_embedded_world_imports_little_but_torch(tmp_path: Path) -> None:
    """Not what CLIPs of other architectures, other samplers and other verbs need, nor torch's compiler."""
    heavy = {"open_clip", "torchvision", "timm", "transformers", "torch._dynamo", "sympy", "diffusers", "lightning"}
    heavy |= {"huggingface_hub", "ftfy", "wandb"}
    flags = ["--text", "blonde woman with glasses", "--device", "cpu", "--output", str(tmp_path / "a.png")]
    code = f"import sys; from text2latent import infer; code = infer.main({flags!r}); assert code == 0;"
    code += f"print(sorted({heavy!r} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "a.png").is_file()
