"""The files for a Hugging Face Space: they say what a Space asks for, and `app.py` answers as a Space expects it."""

from __future__ import annotations

import configparser
import re
import runpy
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from text2latent.apps.serving import command as serve
from text2latent.tests.apps.serving.command import serving_command

ROOT = Path(__file__).resolve().parents[4]
SPACE = ROOT / "apps" / "serving" / "space"


def head() -> dict[str, str]:
    _, text, _ = (SPACE / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(text)


def test_the_head_tells_what_the_package_needs():
    extra = [Requirement(line) for line in requires("text2latent") or []]
    gradio = next(one for one in extra if one.name == "gradio" and one.marker.evaluate({"extra": "serve"}))
    assert head()["sdk"] == "gradio"
    assert head()["sdk_version"] in gradio.specifier
    assert (SPACE / head()["app_file"]).is_file()
    assert head()["python_version"] in ("3.10", "3.11", "3.12", "3.13")


def test_the_requirements_are_those_of_the_package_with_its_extra():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    needed = [*setup["options"]["install_requires"].split(), *setup["options.extras_require"]["serve"].split()]
    assert sorted((SPACE / "requirements.txt").read_text(encoding="utf-8").splitlines()) == sorted(needed)


def test_the_app_lets_the_proxy_of_the_space_in(monkeypatch: pytest.MonkeyPatch):
    started: list[list[str]] = []
    monkeypatch.setattr(serve, "main", lambda flags: started.append(flags) or 0)
    monkeypatch.delenv("GRADIO_SERVER_PORT", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SPACE / "app.py"), run_name="__main__")
    config = serve.build_parser().parse_args(started[0])
    assert (ended.value.code, config.model, config.no_page) == (0, ["faces", "landscapes"], False)
    assert (config.host, config.port, config.trusted_proxies) == ("0.0.0.0", 7860, "*")


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """A Space as docs/serving.md puts it together."""
    # Building leaves files in the checkout, so it is a copy.
    names = (".*", "runs", "build", "dist", "*.egg-info", "__pycache__", "*.partial", "node_modules")
    ignored = shutil.ignore_patterns(*names)
    checkout = shutil.copytree(ROOT, tmp_path / "checkout", ignore=ignored)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*install, tmp_path / "my-space", "."], cwd=checkout, check=True)
    return Path(shutil.copytree(SPACE, tmp_path / "my-space", dirs_exist_ok=True))


@pytest.mark.slow
def test_a_space_answers_on_all_addresses_with_its_own_files_alone(space: Path):
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("gradio", reason="gradio of the extra [serve] is not installed")
    assert (space / "text2latent" / "zoo" / "faces" / "weights").is_dir()
    app = (space / "app.py").read_text(encoding="utf-8")
    line = "import text2latent, sys; print(text2latent.__file__, file=sys.stderr)\n"
    (space / "app.py").write_text(line + app, encoding="utf-8")
    with serving_command(str(space / "app.py"), GRADIO_SERVER_PORT="0") as (address, process):
        page = httpx.get(address, trust_env=False, timeout=600)
        assert (page.status_code, "text2latent" in page.text) == (200, True)
        proxied = {"X-Forwarded-Proto": "https", "Host": "somebody-text2latent.hf.space"}
        drawn = httpx.post(
            f"{address}/v1/images", json={"prompt": "man"}, headers=proxied, trust_env=False, timeout=600
        )
        url = drawn.json()["data"][0]["url"]
    assert re.fullmatch(r"https://somebody-text2latent\.hf\.space/v1/images/files/\S+\.png", url)
    assert process.returncode == 130
    assert process.stderr is not None
    assert str(space / "text2latent" / "__init__.py") in process.stderr.read()


@pytest.mark.parametrize(
    ("name", "flawed"), [("gradio", "6.15.2"), ("starlette", "0.49.0"), ("python-multipart", "0.0.21")]
)
def test_no_version_with_a_known_advisory_is_let_in(name: str, flawed: str) -> None:
    """The last version of each that an advisory names: GHSA-j36p-7w88-g82j, CVE-2025-62727 and CVE-2026-24486."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = setup["options.extras_require"]["serve"].split()
    (needed,) = [one for one in map(Requirement, listed) if one.name == name]
    assert flawed not in needed.specifier
