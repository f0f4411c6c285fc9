"""Every command of README and docs/ runs in the order in which its page has it, as printed but for counts."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from text2latent.__main__ import main
from text2latent.tests.conftest import save_tiny_clip, save_tiny_generator
from text2latent.tests.data.test_clip2latent_pairs import members, write_tar
from text2latent.tests.documentation.pages import PAGES, ROOT, commands_of, with_small_counts

DATA = ROOT / "tests" / "data"
ELSEWHERE = {
    r"make demo$": ".ci/bare",
    r"make test$": "itself",
    r"source \.venv/bin/activate$": "a shell's own business",
    r"sbatch ": "tests/cluster/test_slurm.py, where SLURM is installed",
    r"pip install -e ": "tests/common/test_extras.py",
    r"(TEXT2LATENT_TOKEN=\S+ )?text2latent serve\b": "tests/apps/serving",
    r"curl http://127\.0\.0\.1:7860/": "tests/apps/serving/test_api.py",
    r'curl (-N "|-X PATCH )http://127\.0\.0\.1:7860/v1/stream': "tests/apps/serving/live/test_documentation.py",
    r"python benchmarks/([\w/]+)\.py": "tests/benchmarks",
    r"pip install --no-deps --target \.\./my-space|cp apps/serving/space/": "tests/apps/serving/space/test_app.py",
    r"cp -r examples/shapes/|python -m text2latent\.zoo\.build shapes|python infer\.py --model shapes": (
        "tests/documentation/test_new_domain.py"
    ),
    r"hf (auth|upload) ": "tests/apps/serving/space/test_app.py",
    r"text2latent export faces my-page --format web|python -m http\.server": "tests/apps/exports/web",
    r"text2latent (sample|train|infer) .*dcgan_faces": "tests/models/generators/formats/test_custom.py",
    r"text2latent sample --clip ViT-L-14/weights\.pt": "tests/test_clip_doc.py",
    r"PYTHONPATH=\. text2latent sample --clip japanese\.yaml": "tests/models/clip/test_own.py",
}
"""Commands that are run, or cannot be, by something else."""

QUICK = ("generators", "custom_generator", "evaluate", "infer", "projection")
"""Pages whose commands take seconds."""

STAND_INS = {"biggan-deep-512": DATA / "biggan", "dalle-dvae": DATA / "dalle" / "decoder.pkl"}
"""Published weights, whose names mean a download wherever a file of that name lies."""


def is_elsewhere(command: str) -> bool:
    return any(re.match(pattern, command) for pattern in ELSEWHERE)


def all_commands() -> dict[str, list[str]]:
    return {page.stem: commands_of(page) for page in PAGES}


def test_commands_are_found() -> None:
    found = all_commands()
    few = {name: len(commands) for name, commands in found.items() if len(commands) < 2}
    assert few == {"architecture": 0, "real_clip": 1}
    assert sum(map(len, found.values())) >= 65
    assert "text2latent convert ffhq.pkl generators/ffhq" in found["generators"]
    assert "text2latent train --config clip2latent --data.path pairs --output runs/clip2latent" in found["priors"]
    assert not any(command.endswith("\\") for commands in found.values() for command in commands)


def test_what_runs_elsewhere_is_there() -> None:
    commands = [command for page in all_commands().values() for command in page]
    for pattern in ELSEWHERE:
        assert any(re.match(pattern, command) for command in commands), pattern
    for script in {name for command in commands for name in re.findall(r"^python benchmarks/([\w/]+)\.py", command)}:
        assert (ROOT / "benchmarks" / f"{script}.py").is_file()


@pytest.mark.parametrize("command", sorted({c for page in all_commands().values() for c in page if "benchmarks/" in c}))
def test_commands_of_benchmarks_parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    script, *arguments = shlex.split(command)[1:]
    module = import_module("text2latent." + script.removesuffix(".py").replace("/", "."))
    assert module.build_parser().parse(arguments)


@pytest.fixture
def place(tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: what pages take as given, small, under the names that they have there."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(DATA / "generators" / "sg2ada-64.pkl", "ffhq.pkl")
    shutil.copytree(tiny_world / "clip", "ViT-B-32/openai")
    lines = [{"text": "an old man with a hat", "want": {"age": "old", "headwear": "hat"}}, {"text": "a woman"}]
    Path("prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    Path("prompts.txt").write_text("an old man\na woman\n", encoding="utf-8")
    shutil.copyfile("prompts.txt", "texts.txt")
    np.savez("mine.npz", w=np.random.default_rng(0).standard_normal((2, 1, 58)).astype(np.float32))
    for name in ("sample.py", "train.py", "infer.py", "configs", "benchmarks"):
        Path(name).symlink_to(ROOT / name)
    text = (ROOT / "docs" / "custom_generator.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    Path("my_generators.py").write_text(blocks[0], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def run_here(command: str) -> None:
    words = [word for word in shlex.split(command) if not re.match(r"[A-Z0-9_]+=", word)]
    verb = words[0] == "text2latent"
    assert verb or re.fullmatch(r"\w+\.py", words[1]), command
    assert main(words[1:] if verb else [words[1].removesuffix(".py"), *words[2:]]) == 0, command


def run_in_shell(command: str, folder: Path) -> None:
    bin_folder = folder / "bin"
    if not bin_folder.exists():
        bin_folder.mkdir()
        starts = {"python": sys.executable, "text2latent": f"{sys.executable} -m text2latent"}
        for name, start in starts.items():
            (bin_folder / name).write_text(f'#!/bin/sh\nexec {start} "$@"\n', encoding="utf-8")
            (bin_folder / name).chmod(0o755)
    path = os.pathsep.join([str(bin_folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout[-2000:]}{ran.stderr[-4000:]}"


def prepare(page: str, folder: Path) -> None:
    """Make what a page's readers have from elsewhere."""
    if page == "priors":
        run_here("text2latent sample --num-pairs 40 --output pairs --device cpu")
        run_here("text2latent train --config faces --data.path pairs --output runs/faces --max_steps 2 --device cpu")
    if page == "generators":
        shutil.copyfile(DATA / "generators/kinds/ada-state-dict.pt", folder / "weights.pt")
        (folder / "args.yaml").write_text("mapping_lr_multiplier: 0.1\n", encoding="utf-8")
    if page == "clip2latent":
        lay_out_clip2latent(folder)
    if page == "optimize":
        import torch
        from torchvision.models.segmentation import deeplabv3_resnet50

        torch.save(deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True).state_dict(), "deeplab.pth")


def lay_out_clip2latent(folder: Path) -> None:
    """A small checkpoint and pairs of clip2latent under the page's names, and networks that fit them."""
    for suffix in ("ckpt", "yaml"):
        shutil.copyfile(DATA / f"clip2latent/small-w.{suffix}", folder / f"ffhq-sg2-510.{suffix}")
    for name in ("ffhq.pkl", "ViT-B-32"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    save_tiny_generator(folder / "ffhq.pkl", w_dim=64, img_resolution=64)
    save_tiny_clip(folder / "ViT-B-32/openai", embed_dim=64)
    embeddings, latents = (np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32) for _ in range(2))
    (folder / "webdataset").mkdir()
    write_tar(folder / "webdataset/00000.tar", members(embeddings, latents))


@pytest.mark.parametrize("page", QUICK)
def test_commands_run(page: str, place: Path) -> None:
    prepare(page, place)
    for command in all_commands()[page]:
        if not is_elsewhere(command):
            run_here(with_small_counts(command))


@pytest.mark.slow
@pytest.mark.parametrize("page", [name for name in all_commands() if name not in QUICK])
def test_commands_of_long_pages_run(page: str, place: Path) -> None:
    prepare(page, place)
    for command in all_commands()[page]:
        for name, path in STAND_INS.items():
            command = command.replace(name, str(path))
        if not is_elsewhere(command):
            run_in_shell(with_small_counts(command), place)
