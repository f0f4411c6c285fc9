"""The package as installed: what setup.cfg lists, what a wheel holds, and the three ways to start a verb."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from text2latent.__main__ import VERBS
from text2latent.tests.apps.exports.environments import environment as environment_with

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("tests", "benchmarks", "docs", "examples", "build", "dist", "runs")
EXTRA_WEIGHT = Path("zoo/faces/weights/prior/scheduler/packaging_test.json")


def package_folders(root: Path) -> list[Path]:
    """Find the folders with an `__init__.py`, relative to `root`, but for hidden ones and those outside the package."""
    found = [path.parent.relative_to(root) for path in root.rglob("__init__.py")]
    return [folder for folder in found if not any(p in OUTSIDE or p.startswith(".") for p in folder.parts)]


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **changes}


def call(*command: object, folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment(**changes), capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Copy the working tree, with one more weights file, two folders deep, and a stray module beside a package."""
    names = (".*", "runs", "build", "dist", "*.egg-info", "__pycache__", "*.partial", "node_modules")
    ignored = shutil.ignore_patterns(*names)
    tree = Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "checkout", ignore=ignored))
    (tree / EXTRA_WEIGHT).parent.mkdir(parents=True, exist_ok=True)
    (tree / EXTRA_WEIGHT).write_text("{}")
    return tree


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source, folder=out)
    assert build.returncode == 0, build.stdout + build.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("site")
    pip = call(sys.executable, "-m", "pip", "install", "--no-deps", "--target", target, wheel, folder=target)
    assert pip.returncode == 0, pip.stderr
    return target


def test_listed_packages_are_the_folders_with_an_init():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = setup["options"]["packages"].split()
    found = [".".join(("text2latent", *folder.parts)) for folder in package_folders(ROOT)]
    assert sorted(listed) == sorted(found)


def test_root_holds_no_stray_modules():
    assert {path.stem for path in ROOT.glob("*.py")} == {"__init__", "__main__", "sample", "train", "infer"}


def test_sources_are_python_3_10():
    for folder in package_folders(ROOT):
        for path in (ROOT / folder).glob("*.py"):
            ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))


def requirements(text: str) -> set[str]:
    """Names of the distributions in a list of requirements, as `importlib.metadata` writes them."""
    return {re.split(r"[^\w-]", line, maxsplit=1)[0].lower() for line in text.split() if line[0].isalpha()}


def imported_distributions(folders: list[Path]) -> set[str]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for folder in folders for path in folder.glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    modules = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"text2latent"}
    owners = packages_distributions()
    return {owners[module][0].lower() for module in modules}


EXTRAS = {"zoo": "zoo", "exports": "export", "evaluation": "evaluate", "optimize": "evaluate", "live": "live",
    "serving": "serve"}  # fmt: skip
"""Extras that may be needed for what is in a folder."""


def test_every_import_is_required():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    core = requirements(setup["options"]["install_requires"])
    folders = [ROOT / folder for folder in package_folders(ROOT)]
    for part, extra in EXTRAS.items():
        inside = [folder for folder in folders if part in folder.relative_to(ROOT).parts]
        assert imported_distributions(inside) <= core | requirements(setup["options.extras_require"][extra])
        folders = [folder for folder in folders if folder not in inside]
    optional = (requirements(setup["options.extras_require"][extra]) for extra in ("clip", "project", "video"))
    assert imported_distributions(folders) <= core.union(*optional)


def test_wheel_holds_sources_configs_and_weights_and_nothing_else(source, wheel):
    sources = [path for folder in package_folders(source) for path in (source / folder).glob("*.py")]
    data = [
        *source.glob("configs/*.yaml"),
        *source.glob("configs/controls/*.yaml"),
        *source.glob("configs/optimize/*.yaml"),
        *source.glob("configs/prompts/*.*"),
        *source.glob("configs/slurm/*"),
        *source.glob("apps/evaluation/labels/*.txt"),
        *(path for path in source.glob("apps/exports/web/site/**/*") if path.is_file()),
        *(path for path in source.glob("apps/serving/page/site/**/*") if path.is_file()),
        *source.glob("apps/serving/page/examples/*.txt"),
        *source.glob("zoo/*/language/*.yaml"),
        *source.glob("zoo/*/language/*.txt"),
        *source.glob("zoo/*/*.yaml"),
        *source.glob("zoo/*/*.json"),
        *source.glob("zoo/*/*.md"),
    ]
    weights = [path for path in source.glob("zoo/*/weights/**/*") if path.is_file()]
    assert source / EXTRA_WEIGHT in weights
    assert {source / "configs/faces.yaml", source / "apps/exports/web/site/scripts/page.js"} <= {*data}
    expected = {f"text2latent/{path.relative_to(source).as_posix()}" for path in [*sources, *data, *weights]}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected


def test_installed_wheel_works_from_another_folder(installed, tmp_path):
    code = (
        "import importlib.resources as r, text2latent; from text2latent.common.validation import read_yaml;"
        "root = r.files('text2latent'); print(text2latent.__file__); print(text2latent.__version__);"
        "print(read_yaml(str(root / 'configs' / 'faces.yaml'))['model'])"
    )
    ran = call(sys.executable, "-c", code, folder=tmp_path, PYTHONPATH=str(installed))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [str(installed / "text2latent" / "__init__.py"), "0.1.0", "faces"]
    assert (installed / "text2latent" / EXTRA_WEIGHT).is_file()


def test_installed_wheel_has_the_command(installed, tmp_path):
    ran = call(installed / "bin" / "text2latent", "--help", folder=tmp_path, PYTHONPATH=str(installed))
    assert ran.returncode == 0, ran.stderr
    assert all(verb in ran.stdout for verb in VERBS)


def test_each_verb_runs_with_the_core_alone(installed, tmp_path):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    python = environment_with("core", requirements(setup["options"]["install_requires"]))
    route = ROOT / "tests" / "bare" / "route.py"
    ran = call(python, route, "--one-process", folder=tmp_path, PYTHONPATH=str(installed))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    tried = {line.split()[2] for line in ran.stdout.splitlines() if line.startswith(("ran ", "refused "))}
    assert {word.rstrip(":") for word in tried} == set(VERBS)
    # Outside of a clone there is nothing to install once more: the packages themselves are named.
    assert "pip install -e" not in ran.stdout
    assert '"matplotlib>=' in ran.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_the_ways_to_start_a_verb_are_the_same(verb, installed, tmp_path):
    script = installed / "text2latent" / f"{verb}.py"
    starts = [
        (installed / "bin" / "text2latent", verb),
        (sys.executable, "-m", "text2latent", verb),
        *([(sys.executable, script)] if script.exists() else []),
    ]
    helps = [call(*start, "--help", folder=tmp_path, PYTHONPATH=str(installed)) for start in starts]
    wrong = [call(*start, "--no-such-flag", "1", folder=tmp_path, PYTHONPATH=str(installed)) for start in starts]
    assert [ran.returncode for ran in helps] == [0] * len(starts), helps[0].stderr
    assert [ran.returncode for ran in wrong] == [2] * len(starts)
    assert helps[0].stdout.startswith(f"usage: text2latent {verb} ")
    assert len({ran.stdout for ran in helps}) == len({ran.stderr for ran in wrong}) == 1
    assert wrong[0].stderr.startswith(f"text2latent {verb}: error: ")
