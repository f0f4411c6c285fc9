"""The commands of the README are understood, and what it points to is there."""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ {4}((?:python|make) [^#\n]+?) *(?:#.*)?$", README, re.MULTILINE)
BENCHMARKS = re.findall(r"`(python benchmarks/[^`]+)`", README)
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
FACES = ROOT / "zoo" / "faces" / "weights"
SHIPPED = pytest.mark.skipif(not (FACES / "prior").is_dir(), reason="the prior of the faces world is not built yet")


def test_there_is_something_to_test():
    assert len(COMMANDS) >= 10
    assert len(BLOCKS) >= 1


@pytest.mark.parametrize("command", sorted({line for line in COMMANDS + BENCHMARKS if line.startswith("python")}))
def test_every_command_parses(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    script, *arguments = shlex.split(command)[1:]
    module = importlib.import_module("text2latent." + script.removesuffix(".py").replace("/", "."))
    if hasattr(module, "with_packaged_configs"):
        arguments = module.with_packaged_configs(arguments)
    assert module.build_parser().parse(arguments)


@pytest.mark.parametrize("target", sorted({line.split()[1] for line in COMMANDS if line.startswith("make")}))
def test_every_target_of_make_exists(target):
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)


def test_every_flag_in_the_text_is_known():
    verbs = [importlib.import_module(f"text2latent.{verb}") for verb in ("sample", "train", "infer")]
    known = "".join(module.build_parser().format_help() for module in verbs).replace("_", "-") + " --only --help"
    flags = {
        flag.replace("_", "-")
        for flag in re.findall(r"--[a-z][\w.-]*", re.sub(r"<!--.*?-->|`python benchmarks/.*?`", "", README))
    }
    assert "--rerank" in flags
    assert [flag for flag in sorted(flags) if not re.search(rf"{re.escape(flag)}\b", known)] == []


def test_every_link_into_the_repository_exists():
    links = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README)
    local = {first or second for first, second in links if not (first or second).startswith("http")}
    missing = {link for link in local if not (ROOT / link).exists()}
    if not (FACES / "prior").is_dir():
        missing = {link for link in missing if not link.endswith(".png")}
    assert {"LICENSE", "docs/images/how-it-works.svg"} <= local
    assert missing == set()


@pytest.mark.parametrize("block", BLOCKS)
def test_every_python_block_imports_what_there_is(block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


@SHIPPED
@pytest.mark.parametrize("block", [block for block in BLOCKS if '"faces"' in block])
def test_every_python_block_on_faces_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert set(os.listdir(tmp_path)) <= {"face-0.png"}


@SHIPPED
def test_first_command_draws(tmp_path):
    command = next(line for line in COMMANDS if "face.png" in line)
    _, script, *arguments = shlex.split(command)
    subprocess.run([sys.executable, ROOT / script, *arguments], cwd=tmp_path, check=True, capture_output=True)
    assert os.listdir(tmp_path) == ["face.png"]
